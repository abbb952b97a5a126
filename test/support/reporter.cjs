// Mocha's spec reporter for people, and a file with the counts for `scripts/test.ts`.
const { writeFileSync } = require("node:fs");
const { reporters } = require("mocha");

module.exports = class extends reporters.Spec {
  constructor(runner, options) {
    super(runner, options);
    const { output } = options.reporterOptions ?? options.reporterOption ?? {};
    runner.once("end", () => {
      const { passes, failures, pending } = this.stats;
      if (output) writeFileSync(output, JSON.stringify({ passes, failures, pending }));
    });
  }
};

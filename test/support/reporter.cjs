// Mocha's spec reporter for people, and a file with the counts and what failed for `scripts/test.ts`.
const { writeFileSync } = require("node:fs");
const { reporters } = require("mocha");

module.exports = class extends reporters.Spec {
  constructor(runner, options) {
    super(runner, options);
    const { output } = options.reporterOptions ?? options.reporterOption ?? {};
    runner.once("end", () => {
      const { passes, failures, pending } = this.stats;
      const failed = this.failures.map((test) => ({ title: test.titlePath().join(" › "), why: why(test.err) }));
      if (output) writeFileSync(output, JSON.stringify({ passes, failures, pending, failed }));
    });
  }
};

function why(error) {
  return String(error?.stack ?? error?.message ?? error)
    .split("\n")
    .slice(0, 12)
    .join("\n");
}

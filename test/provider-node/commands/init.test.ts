import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { createProgram } from "../../../provider-node/src/cli/program.ts";
import { createRunner } from "../../../provider-node/src/cli/runner.ts";

describe("berth-node init", () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "berth-init-"));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  it("writes keys and a configuration that the owner alone can read, and leaves them as they are", async () => {
    const files = ["hot.key", "wg.key", "config.yaml"].map((name) => join(dir, "data", name));
    const init = async (rpc: string) => {
      let text = "";
      const run = createRunner(new AbortController().signal, (answer) => {
        text += answer;
      });
      const flags = ["--data-dir", join(dir, "data"), "--json", "--rpc", rpc];
      await createProgram(run).parseAsync([...flags, "init"], { from: "user" });
      return JSON.parse(text);
    };
    expect((await init("https://rpc.example/secret")).made).to.deep.equal({ key: true, configFile: true });
    expect(files.map((file) => statSync(file).mode & 0o777)).to.deep.equal([0o600, 0o600, 0o600]);
    const before = files.map((file) => readFileSync(file, "utf8"));
    expect(before[2]).to.contain("https://rpc.example/secret");
    expect((await init("https://other.example")).made).to.deep.equal({ key: false, configFile: false });
    expect(files.map((file) => readFileSync(file, "utf8"))).to.deep.equal(before);
  });
});

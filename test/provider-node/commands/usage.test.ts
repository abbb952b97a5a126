import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MarketError } from "@berth/protocol";
import { expect } from "chai";
import { createProgram } from "../../../provider-node/src/cli/program.ts";
import { createRunner, failureOf } from "../../../provider-node/src/cli/runner.ts";
import { createJournal } from "../../../provider-node/src/store/journal.ts";
import { openJournalFile } from "../../../provider-node/src/store/open.ts";

const signal = new AbortController().signal;
const OPERATOR = `0x${"b".repeat(40)}`;

describe("berth-node's command line", () => {
  let dir: string;
  before(() => {
    dir = mkdtempSync(join(tmpdir(), "berth-usage-"));
    const database = openJournalFile(dir);
    createJournal(database);
    database.close();
  });
  after(() => rmSync(dir, { recursive: true, force: true }));

  /** How the call fails. None of these gets as far as the chain. */
  async function failing(...args: string[]): Promise<{ exitCode: number; error: MarketError }> {
    const program = createProgram(createRunner(signal));
    const thrown = await program.parseAsync(["--data-dir", dir, ...args], { from: "user" }).then(
      () => new Error(`\`${args.join(" ")}\` did not fail`),
      (error: unknown) => error,
    );
    const { error, exitCode } = failureOf(thrown, signal);
    expect(error, String(thrown)).to.be.instanceOf(MarketError);
    return { exitCode, error: error as MarketError };
  }

  const KEY = ["--operator-key-file", "none"];
  const wrong: [args: string[], code: string, words: RegExp, exitCode: number][] = [
    [["frobnicate"], "USAGE", /unknown command 'frobnicate'/, 2],
    [["jobs", "--frobnicate"], "USAGE", /unknown option '--frobnicate'/, 2],
    [["jobs", "--state", "asleep"], "FLAG_INVALID", /--state is "asleep", but must be one of matched, /, 2],
    [["jobs", "--since", "yesterday"], "FLAG_INVALID", /--since is "yesterday", but must be a time ago like 90m/, 2],
    [["jobs", "--since", "2030-13-01"], "FLAG_INVALID", /--since is "2030-13-01"/, 2],
    [["jobs", "--limit", "0"], "FLAG_INVALID", /--limit is "0", but must be a whole number above zero/, 2],
    [["jobs", "--limit", "1e3"], "FLAG_INVALID", /--limit is "1e3"/, 2],
    [["explain"], "USAGE", /missing required argument 'job'/, 2],
    [["explain", "12"], "FLAG_INVALID", /JOB is "12", but must be a job id/, 2],
    [["explain", "0x123456"], "JOB_UNKNOWN", /never heard of the job 0x123456/, 1],
    [["drain", "--off", "--wait"], "USAGE", /nothing to wait for/, 2],
    [["drain", "--off", "--revoke"], "USAGE", /or to revoke/, 2],
    [["drain", "--revoke"], "NODE_STOPPED", /does not run, so it cannot revoke/, 1],
    [["stake"], "USAGE", /missing required argument 'amount'/, 2],
    [["stake", "1.5", ...KEY], "FLAG_INVALID", /AMOUNT is "1.5"/, 2],
    [["stake", "0", ...KEY], "FLAG_INVALID", /AMOUNT is "0"/, 2],
    [["stake", "5"], "USAGE", /Who sends the operator's transactions is not said/, 2],
    [["register"], "USAGE", /Who sends/, 2],
    [["register", "--valid-days", "soon", ...KEY], "FLAG_INVALID", /--valid-days is "soon"/, 2],
    [["register", ...KEY], "CONFIG_MISSING", /Who owns this node is not set/, 2],
    [["rotate"], "USAGE", /Who sends/, 2],
    [["rotate", "--only", "cold", ...KEY], "FLAG_INVALID", /--only is "cold", but must be one of hot, wireguard/, 2],
    [["rotate", "--valid-days", "-1", ...KEY], "FLAG_INVALID", /--valid-days is "-1"/, 2],
    [["withdraw", "everything"], "USAGE", /too many arguments/, 2],
    [["withdraw", "earnings", "lots", ...KEY], "FLAG_INVALID", /AMOUNT is "lots"/, 2],
    [["withdraw", "earnings", "5"], "USAGE", /Who sends/, 2],
    [["withdraw", "earnings", "5", "--to", "me", ...KEY], "FLAG_INVALID", /--to is "me", but must be an address/, 2],
    [["withdraw", "request-exit", "0", ...KEY], "FLAG_INVALID", /AMOUNT is "0"/, 2],
    [["withdraw", "exit", "--to", "0x12", ...KEY], "FLAG_INVALID", /--to is "0x12"/, 2],
    [["--operator", OPERATOR, "withdraw"], "CONFIG_MISSING", /The token is not set/, 2],
    [["--set", "pollMs", "status"], "FLAG_INVALID", /--set is "pollMs"/, 2],
    [["--set", "offers.baseChrge=1", "status"], "CONFIG_INVALID", /no setting "offers.baseChrge"/, 2],
    [["--port", "high", "status"], "CONFIG_INVALID", /port/, 2],
    [["--log-level", "loud", "status"], "CONFIG_INVALID", /logLevel/, 2],
    [["--config", "none.yaml", "status"], "CONFIG_UNREADABLE", /none.yaml cannot be read/, 2],
  ];
  for (const [args, code, words, exitCode] of wrong) {
    it(`refuses \`${args.join(" ")}\` with a reason and what to do`, async () => {
      const failure = await failing(...args);
      expect(failure.error.message).to.match(words);
      expect({ code: failure.error.code, exitCode: failure.exitCode }).to.deep.equal({ code, exitCode });
      if (code !== "CONFIG_INVALID") expect(failure.error.hint).to.be.a("string");
    });
  }

  it("refuses an operator's key that others can read, or that is none", async () => {
    const file = join(dir, "operator.key");
    const stake = ["--operator", OPERATOR, "stake", "5", "--operator-key-file", file];
    writeFileSync(file, "0x12\n", { mode: 0o600 });
    const noKey = await import("../../../provider-node/src/commands/operator.ts");
    expect(() => noKey.operatorAccount({ operatorKeyFile: file })).to.throw("64 hexadecimal digits");
    rmSync(file);
    writeFileSync(file, `0x${"1".repeat(64)}\n`, { mode: 0o644 });
    expect(() => noKey.operatorAccount({ operatorKeyFile: file }))
      .to.throw("Others on this machine can open")
      .with.property("hint", `Run: chmod 600 ${file}. If anyone may have read it, replace the key.`);
    expect((await failing(...stake)).error.code).to.equal("CONFIG_MISSING");
  });

  it("lists every command with an example in its help", async () => {
    const program = createProgram(createRunner(signal));
    const names = program.commands.map((command) => command.name());
    expect(names).to.have.members([
      ...["init", "doctor", "register", "stake", "start", "status", "jobs", "explain", "drain", "gc", "rotate"],
      ...["withdraw", "clean", "config"],
    ]);
    for (const command of program.commands) {
      let help = "";
      command.configureOutput({ writeOut: (text) => (help += text) }).outputHelp();
      expect(help, command.name()).to.match(/Example:\n {2}\S*( && )?berth-node|Example:\n {2}systemctl/);
    }
  });
});

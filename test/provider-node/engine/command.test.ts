import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect } from "chai";
import { command, findProgram } from "../../../provider-node/src/engine/command.ts";
import { quiet } from "../../support/engine.ts";
import { eventually } from "../../support/eventually.ts";

const { signal } = quiet;
const module = join(import.meta.dirname, "../../../provider-node/src/engine/command.ts");

describe("command", () => {
  it("gives code and both outputs, without the end of their last lines", async () => {
    const ran = await command("sh", ["-c", "printf 'one\\ntwo\\n\\n'; echo bad >&2; exit 7"], { signal });
    expect(ran).to.deep.equal({ exitCode: 7, stdout: "one\ntwo\n", stderr: "bad" });
  });

  it("hands over every word as it is, and an environment and folder of its own", async () => {
    const words = ["it's", "$(id)", "two\nlines\n", "-n", "", '`a` \\ " *', "größe", "a=b"];
    const printed = await command("printf", ["%s|", ...words], { signal });
    expect(printed.stdout).to.equal(words.map((word) => `${word}|`).join(""));
    const env = { PATH: "/usr/bin:/bin", ODD: "it's\n$HOME" };
    const variables = await command("env", ["--null"], { signal, env, cwd: "/usr" });
    expect(variables.stdout.split("\0").filter(Boolean).sort()).to.deep.equal([
      "ODD=it's\n$HOME",
      "PATH=/usr/bin:/bin",
    ]);
    expect((await command("pwd", ["-P"], { signal, cwd: "/usr" })).stdout).to.equal("/usr");
  });

  it("tells a program that is missing from one that ends with the code for that", async () => {
    expect(await failure(command("no-such-program", [], { signal }))).to.have.property("code", "TOOL_MISSING");
    expect(await failure(command("sh", [], { signal, env: { PATH: "/nowhere" } }))).to.have.property(
      "code",
      "TOOL_MISSING",
    );
    expect(findProgram("/etc/passwd", "")).to.equal(undefined); // it is there, and no program
    expect((await command("sh", ["-c", "exit 127"], { signal })).exitCode).to.equal(127);
  });

  it("says which signal ended a program", async () => {
    const error = await failure(command("sh", ["-c", "kill -9 $$"], { signal }));
    expect(error).to.include({ code: "TOOL_DIED", message: "sh died: by signal 9." });
  });

  it("ends a program whose signal comes, also before it has begun, and waits for its end", async () => {
    const reason = new Error("no more time");
    const stop = new AbortController();
    const script = "trap 'echo ended >&2; exit 3' TERM; sleep 60 & wait";
    const running = failure(command("sh", ["-c", script], { signal: stop.signal }));
    stop.abort(reason);
    expect(await running).to.equal(reason);
    expect(await failure(command("true", [], { signal: stop.signal }))).to.equal(reason);
  });

  it("lets programs have the signals of a terminal, which a shell takes from what it starts in the background", async () => {
    const { stdout } = await command("grep", ["SigIgn", "/proc/self/status"], { signal });
    const ignored = Number.parseInt(stdout.split(/\s+/)[1] ?? "", 16);
    expect(ignored & 0b110).to.equal(0);
  });

  it("goes on when its shell is killed: what runs is heard to its end, and the next program has a shell", async () => {
    const { shell } = JSON.parse((await command("sh", ["-c", WHERE], { signal })).stdout) as Where;
    const begun = join(mkdtempSync(join(tmpdir(), "berth-command-")), "begun");
    const running = command("sh", ["-c", `>${begun}; while [ -e ${begun} ]; do sleep 0.02; done; echo whole`], {
      signal,
    });
    await eventually("it runs", () => existsSync(begun));
    process.kill(shell, "SIGKILL");
    await eventually("its shell is gone", () => !existsSync(`/proc/${shell}`));
    rmSync(dirname(begun), { recursive: true });
    expect((await running).stdout).to.equal("whole");
    expect((await command("echo", ["again"], { signal })).stdout).to.equal("again");
  });

  it("keeps no process from ending, and leaves nothing of one that was killed", async () => {
    const script = `
      import { command } from ${JSON.stringify(module)};
      const where = await command("sh", ["-c", ${JSON.stringify(WHERE)}], { signal: new AbortController().signal });
      process.stdout.write(where.stdout);
      if (process.argv[1] === "stay") setInterval(() => {}, 1000);`;
    const run = (...args: string[]) =>
      spawn(process.execPath, ["--input-type=module", "-e", script, ...args], { stdio: ["ignore", "pipe", "inherit"] });
    const ends = run();
    expect((await once(ends, "close"))[0]).to.equal(0);

    const stays = run("stay");
    const { shell, out } = JSON.parse(String((await once(stays.stdout, "data"))[0])) as Where;
    expect(readdirSync(dirname(out))).to.deep.equal([]);
    stays.kill("SIGKILL");
    await eventually(
      "the shell and its folder are gone",
      () => !existsSync(`/proc/${shell}`) && !existsSync(dirname(out)),
    );
  });
});

/** Prints which process started the one that started this shell, and where what this one prints goes. */
const WHERE = "echo '{\"shell\":'$(cut -d' ' -f4 /proc/$PPID/stat)',\"out\":\"'$(readlink /proc/$$/fd/1)'\"}'";
interface Where {
  shell: number;
  out: string;
}

async function failure(work: Promise<unknown>): Promise<unknown> {
  return await work.then(
    (value) => expect.fail(`it gave ${JSON.stringify(value)}`),
    (error: unknown) => error,
  );
}

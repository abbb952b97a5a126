import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { isAlive, processRef } from "../../scripts/lib/processes.ts";
import { eventually } from "../support/eventually.ts";

const scripts = join(import.meta.dirname, "..", "..", "scripts");
/** One package of its own: npm can install it without any network. */
const PACKAGE = { name: "checkout", version: "1.0.0", dependencies: { dep: "file:dep" } };
const LOCK = {
  lockfileVersion: 3,
  packages: { "": PACKAGE, dep: { version: "1.0.0" }, "node_modules/dep": { resolved: "dep", link: true } },
};

/** Says its process id, notes what it hears, and ends a little after the first of it. */
const LISTENER = `
import { appendFileSync, writeFileSync } from "node:fs";
const heard = [];
const note = (what) => {
  heard.push(what);
  appendFileSync("heard", what + "\\n");
  if (heard.length === 1) setTimeout(() => process.exit(10 + heard.length), 400);
};
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => note(signal));
process.on("disconnect", () => note("disconnect"));
setInterval(() => {}, 1000);
writeFileSync("pid", String(process.pid));
`;

/** In a small checkout of its own, so that nothing of this one is set up or touched. */
describe("with-node24.mjs", function () {
  this.timeout(60_000);
  let checkout: string;
  const running: ChildProcess[] = [];

  beforeEach(async () => {
    checkout = mkdtempSync(join(tmpdir(), "berth-checkout-"));
    mkdirSync(join(checkout, "scripts"));
    for (const name of ["with-node24.mjs", "system-packages.mjs"])
      copyFileSync(join(scripts, name), join(checkout, "scripts", name));
    writeFileSync(join(checkout, "package.json"), JSON.stringify(PACKAGE));
    mkdirSync(join(checkout, "dep"));
    writeFileSync(join(checkout, "dep", "package.json"), JSON.stringify({ name: "dep", version: "1.0.0" }));
    writeFileSync(join(checkout, "package-lock.json"), JSON.stringify(LOCK));
    writeFileSync(join(checkout, "scripts", "listener.mjs"), LISTENER);
    writeFileSync(
      join(checkout, "scripts", "seven.mjs"),
      "console.log(process.argv.slice(2).join()); process.exit(7);",
    );
  });
  afterEach(async () => {
    for (const child of running.splice(0)) child.kill("SIGKILL");
    const pid = pidOfListener();
    if (pid !== undefined && processRef(pid)) process.kill(pid, "SIGKILL");
    rmSync(checkout, { recursive: true, force: true });
  });

  const start = (...args: string[]) => {
    const child = spawn(process.execPath, [join(checkout, "scripts", "with-node24.mjs"), ...args], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    running.push(child);
    let [stdout, stderr] = ["", ""];
    child.stdout.on("data", (chunk: Buffer) => {
      stdout += chunk;
    });
    child.stderr.on("data", (chunk: Buffer) => {
      stderr += chunk;
    });
    const ended = once(child, "close").then(([code]) => ({ code: code as number | null, stdout, stderr }));
    return { child, ended };
  };
  const pidOfListener = () => {
    const file = join(checkout, "pid");
    return existsSync(file) ? Number(readFileSync(file, "utf8")) || undefined : undefined;
  };
  const listener = async () => {
    const pid = await eventually("the script runs", pidOfListener, 20_000);
    const ref = processRef(pid);
    if (ref === undefined) throw new Error("the script is gone");
    return ref;
  };
  const heard = () => readFileSync(join(checkout, "heard"), "utf8").trim().split("\n");

  it("sets a checkout up once when two start at once, and passes arguments and the exit code on", async () => {
    const both = [start("scripts/seven.mjs", "--a", "b"), start("scripts/seven.mjs", "--a", "b")];
    const ended = await Promise.all(both.map((one) => one.ended));
    expect(
      ended.map(({ code }) => code),
      ended[0]?.stderr,
    ).to.deep.equal([7, 7]);
    expect(ended.map(({ stdout }) => stdout)).to.deep.equal(["--a,b\n", "--a,b\n"]);
    const said = ended.flatMap(({ stderr }) => stderr.match(/Set-up: installing the locked npm packages/g) ?? []);
    expect(said).to.have.length(1);
    const third = await start("scripts/seven.mjs").ended;
    expect(third).to.deep.equal({ code: 7, stdout: "\n", stderr: "" });
  });

  it("passes a signal on once, though npm sends it a second time", async () => {
    const { child, ended } = start("scripts/listener.mjs");
    await listener();
    child.kill("SIGINT"); // the terminal's, to the whole foreground group
    await eventually("the script hears it", () => existsSync(join(checkout, "heard")));
    child.kill("SIGINT"); // npm's own
    expect((await ended).code).to.equal(11);
    expect(heard()).to.deep.equal(["SIGINT"]);
  });

  it("leaves no script behind when it is killed itself", async () => {
    const { child } = start("scripts/listener.mjs");
    const script = await listener();
    child.kill("SIGKILL");
    await eventually("the script ends", () => !isAlive(script));
    expect(heard()[0]).to.equal("disconnect");
  });

  it("ends the script when the npm above it dies", async () => {
    const wrapper = JSON.stringify(join(checkout, "scripts", "with-node24.mjs"));
    const source = `require("node:child_process").spawn(process.execPath, [${wrapper}, "scripts/listener.mjs"], { stdio: "ignore" }); setInterval(() => {}, 1000);`;
    const above = spawn(process.execPath, ["-e", source], { stdio: "ignore" });
    running.push(above);
    const script = await listener();
    above.kill("SIGKILL");
    await eventually("the script ends", () => !isAlive(script));
    expect(heard()[0]).to.equal("SIGTERM");
  });
});

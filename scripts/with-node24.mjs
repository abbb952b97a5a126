// Runs a script of this checkout under Node 24 with everything it needs in place. Plain JavaScript for any Node ≥ 20.
//   node scripts/with-node24.mjs [--system [--tests]] SCRIPT [ARGUMENTS…]
// What is missing is set up first, one line of progress each, on stderr: Debian packages (with --system, as root; with
// --tests those that only tests need too), Node 24 from the npm package `node`, then the locked npm packages. A lock lets two runs of one checkout set up once.
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { accessSync, constants, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { systemPackages, testPackages } from "./system-packages.mjs";

const NODE_VERSION = "24.21.0";
const FORWARD_ONCE_MS = 1000;
const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const tools = join(root, ".tools");
const ownNode = join(tools, "node_modules", "node", "bin", "node");
const stampFile = join(root, "node_modules", ".berth-setup");

const [, self, ...rest] = process.argv;
const locked = take("--locked");
const system = take("--system");
const tests = take("--tests");

if (locked) {
  setUp();
} else {
  if (!isReady()) lockAndSetUp();
  runScript();
}

function take(flag) {
  const at = rest.indexOf(flag);
  if (at === 0) rest.shift();
  return at === 0;
}

function say(text) {
  process.stderr.write(`${text}\n`);
}

function nodeToUse() {
  return Number(process.versions.node.split(".")[0]) >= 24 ? process.execPath : ownNode;
}

function wantedStamp() {
  const lock = readFileSync(join(root, "package-lock.json"));
  return createHash("sha256")
    .update(lock)
    .update(nodeToUse() === ownNode ? NODE_VERSION : process.version)
    .digest("hex");
}

function packagesReady() {
  return existsSync(stampFile) && readFileSync(stampFile, "utf8") === wantedStamp();
}

function missingPackages() {
  const wanted = tests ? [...systemPackages, ...testPackages] : systemPackages;
  return wanted.filter(([, program]) => !isThere(program)).map(([name]) => name);
}

function isThere(program) {
  if (program.startsWith("/")) return existsSync(program);
  const folders = [...(process.env.PATH ?? "").split(":"), "/usr/sbin", "/sbin", "/usr/libexec/podman"];
  return folders.some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function isReady() {
  return existsSync(nodeToUse()) && packagesReady() && (!system || missingPackages().length === 0);
}

/** Waits for the lock of this checkout (the kernel frees it when its holder dies), then sets up what is still missing. */
function lockAndSetUp() {
  mkdirSync(tools, { recursive: true });
  const flags = [...(system ? ["--system"] : []), ...(tests ? ["--tests"] : [])];
  const lock = spawnSync("flock", [join(tools, "setup.lock"), process.execPath, self, "--locked", ...flags], {
    stdio: "inherit",
  });
  if (lock.error) fail("flock is missing.", "Install the package util-linux.");
  if (lock.status !== 0) process.exit(lock.status ?? 1);
}

function setUp() {
  if (system) installSystemPackages();
  if (!existsSync(nodeToUse())) installNode();
  if (!packagesReady()) installNpmPackages();
}

function installSystemPackages() {
  const missing = missingPackages();
  if (missing.length === 0) return;
  const install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", ...missing];
  if (process.getuid?.() !== 0 || !isThere("apt-get")) {
    say(`Set-up: these Debian packages are missing. Without them some parts stay off. To install them, run once:`);
    say(`  sudo ${install.filter((word) => word !== "-qq").join(" ")}`);
    return;
  }
  say(`Set-up: installing ${missing.length} Debian packages (${missing.join(" ")})`);
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  spawnSync("apt-get", ["update", "-qq"], { env, stdio: ["ignore", "ignore", "inherit"] });
  const done = spawnSync(install[0], install.slice(1), { env, stdio: ["ignore", "ignore", "inherit"] });
  if (done.status !== 0) fail("apt-get could not install the packages.", `Run: ${install.join(" ")}`);
}

function installNode() {
  say(`Set-up: installing Node ${NODE_VERSION} into .tools (this machine has ${process.version})`);
  npm(["install", "--prefix", tools, "--no-save", `node@${NODE_VERSION}`], "Node 24 could not be installed.");
}

function installNpmPackages() {
  say("Set-up: installing the locked npm packages");
  npm(["ci"], "The npm packages could not be installed.");
  writeFileSync(stampFile, wantedStamp());
}

function npm(args, failure) {
  const quiet = ["--no-audit", "--no-fund", "--loglevel=error"];
  const done = spawnSync("npm", [...args, ...quiet], {
    cwd: root,
    env: environment(),
    stdio: ["ignore", 2, "inherit"],
  });
  if (done.status !== 0)
    fail(failure, "Read npm's words above; the network must reach an npm registry the first time.");
}

function environment() {
  const folder = dirname(nodeToUse());
  return { ...process.env, PATH: existsSync(nodeToUse()) ? `${folder}:${process.env.PATH}` : process.env.PATH };
}

function fail(message, hint) {
  say(`Error: ${message}\nHint: ${hint}`);
  process.exit(1);
}

/**
 * Runs the script in a session of its own, so that a Ctrl-C reaches it through us alone: the terminal signals us, npm
 * signals us again, and the script hears it once. A script that loses us (its IPC channel closes) stops by itself.
 */
function runScript() {
  const [script, ...args] = rest;
  const child = spawn(nodeToUse(), [join(root, script), ...args], {
    cwd: root,
    detached: true,
    env: environment(),
    stdio: ["inherit", "inherit", "inherit", "ipc"],
  });
  let lastForwarded = 0;
  const forward = (signal) => {
    if (Date.now() - lastForwarded < FORWARD_ONCE_MS) return;
    lastForwarded = Date.now();
    child.kill(signal);
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, forward);
  // npm dies of a SIGTERM without passing it on: then we are somebody else's child.
  const parent = process.ppid;
  const watch = setInterval(() => process.ppid !== parent && forward("SIGTERM"), 500);
  child.on("error", (error) => fail(error.message, "Remove the folder .tools and try again."));
  child.on("exit", (code, signal) => {
    clearInterval(watch);
    process.exit(code ?? 128 + (signal === "SIGINT" ? 2 : signal === "SIGKILL" ? 9 : 15));
  });
}

import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { type Address, MarketError, parseSpec, type Spec } from "@berth/protocol";
import { Argument, type Command, Option } from "commander";
import { parse as parseYaml } from "yaml";
import { parseInput } from "../actions/add-inputs.ts";
import { specDefaults } from "../actions/build-spec.ts";
import { checkImageReference } from "../actions/resolve-image.ts";
import { type RunOptions, type RunReport, resumeJob, runJob } from "../actions/run-job.ts";
import { tokenOf } from "../chain-reads.ts";
import { addresses, cores, label, parseJobId, several, variable, whole } from "../cli/arguments.ts";
import { confirm } from "../cli/confirm.ts";
import { describeRun } from "../cli/describe.ts";
import { exitCodes, exitCodesHelp } from "../cli/exit-codes.ts";
import { identityHelp, keyringFor } from "../cli/identity.ts";
import { outputPrinter } from "../cli/output.ts";
import type { Runner } from "../cli/runner.ts";
import type { GlobalFlags, Session } from "../cli/session.ts";
import type { Config } from "../config.ts";
import { formatMoney, formatSeconds, parseMoney } from "../format.ts";

interface RunFlags extends GlobalFlags {
  cpu?: number;
  memory?: number;
  disk?: number;
  gpus?: number;
  gpuModel?: string;
  isolation?: Spec["isolation"];
  maxSeconds?: number;
  startSeconds?: number;
  env: Record<string, string>;
  entrypoint?: string;
  workdir?: string;
  in: string[];
  out?: string;
  outputsPath?: string;
  maxPrice?: string;
  bond?: string;
  region?: string;
  replicas?: number;
  operators?: Address[];
  openSeconds?: number;
  challengeSeconds?: number;
  retentionSeconds?: number;
  idempotent?: boolean;
  attest?: Spec["attestation"];
  encrypt?: boolean;
  identity?: string;
  spec?: string;
  post?: boolean;
  yes?: boolean;
  follow?: boolean;
  approve: boolean;
  approveUnopened?: boolean;
}

function approveUnopened(): Option {
  return new Option(
    "--approve-unopened",
    "pay encrypted outputs and logs by their hashes, though no identity here opens them",
  ).conflicts("approve");
}

/** `berth run IMAGE -- CMD…` */
export function addRun(program: Command, run: Runner): void {
  program
    .command("run")
    .description("Run a container somewhere on the market, and bring back its verified result.")
    .addArgument(
      new Argument(
        "[image]",
        "oci:DIR, ipfs:CID@sha256:DIGEST or oci://HOST/REPOSITORY@sha256:DIGEST; not needed with --spec",
      ),
    )
    .argument("[command...]", "after --: arguments for the image's entrypoint")
    .option("--cpu <cores>", `cores, like 0.5 (default ${specDefaults.cpuMilli / 1000})`, cores)
    .option("--memory <MiB>", `memory (default ${specDefaults.memoryMiB})`, whole("MiB", 8))
    .option("--disk <MiB>", `disk (default ${specDefaults.diskMiB})`, whole("MiB"))
    .option("--gpus <n>", "whole GPUs (default 0)", whole("GPUs"))
    .option("--gpu-model <name>", "only GPUs that offers call this: `berth offers` lists them", label)
    .addOption(
      new Option(
        "--isolation <class>",
        `what keeps the job from the node's kernel (default ${specDefaults.isolation})`,
      ).choices(["container", "gvisor"]),
    )
    .option(
      "--max-seconds <s>",
      `the longest run that is paid (default ${specDefaults.runSeconds})`,
      whole("seconds", 1),
    )
    .option(
      "--start-seconds <s>",
      `from the match to the start (default ${specDefaults.startSeconds})`,
      whole("seconds", 1),
    )
    .option("--env <NAME=VALUE>", "environment variable; may be repeated", variable, {})
    .option("--entrypoint <program>", "replaces the image's entrypoint")
    .option("--workdir <path>", "working directory in the container")
    .option("--in <path:/mount>", "file, folder or ipfs:CID that the job may read; may be repeated", several, [])
    .option("--out <dir>", "where the outputs go; must not exist or be empty")
    .option(
      "--outputs-path <path>",
      `the folder in the container that is the output (default ${specDefaults.outputsPath})`,
    )
    .option("--max-price <amount>", "the most to pay for all replicas, like 1.5")
    .option("--bond <amount>", "stake that the node puts up")
    .option("--region <name>", "only nodes that say they are there", label)
    .option("--replicas <n>", "run on this many operators (default 1)", whole("replicas", 1))
    .option("--operators <addresses>", "only these operators, separated by commas", addresses)
    .option("--open-seconds <s>", "how long to wait for a match", whole("seconds", 1))
    .option(
      "--challenge-seconds <s>",
      "how long a result may be looked at before anyone may pay it; 0: it is paid as it comes, unseen",
      whole("seconds"),
    )
    .option("--retention-seconds <s>", "how long the node keeps the outputs", whole("seconds"))
    .option("--idempotent", "the command may be started again if the machine crashes")
    .addOption(new Option("--attest <kind>", "evidence that the node must give").choices(["none", "tpm2", "exec"]))
    .option("--encrypt", "outputs and logs that only you can open, with an age identity made and kept for the job")
    .option("--identity <file>", "encrypt them to the age identity in this file instead")
    .option("--spec <file>", "a whole spec, JSON or YAML; the flags above then are not allowed")
    .option("--post", "put the request on chain instead of signing it")
    .option("--yes", "do not ask before paying")
    .option("--follow", "show what the job writes while it runs (default on a terminal)")
    .option("--no-follow", "do not show it")
    .option("--no-approve", "verify, but leave the paying for later")
    .addOption(approveUnopened())
    .addHelpText("after", `\nA job that ends with another code than 0 is still paid.\n${exitCodesHelp}`)
    .action(async (image: string | undefined, command: string[], _options, self: Command) => {
      const flags = self.optsWithGlobals<RunFlags>();
      if (image !== undefined) await checkImageReference(image);
      await run(flags, { withKey: true }, async (session) => {
        const options = await runOptions(session, flags, image, command);
        return await answer(session, flags, await runJob(session.client, options, session.context));
      });
    });
}

/** `berth resume JOB` */
export function addResume(program: Command, run: Runner): void {
  program
    .command("resume")
    .description("Take up a job that was ordered before: wait for it, verify it, pay for it.")
    .argument("<job>", "its id")
    .option("--out <dir>", "where the outputs go; must not exist or be empty")
    .option("--follow", "show what the job writes while it runs (default on a terminal)")
    .option("--no-follow", "do not show it")
    .option("--identity <file>", identityHelp)
    .option("--no-approve", "verify, but leave the paying for later")
    .addOption(approveUnopened())
    .addHelpText("after", exitCodesHelp)
    .action(async (job: string, _options, self: Command) => {
      const flags = self.optsWithGlobals<RunFlags>();
      await run(flags, { withKey: true }, async (session) => {
        const { client, config, trust, context } = session;
        const { approve, approveUnopened } = flags;
        const own = { out: outOf(flags), trust, approve, approveUnopened, onOutput: outputOf(flags) };
        const options = { ...own, keyring: keyringFor(config, flags), serve: serveOf(config) };
        return await answer(session, flags, await resumeJob(client, parseJobId(job), options, context));
      });
    });
}

async function answer({ client }: Session, { token: name }: RunFlags, report: RunReport) {
  const token = await tokenOf(client, name);
  return { json: report, text: describeRun(report, token), exitCode: exitCodeOfRun(report) };
}

/** Not verified comes before failed: who cannot trust the result cannot trust the failure either. */
function exitCodeOfRun({ verification, replicas }: RunReport): number {
  if (!verification.ok) return exitCodes.verification;
  return replicas.every(({ outcome, exitCode }) => outcome === "exited" && exitCode === 0)
    ? exitCodes.ok
    : exitCodes.jobFailed;
}

async function runOptions(
  session: Session,
  flags: RunFlags,
  image: string | undefined,
  command: string[],
): Promise<RunOptions> {
  const { client, config, trust, context } = session;
  const token = await tokenOf(client, config.token);
  if (flags.attest === "tpm2" && trust.tpmAuthorities.length === 0) {
    context.onProgress({
      phase: "image",
      message: "no --tpm-authority is given: evidence cannot be verified, so nothing will be approved",
    });
  }
  const fromFile = flags.spec === undefined ? undefined : specFromFile(flags, command);
  const money = (text: string | undefined) => (text === undefined ? undefined : parseMoney(text, token));
  if (flags.yes !== true) await confirmPossible(context.signal);
  return {
    image: fromFile === undefined && image === undefined ? missingImage() : image,
    spec: fromFile ?? specFlags(flags, command),
    inputs: flags.in.map((text) => parseInput(text)),
    token: config.token,
    replicas: flags.replicas,
    operators: flags.operators,
    maxPrice: money(flags.maxPrice),
    bond: money(flags.bond),
    region: flags.region,
    gpuModel: flags.gpuModel,
    challengeSeconds: flags.challengeSeconds,
    openSeconds: flags.openSeconds,
    encrypt: flags.encrypt === true || flags.identity !== undefined,
    keyring: keyringFor(config, flags),
    post: flags.post,
    out: outOf(flags),
    trust,
    approve: flags.approve,
    approveUnopened: flags.approveUnopened,
    onOutput: outputOf(flags),
    serve: serveOf(config),
    confirm: async ({ estimate, terms }) => {
      const most = formatMoney(estimate?.price ?? terms.maxPrice, token);
      const question = `Run this for at most ${most} and ${formatSeconds(terms.maxSeconds)}?`;
      await confirm(question, { yes: flags.yes === true, signal: context.signal });
    },
  };
}

/** Known before anything is fetched: without a terminal there is nobody to ask. */
async function confirmPossible(signal: AbortSignal): Promise<void> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) await confirm("", { yes: false, signal });
}

function missingImage(): never {
  throw new MarketError("IMAGE_MISSING", "No image is named.", {
    hint: "Write `berth run oci:DIR -- COMMAND`, or give --spec FILE.",
  });
}

function specFlags(flags: RunFlags, command: string[]): Exclude<RunOptions["spec"], Spec> {
  return {
    command,
    entrypoint: flags.entrypoint === undefined ? undefined : [flags.entrypoint],
    env: flags.env,
    workdir: flags.workdir,
    outputsPath: flags.outputsPath,
    cpuMilli: flags.cpu,
    memoryMiB: flags.memory,
    diskMiB: flags.disk,
    gpus: flags.gpus,
    isolation: flags.isolation,
    runSeconds: flags.maxSeconds,
    startSeconds: flags.startSeconds,
    attestation: flags.attest,
    idempotent: flags.idempotent,
    retentionSeconds: flags.retentionSeconds,
  };
}

function specFromFile(flags: RunFlags, command: string[]): Spec {
  const { env, in: _inputs, ...single } = specFlags(flags, command) as ReturnType<typeof specFlags> & { in?: never };
  const both = Object.entries(single).find(([name, value]) => value !== undefined && name !== "command");
  if (both !== undefined || command.length > 0 || Object.keys(env ?? {}).length > 0) {
    const what = both?.[0] ?? (command.length > 0 ? "command" : "env");
    throw new MarketError(
      "USAGE",
      `The spec file says everything about what to run, so "${what}" cannot be given beside it.`,
      {
        hint: "Write it into the file.",
      },
    );
  }
  const file = flags.spec ?? "";
  let value: unknown;
  try {
    value = parseYaml(readFileSync(file, "utf8"));
  } catch (cause) {
    throw new MarketError("SPEC_UNREADABLE", `The spec ${file} cannot be read: ${(cause as Error).message}`, { cause });
  }
  return parseSpec(value);
}

/** Who looks at a terminal sees what the job writes. */
function outputOf({ follow, quiet }: RunFlags): RunOptions["onOutput"] {
  const isWanted = follow ?? (quiet !== true && process.stderr.isTTY === true);
  return isWanted ? outputPrinter() : undefined;
}

function outOf({ out }: RunFlags): string | undefined {
  return out === undefined ? undefined : resolve(out);
}

function serveOf({ contentHost, contentPort, contentUrl }: Config): RunOptions["serve"] {
  return { host: contentHost, port: contentPort, url: contentUrl };
}

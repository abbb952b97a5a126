import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { JobId } from "@berth/protocol";
import { attemptName } from "../../../provider-node/src/core/attempt-name.ts";
import { eventually } from "../../support/eventually.ts";
import { tracesOf } from "../engine/traces.ts";
import type { RegisteredNode } from "./registered-node.ts";

/** Says which run it is by a file, so that a second one would leave a second file, and waits to be let go. */
export const WAITING = [
  "/bin/sh",
  "-c",
  "echo begun; cat /proc/sys/kernel/random/uuid > /out/run-$$-$(cat /proc/uptime | tr -d ' .'); until [ -e /out/go ]; do sleep 0.05; done; exit 3",
];

/** One attempt as root sees it on the machine of its node. */
export interface AttemptOnMachine {
  name: string;
  /** Resolves when its command, which is `WAITING`, runs. */
  runs(): Promise<void>;
  /** Lets `WAITING` go on. */
  letGo(): void;
  /** Process ids of the container's monitor and its first process. */
  monitor(): number;
  job(): number;
  /** Resolves when there is nothing of it any more: no container, mount, control group, folder and process. */
  gone(): Promise<void>;
}

export function attemptOnMachine(
  { dataDir, runId }: Pick<RegisteredNode, "dataDir" | "runId">,
  jobId: JobId,
  attempt = 0,
): AttemptOnMachine {
  const name = attemptName(runId, { jobId, replica: 0, attempt });
  const folder = join(dataDir, "engine/attempts", name);
  const out = join(folder, "out");
  const numberIn = (file: string) => Number(readFileSync(join(folder, file), "utf8"));
  const traces = () => [
    ...tracesOf({ dataDir }, name),
    ...containersIn(join(dataDir, "engine/store")).filter((container) => container.includes(name)),
    ...readdirSync(join(dataDir, "staging")).filter((staged) => staged === name),
  ];
  return {
    name,
    async runs() {
      const hasBegun = () => existsSync(out) && readdirSync(out).some((file) => file.startsWith("run-"));
      await eventually(`${name} runs`, hasBegun, 120_000);
    },
    letGo: () => writeFileSync(join(out, "go"), ""),
    monitor: () => numberIn("monitor.pid"),
    job: () => numberIn("job.pid"),
    async gone() {
      await eventually(`${name} is gone`, () => traces().length === 0, 30_000).catch((cause: unknown) => {
        throw new Error(`left of ${name}: ${traces().join(", ")}`, { cause });
      });
    },
  };
}

/** What podman's storage knows of containers, whichever its driver is. */
function containersIn(store: string): string[] {
  return readdirSync(store)
    .filter((folder) => folder.endsWith("-containers"))
    .flatMap((folder) => JSON.parse(readFileSync(join(store, folder, "containers.json"), "utf8")) as object[])
    .map((container) => JSON.stringify(container));
}

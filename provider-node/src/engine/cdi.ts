import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parse as parseYaml } from "yaml";
import { z } from "zod";

/** `vendor/class=name` */
export const cdiName = /^[\w.-]+\/[\w.-]+=[\w.:-]+$/;

/** Where podman looks for CDI files. */
const FOLDERS = ["/etc/cdi", "/var/run/cdi"];

const fileSchema = z.object({
  kind: z.string(),
  devices: z.array(
    z.object({
      name: z.union([z.string(), z.number()]).transform(String),
      containerEdits: z
        .object({
          deviceNodes: z.array(z.object({ path: z.string() })).nullish(),
          env: z.array(z.string()).nullish(),
        })
        .nullish(),
    }),
  ),
});

/** A device that a CDI file of this machine names. */
export interface CdiDevice {
  name: string;
  /** What a container that has it finds: device files, and variables as `NAME=value`. */
  nodes: string[];
  env: string[];
}

/** All devices of this machine's CDI files, by name; a file that is none is passed over, as podman does. */
export function readCdiDevices(folders: readonly string[] = FOLDERS): CdiDevice[] {
  const found = new Map<string, CdiDevice>();
  for (const folder of folders) {
    for (const file of filesIn(folder)) {
      for (const device of devicesOf(join(folder, file))) found.set(device.name, device);
    }
  }
  return [...found.values()].sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
}

/** The names to use: those configured, or one for each device, for a file may name it several times and all of them at once. Pure. */
export function chooseDevices(configured: "auto" | readonly string[], found: readonly CdiDevice[]): string[] {
  if (configured !== "auto") return [...new Set(configured)];
  const taken = new Set<string>();
  return found.flatMap(({ name, nodes }) => {
    const key = nodes.length > 0 ? [...nodes].sort().join("\0") : name;
    if (name.endsWith("=all") || taken.has(key)) return [];
    taken.add(key);
    return [name];
  });
}

function filesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
      .filter((name) => /\.(json|ya?ml)$/.test(name))
      .sort();
  } catch {
    return [];
  }
}

function devicesOf(file: string): CdiDevice[] {
  try {
    // JSON is YAML.
    const { kind, devices } = fileSchema.parse(parseYaml(readFileSync(file, "utf8")));
    return devices
      .map(({ name, containerEdits }) => ({
        name: `${kind}=${name}`,
        nodes: (containerEdits?.deviceNodes ?? []).map(({ path }) => path),
        env: containerEdits?.env ?? [],
      }))
      .filter(({ name }) => cdiName.test(name));
  } catch {
    return [];
  }
}

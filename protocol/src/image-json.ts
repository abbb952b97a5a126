import { MarketError } from "./errors.ts";

/** The keys of an object that readers of images know, and what is below them. */
interface Shape {
  [key: string]: Shape | "value";
}

const platform: Shape = words("architecture os os.version os.features variant");
const descriptor: Shape = { ...words("mediaType digest size urls annotations data artifactType"), platform };
const manifest: Shape = {
  ...words("schemaVersion mediaType artifactType annotations"),
  config: descriptor,
  layers: descriptor,
  manifests: descriptor,
  subject: descriptor,
};
const config: Shape = {
  ...words("created author architecture os os.version os.features variant"),
  config: words(
    "User ExposedPorts Env Entrypoint Cmd Volumes WorkingDir Labels StopSignal StopTimeout ArgsEscaped Hostname Domainname AttachStdin AttachStdout AttachStderr Tty OpenStdin StdinOnce Image NetworkDisabled MacAddress OnBuild Shell Healthcheck Memory MemorySwap CpuShares",
  ),
  rootfs: words("type diff_ids"),
  history: words("created created_by author comment empty_layer"),
};

/**
 * Parses the manifest or config of an OCI image, which container engines read with other rules: they take `Layers` for
 * `layers`, and keep parts of an object that is given twice. What could be read in two ways is refused.
 * Throws IMAGE_REFUSED.
 */
export function parseImageJson(bytes: Uint8Array, kind: "manifest" | "config"): unknown {
  let text: string;
  let value: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    value = JSON.parse(text);
  } catch (cause) {
    throw new MarketError("IMAGE_REFUSED", `The image's ${kind} is not JSON.`, { cause });
  }
  const repeated = repeatedKey(text);
  if (repeated !== undefined) throw ambiguous(kind, repeated, "is there twice");
  const folded = foldedKey(value, kind === "manifest" ? manifest : config);
  if (folded !== undefined) throw ambiguous(kind, folded, "differs from a known key only in its letters' case");
  return value;
}

/** The first key that equals a known one but for case, below `value`. Of an array, each item is looked at. */
function foldedKey(value: unknown, shape: Shape): string | undefined {
  return first(Array.isArray(value) ? value : [value], (item) => foldedKeyOf(item, shape));
}

function foldedKeyOf(value: unknown, shape: Shape): string | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  const known = new Set(Object.keys(shape).map(fold));
  return first(Object.entries(value), ([key, below]) => {
    if (!Object.hasOwn(shape, key)) return known.has(fold(key)) ? key : undefined;
    const inner = shape[key];
    return inner === undefined || inner === "value" ? undefined : foldedKey(below, inner);
  });
}

/** The first key that one object has twice. `text` is valid JSON. */
function repeatedKey(text: string): string | undefined {
  const open: (Set<string> | undefined)[] = [];
  for (const [token, key, colon] of text.matchAll(/("[^"\\]*(?:\\.[^"\\]*)*")(\s*:)?|[{}[\]]/g)) {
    if (token === "{") open.push(new Set());
    else if (token === "[") open.push(undefined);
    else if (token === "}" || token === "]") open.pop();
    if (key === undefined || colon === undefined) continue;
    const name = JSON.parse(key) as string;
    const names = open.at(-1);
    if (names?.has(name)) return name;
    names?.add(name);
  }
  return undefined;
}

/** As engines compare keys: the long s and the Kelvin sign count as letters too. */
function fold(key: string): string {
  return key.toUpperCase().toLowerCase();
}

function first<T>(items: readonly T[], look: (item: T) => string | undefined): string | undefined {
  for (const item of items) {
    const found = look(item);
    if (found !== undefined) return found;
  }
  return undefined;
}

function words(list: string): Shape {
  return Object.fromEntries(list.split(" ").map((word) => [word, "value" as const]));
}

function ambiguous(kind: string, key: string, how: string): MarketError {
  return new MarketError(
    "IMAGE_REFUSED",
    `The image's ${kind} can be read in two ways: ${JSON.stringify(key)} ${how}.`,
    {
      hint: "Build the image with a tool that writes plain OCI documents.",
    },
  );
}

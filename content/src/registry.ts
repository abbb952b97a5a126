import { MarketError } from "@berth/protocol";
import { answered, type OpenAnswer, type OpenRequest, openAnswer } from "./http.ts";

/** A stranger's place that has images: a registry, or a web folder with an OCI layout. Nothing that it says is checked here. */
export interface ImagePlace {
  /** Opens a manifest, by digest or (in a registry) tag. Throws SOURCE_*. */
  openManifest(reference: string, signal: AbortSignal): Promise<OpenRequest>;
  /** Opens a config or layer by digest. Throws SOURCE_*. */
  openBlob(digest: string, signal: AbortSignal): Promise<OpenRequest>;
  /** Opens index.json; a registry has tags instead. Throws SOURCE_*. */
  openIndex?(signal: AbortSignal): Promise<OpenRequest>;
}

export interface ImagePlaceOptions {
  /** Connect to addresses of the open internet only, also after a redirect. */
  publicOnly: boolean;
  /** A place that sends nothing for this long is left. Default 30 s. */
  stallMs?: number | undefined;
}

const MANIFESTS = [
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.docker.distribution.manifest.v2+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
].join(", ");
const ANYTHING = "application/octet-stream, */*";
const STALL_MS = 30_000;
const MAX_REDIRECTS = 5;
const MAX_TOKEN_BYTES = 64 * 1024;
/** As every engine has it: a registry on this machine speaks plain HTTP. */
const LOOPBACK = /^(localhost|127(\.[0-9]{1,3}){3})$/;

/**
 * A registry that speaks the OCI distribution protocol (`oci://host[:port]/repository`), read without an account: where it
 * asks for one, its anonymous token is fetched. No credentials of this machine are ever sent.
 */
export function openRegistry(source: string, options: ImagePlaceOptions): ImagePlace {
  const [, host = "", repository = ""] = /^oci:\/\/([^/]+)\/(.+)$/.exec(source) ?? [];
  const scheme = LOOPBACK.test(host.replace(/:[0-9]+$/, "")) ? "http" : "https";
  const base = new URL(`${scheme}://${host}/v2/${repository}/`);
  let authorization: string | undefined;

  const open = async (path: string, accept: string, signal: AbortSignal): Promise<OpenRequest> => {
    const url = new URL(path, base);
    const first = await follow(url, { accept, authorization, signal }, options);
    if (first.status !== 401) return await accepted(first);
    await first[Symbol.asyncDispose]();
    const token = await fetchToken(first.headers["www-authenticate"] ?? "", { base, signal }, options);
    if (token === undefined) throw answered(first);
    authorization = `Bearer ${token}`;
    return await accepted(await follow(url, { accept, authorization, signal }, options));
  };
  return {
    openManifest: (reference, signal) => open(`manifests/${reference}`, MANIFESTS, signal),
    openBlob: (digest, signal) => open(`blobs/${digest}`, ANYTHING, signal),
  };
}

/** A folder on a web server that holds an OCI layout, file by file. */
export function openWebLayout(source: string, options: ImagePlaceOptions): ImagePlace {
  const open = async (path: string, signal: AbortSignal) =>
    await accepted(await follow(new URL(path, source), { accept: ANYTHING, signal }, options));
  const blob = (digest: string, signal: AbortSignal) => open(`blobs/${digest.replace(":", "/")}`, signal);
  return { openManifest: blob, openBlob: blob, openIndex: (signal) => open("index.json", signal) };
}

/** Opens one file on a web server, such as an archive. Throws SOURCE_*. */
export async function openWebFile(
  source: string,
  signal: AbortSignal,
  options: ImagePlaceOptions,
): Promise<OpenRequest> {
  return await accepted(await follow(new URL(source), { accept: ANYTHING, signal }, options));
}

/** All of a body, which must not be larger than `maxBytes`. Throws SOURCE_ANSWERED. */
export async function readBody({ body }: Pick<OpenRequest, "body">, maxBytes: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > maxBytes) throw new MarketError("SOURCE_ANSWERED", `It sent more than ${maxBytes} bytes.`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

interface Asked {
  accept: string;
  authorization?: string | undefined;
  signal: AbortSignal;
}

/** GETs `url`, and whatever it redirects to. The token stays with the origin that it was given for. */
async function follow(
  url: URL,
  asked: Asked,
  { publicOnly, stallMs = STALL_MS }: ImagePlaceOptions,
): Promise<OpenAnswer> {
  let at = url;
  for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
    const authorization = at.origin === url.origin ? asked.authorization : undefined;
    const answer = await openAnswer(at, { ...asked, authorization, publicOnly, stallMs });
    const { location } = answer.headers;
    if (![301, 302, 303, 307, 308].includes(answer.status) || location === undefined) return answer;
    await answer[Symbol.asyncDispose]();
    at = nextOf(location, at);
  }
  throw new MarketError("SOURCE_REFUSED", `It redirects more than ${MAX_REDIRECTS} times.`);
}

function nextOf(location: string, from: URL): URL {
  const next = URL.parse(location, from);
  const isWeb = next !== null && /^https?:$/.test(next.protocol) && next.username === "" && next.password === "";
  if (isWeb && (next.protocol === "https:" || from.protocol === "http:")) return next;
  throw new MarketError("SOURCE_REFUSED", "It redirects to where no image is fetched from.");
}

async function accepted(answer: OpenAnswer): Promise<OpenRequest> {
  if (answer.status === 200) return answer;
  await answer[Symbol.asyncDispose]();
  throw answered(answer);
}

/** The anonymous token that a registry's challenge names; undefined when it names none. */
async function fetchToken(
  challenge: string,
  { base, signal }: { base: URL; signal: AbortSignal },
  options: ImagePlaceOptions,
): Promise<string | undefined> {
  if (!/^bearer\s/i.test(challenge)) return undefined;
  const said = new Map(
    [...challenge.matchAll(/([a-z_]+)="([^"]*)"/gi)].map(([, key = "", value = ""]) => [key, value]),
  );
  const realm = said.get("realm");
  if (realm === undefined) return undefined;
  const url = nextOf(realm, base);
  for (const name of ["service", "scope"]) {
    const value = said.get(name);
    if (value !== undefined) url.searchParams.set(name, value);
  }
  await using answer = await accepted(await follow(url, { accept: "application/json", signal }, options));
  const bytes = await readBody(answer, MAX_TOKEN_BYTES);
  const token = tokenIn(bytes);
  // Node would refuse a header with other bytes, and say so with the header in the message.
  if (token !== undefined && /^[\x21-\x7e]{1,16384}$/.test(token)) return token;
  throw new MarketError("SOURCE_ANSWERED", "Its token service sent no token.");
}

function tokenIn(bytes: Uint8Array): string | undefined {
  try {
    const { token, access_token: other } = JSON.parse(Buffer.from(bytes).toString()) as Record<string, unknown>;
    return [token, other].find((value) => typeof value === "string") as string | undefined;
  } catch {
    return undefined;
  }
}

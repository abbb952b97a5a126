import { accepted, type FollowOptions, follow } from "./follow.ts";
import { answered, type OpenAnswer, type OpenRequest } from "./http.ts";
import { acceptedAs, isLoopback, logIn, type RegistryAccount } from "./registry-login.ts";

/** A stranger's place that has images: a registry, or a web folder with an OCI layout. Nothing that it says is checked here. */
export interface ImagePlace {
  /** Opens a manifest, by digest or (in a registry) tag. Throws SOURCE_*. */
  openManifest(reference: string, signal: AbortSignal): Promise<OpenRequest>;
  /** Opens a config or layer by digest. Throws SOURCE_*. */
  openBlob(digest: string, signal: AbortSignal): Promise<OpenRequest>;
  /** Opens index.json; a registry has tags instead. Throws SOURCE_*. */
  openIndex?(signal: AbortSignal): Promise<OpenRequest>;
  /** Opens the list of the manifests that refer to `digest`, page by page, where a registry keeps one. Throws SOURCE_*. */
  openReferrers?(digest: string, artifactType: string, signal: AbortSignal): AsyncIterable<OpenRequest>;
}

export interface RegistryOptions extends FollowOptions {
  /** Read when the registry asks who we are. None: no credentials of this machine are ever sent. */
  account?: (() => RegistryAccount) | undefined;
}

const MANIFESTS = [
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.docker.distribution.manifest.v2+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
].join(", ");
/** Of a list of referrers, which anyone who may push can make longer. */
const MAX_PAGES = 4;
const INDEX = "application/vnd.oci.image.index.v1+json";
const ANYTHING = "application/octet-stream, */*";

/**
 * A registry that speaks the OCI distribution protocol (`oci://host[:port]/repository`), read with the account given, or as
 * anyone may: where it asks for a token, an anonymous one is fetched.
 */
export function openRegistry(source: string, options: RegistryOptions): ImagePlace {
  const [, host = "", repository = ""] = /^oci:\/\/([^/]+)\/(.+)$/.exec(source) ?? [];
  const scheme = isLoopback(host.replace(/:[0-9]+$/, "")) ? "http" : "https";
  const base = new URL(`${scheme}://${host}/v2/${repository}/`);
  let authorization: string | undefined;

  const open = async (path: string, accept: string, signal: AbortSignal): Promise<OpenAnswer> => {
    const url = new URL(path, base);
    const first = await follow(url, { accept, authorization, signal }, options);
    if (first.status !== 401) return await accepted(first);
    await first[Symbol.asyncDispose]();
    // Only the registry may ask who we are, not whoever it sent us to.
    if (first.origin !== base.origin) throw answered(first);
    const challenge = first.headers["www-authenticate"] ?? "";
    const account = options.account?.();
    authorization = await logIn({ challenge, registry: base, account, signal }, options);
    if (authorization === undefined) throw answered(first);
    return await acceptedAs(account, await follow(url, { accept, authorization, signal }, options));
  };
  return {
    openManifest: (reference, signal) => open(`manifests/${reference}`, MANIFESTS, signal),
    openBlob: (digest, signal) => open(`blobs/${digest}`, ANYTHING, signal),
    async *openReferrers(digest, artifactType, signal) {
      let next: string | undefined = `referrers/${digest}?artifactType=${encodeURIComponent(artifactType)}`;
      for (let pages = 0; next !== undefined && pages < MAX_PAGES; pages++) {
        const answer = await open(next, INDEX, signal);
        next = nextPage(answer.headers["link"], new URL(next, base));
        yield answer;
      }
    },
  };
}

/** The page after the one at `at`, as the registry itself names it. */
function nextPage(link: string | undefined, at: URL): string | undefined {
  const [, name] = /<([^<>]*)>\s*;\s*rel="?next"?/i.exec(link ?? "") ?? [];
  const next = name === undefined ? null : URL.parse(name, at);
  return next?.origin === at.origin ? next.href : undefined;
}

/** A folder on a web server that holds an OCI layout, file by file. */
export function openWebLayout(source: string, options: FollowOptions): ImagePlace {
  const open = async (path: string, signal: AbortSignal) =>
    await accepted(await follow(new URL(path, source), { accept: ANYTHING, signal }, options));
  const blob = (digest: string, signal: AbortSignal) => open(`blobs/${digest.replace(":", "/")}`, signal);
  return { openManifest: blob, openBlob: blob, openIndex: (signal) => open("index.json", signal) };
}

/** Opens one file on a web server, such as an archive. Throws SOURCE_*. */
export async function openWebFile(source: string, signal: AbortSignal, options: FollowOptions): Promise<OpenRequest> {
  return await accepted(await follow(new URL(source), { accept: ANYTHING, signal }, options));
}

/** Longest URL that is kept of anybody. */
const MAX_LENGTH = 256;

/**
 * The base URL of an indexer in one form, so that the same one is not followed twice; undefined when it is none. It ends
 * without a slash: paths of the API are put behind it.
 */
export function peerUrl(text: string): string | undefined {
  if (text.length > MAX_LENGTH || !URL.canParse(text)) return undefined;
  const { protocol, username, password, search, hash, origin, pathname } = new URL(text);
  if (protocol !== "http:" && protocol !== "https:") return undefined;
  if (username !== "" || password !== "" || search !== "" || hash !== "") return undefined;
  const url = `${origin}${pathname.replace(/\/+$/, "")}`;
  return url.length > MAX_LENGTH ? undefined : url;
}

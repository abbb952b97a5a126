/** An address as logs and results show it: the path, the query and the name in it may be a password or a key of its owner. */
export function shownUrl(url: string): string {
  if (!URL.canParse(url)) return url;
  const { protocol, host, pathname, search } = new URL(url);
  const origin = `${protocol}//${host}`;
  return pathname.length > 1 || search !== "" ? `${origin}/…` : origin;
}

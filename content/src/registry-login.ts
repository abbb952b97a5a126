import { MarketError } from "@berth/protocol";
import { accepted, type FollowOptions, follow, nextOf, readBody } from "./follow.ts";
import type { OpenAnswer } from "./http.ts";

/** Whom a registry sees: a user with a password, or a token that it takes as it is. */
export type RegistryAccount = { username: string; password: string } | { token: string };

export interface Login {
  /** `WWW-Authenticate` of the registry itself; of no server that it redirected to. */
  challenge: string;
  registry: URL;
  /** None: what everyone gets is asked for. */
  account: RegistryAccount | undefined;
  signal: AbortSignal;
}

const MAX_TOKEN_BYTES = 64 * 1024;
/** As every engine has it: a registry on this machine speaks plain HTTP. */
const LOOPBACK = /^(localhost|127(\.[0-9]{1,3}){3})$/;

/** Does this host speak plain HTTP? */
export function isLoopback(hostname: string): boolean {
  return LOOPBACK.test(hostname);
}

/**
 * What to send as `Authorization` to a registry that answered 401; undefined when there is nothing that it would take. The
 * password goes to the registry, or over TLS to the token service that it names, and nowhere else.
 * Throws SOURCE_*, and what reading the account throws.
 */
export async function logIn(login: Login, options: FollowOptions): Promise<string | undefined> {
  const { challenge, account } = login;
  if (account !== undefined && "token" in account) return `Bearer ${account.token}`;
  const [, bearer] = /(?:^|,)\s*bearer\s+((?:[a-z_]+="[^"]*"[\s,]*)+)/i.exec(challenge) ?? [];
  if (bearer !== undefined) return await fetchToken(bearer, { ...login, account }, options);
  return account !== undefined && /(?:^|,)\s*basic(?:\s|,|$)/i.test(challenge) ? basic(account) : undefined;
}

/** The answer, when it is a 200; else the error says whether it was the account that did not do. Throws SOURCE_ANSWERED. */
export async function acceptedAs(account: RegistryAccount | undefined, answer: OpenAnswer): Promise<OpenAnswer> {
  if (account === undefined || (answer.status !== 401 && answer.status !== 403)) return await accepted(answer);
  await answer[Symbol.asyncDispose]();
  throw new MarketError("SOURCE_ANSWERED", `It does not let this node's account read the image (${answer.status}).`);
}

type Password = Exclude<RegistryAccount, { token: string }>;

async function fetchToken(
  challenge: string,
  { registry, account, signal }: Login & { account: Password | undefined },
  options: FollowOptions,
): Promise<string | undefined> {
  const said = new Map(
    [...challenge.matchAll(/([a-z_]+)="([^"]*)"/gi)].map(([, key = "", value = ""]) => [key.toLowerCase(), value]),
  );
  const realm = said.get("realm");
  if (realm === undefined) return undefined;
  const url = nextOf(realm, registry);
  if (account !== undefined && url.protocol !== "https:" && !isLoopback(url.hostname))
    throw new MarketError("SOURCE_REFUSED", "Its token service asks for the account without TLS.");
  for (const name of ["service", "scope"]) {
    const value = said.get(name);
    if (value !== undefined) url.searchParams.set(name, value);
  }
  const authorization = account === undefined ? undefined : basic(account);
  const asked = { accept: "application/json", authorization, signal };
  await using answer = await acceptedAs(account, await follow(url, asked, options));
  const token = tokenIn(await readBody(answer, MAX_TOKEN_BYTES));
  // Node would refuse a header with other bytes, and say so with the header in the message.
  if (token !== undefined && /^[\x21-\x7e]{1,16384}$/.test(token)) return `Bearer ${token}`;
  throw new MarketError("SOURCE_ANSWERED", "Its token service sent no token.");
}

function basic({ username, password }: Password): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
}

function tokenIn(bytes: Uint8Array): string | undefined {
  try {
    const { token, access_token: other } = JSON.parse(Buffer.from(bytes).toString()) as Record<string, unknown>;
    return [token, other].find((value) => typeof value === "string") as string | undefined;
  } catch {
    return undefined;
  }
}

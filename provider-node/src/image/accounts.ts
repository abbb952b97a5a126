import { readFileSync, statSync } from "node:fs";
import type { RegistryAccount } from "@berth/content";
import { MarketError } from "@berth/protocol";
import type { z } from "zod";
import type { imagesSchema } from "../config/images.ts";
import { type Check, failedBy, passed } from "../core/check.ts";
import { patternOf } from "./pattern.ts";

type Accounts = z.infer<typeof imagesSchema>["registries"];

/** The node's accounts at registries. */
export interface RegistryAccounts {
  /** Reads the account for the repository `oci://…`; undefined where there is none. The reading throws SOURCE_REFUSED. */
  for(source: string): (() => RegistryAccount) | undefined;
}

/** Reads every account once, so that a file that is of no use is known now. Throws CONFIG_UNREADABLE, _EXPOSED, _INVALID. */
export function openAccounts(settings: Accounts): RegistryAccounts {
  const accounts = Object.entries(settings).map(([host, account]) => {
    readAccount(host, account);
    return { host, account, repositories: account.repositories.map(patternOf) };
  });
  return {
    for(source) {
      const [, host = "", repository = ""] = /^oci:\/\/([^/]+)\/(.+)$/.exec(source) ?? [];
      const found = accounts.find((entry) => entry.host === host.toLowerCase());
      if (found === undefined || !found.repositories.some((pattern) => pattern.test(repository))) return undefined;
      return () => {
        try {
          return readAccount(found.host, found.account); // again, for passwords that are renewed every few hours
        } catch (cause) {
          const { message } = cause as Error;
          throw new MarketError("SOURCE_REFUSED", `The account for it cannot be used: ${message}`, { cause });
        }
      };
    },
  };
}

/** One line of `doctor` for each account. */
export function accountChecks(settings: Accounts): Check[] {
  return Object.entries(settings).map(([host, account]) => {
    const name = `account at ${host}`;
    try {
      readAccount(host, account);
      return passed(name, `its files can be read; used for ${account.repositories.join(", ")}`);
    } catch (error) {
      return failedBy(name, error, "starting");
    }
  });
}

function readAccount(host: string, { usernameFile, passwordFile, tokenFile }: Accounts[string]): RegistryAccount {
  if (tokenFile !== undefined) {
    const token = readSecret(host, tokenFile);
    if (/^[\x21-\x7e]+$/.test(token)) return { token };
    throw invalid(host, tokenFile, "no token of printable characters");
  }
  // The schema has both or a token.
  const [username, password] = [readSecret(host, usernameFile ?? ""), readSecret(host, passwordFile ?? "")];
  if (username.includes(":")) throw invalid(host, usernameFile ?? "", "a user name with a colon, which cannot be sent");
  return { username, password };
}

function readSecret(host: string, file: string): string {
  let text: string;
  let mode: number;
  try {
    mode = statSync(file).mode;
    text = readFileSync(file, "utf8").replace(/\r?\n$/, "");
  } catch (cause) {
    throw new MarketError("CONFIG_UNREADABLE", `images.registries: ${file}, for ${host}, cannot be read.`, {
      hint: "Check the path and its permissions.",
      cause,
    });
  }
  if ((mode & 0o077) !== 0) {
    throw new MarketError(
      "CONFIG_EXPOSED",
      `images.registries: others on this machine can open ${file}, for ${host}.`,
      {
        hint: `Run: chmod 600 ${file}. If anyone may have read it, replace what it holds.`,
      },
    );
  }
  if (text === "" || text.includes("\n")) throw invalid(host, file, "not one line of text");
  return text;
}

function invalid(host: string, file: string, what: string): MarketError {
  return new MarketError("CONFIG_INVALID", `images.registries: ${file}, for ${host}, holds ${what}.`, {
    hint: "Write the user name, the password and the token into a file each, with nothing else in it.",
  });
}

import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { type Hex, MarketError } from "@berth/protocol";
import type { LocalAccount } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";

/** The account whose private key is in `file`: 32 bytes as hexadecimal digits. Throws KEY_MISSING, KEY_EXPOSED, KEY_INVALID. */
export function readKey(file: string, what: string): LocalAccount {
  let text: string;
  try {
    text = readFileSync(file, "utf8").trim();
  } catch (cause) {
    throw new MarketError("KEY_MISSING", `The ${what} ${file} cannot be read.`, {
      hint:
        what === "hot key"
          ? "Run `berth-node init` to make one, or restore it."
          : "Check the path and its permissions.",
      cause,
    });
  }
  if ((statSync(file).mode & 0o077) !== 0) {
    throw new MarketError("KEY_EXPOSED", `Others on this machine can open the ${what} ${file}.`, {
      hint: `Run: chmod 600 ${file}. If anyone may have read it, replace the key.`,
    });
  }
  const digits = text.replace(/^0x/, "");
  if (!/^[0-9a-fA-F]{64}$/.test(digits)) {
    throw new MarketError("KEY_INVALID", `${file} does not hold a private key of 64 hexadecimal digits.`);
  }
  return privateKeyToAccount(`0x${digits}` as Hex);
}

/** Makes a key file that its owner alone can read, unless there is one. Returns whether it was made. */
export function createKeyFile(file: string): boolean {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  let fd: number;
  try {
    fd = openSync(file, "wx", 0o600);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
  try {
    writeFileSync(fd, `${generatePrivateKey()}\n`);
    fsyncSync(fd);
  } catch (error) {
    rmSync(file); // on a full disk there is no key in it, or half of one
    throw error;
  } finally {
    closeSync(fd);
  }
  const folder = openSync(dirname(file), "r");
  fsyncSync(folder);
  closeSync(folder);
  return true;
}

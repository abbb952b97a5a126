import { MarketError, ZERO_BYTES32 } from "@berth/protocol";
import { formatUnits, type Hex, hexToString, parseUnits } from "viem";

/** A token as people see it. */
export interface TokenInfo {
  address: `0x${string}`;
  symbol: string;
  decimals: number;
}

/** Token units as a decimal amount with the symbol: "1.25 tUSD". */
export function formatMoney(units: bigint, { decimals, symbol }: TokenInfo): string {
  return `${formatUnits(units, decimals)} ${symbol}`;
}

/** A decimal amount as token units. Throws AMOUNT_INVALID when it is not one, or has more places than the token. */
export function parseMoney(text: string, { decimals, symbol }: TokenInfo): bigint {
  const places = /^\d{1,30}(?:\.(\d+))?$/.exec(text.trim());
  if (places === null || (places[1]?.length ?? 0) > decimals) {
    throw new MarketError("AMOUNT_INVALID", `"${text}" is not an amount of ${symbol}.`, {
      hint: `Write a decimal number with at most ${decimals} places, like 1.5.`,
    });
  }
  return parseUnits(text.trim(), decimals);
}

/** Seconds for people: "0.4 s", "75 s", "1 h 2 min". */
export function formatSeconds(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Unix seconds as a time of day in UTC, as ISO 8601 writes it. */
export function formatTime(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace(".000Z", "Z");
}

/** Bytes for people: "512 B", "1.5 MiB". */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** power;
  return `${power === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[power]}`;
}

/** The text of a GPU model or a region, as orders carry it; empty for none. It is a stranger's. */
export function bytes32ToText(bytes32: Hex): string {
  return bytes32 === ZERO_BYTES32 ? "" : hexToString(bytes32, { size: 32 });
}

/** The first and last digits of a hash or address: enough to recognise it. */
export function short(hex: string): string {
  return hex.length <= 14 ? hex : `${hex.slice(0, 8)}…${hex.slice(-4)}`;
}

/**
 * Text from a stranger, made safe for a terminal: control characters and escape sequences become visible. Line ends and
 * tabs stay.
 */
export function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it takes out
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, (char) =>
    char === "\r" ? "" : `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
}

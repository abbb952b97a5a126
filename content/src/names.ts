/** Longest file name on Linux file systems, in bytes. */
const MAX_NAME_BYTES = 255;

/** May an entry of a folder carry this name, on its way in or out? One name, one entry, on every system. */
export function isSafeName(name: string): boolean {
  if (name === "" || name === "." || name === "..") return false;
  if (/[/\\\0]/.test(name) || !name.isWellFormed() || name.includes("\uFFFD")) return false;
  return Buffer.byteLength(name) <= MAX_NAME_BYTES;
}

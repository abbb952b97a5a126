import { TAR_END, tarHeader, tarPadding } from "@berth/content";
import type { OutputFile, SkippedOutput } from "./collect.ts";

/**
 * Outputs as one tar archive, in their order: `outputs/…`, and before them `skipped.json`, a list of sentences, when
 * something was left out. No times, owners or modes: the same outputs give the same bytes.
 */
export async function* archiveOutputs(
  files: readonly OutputFile[],
  skipped: readonly string[],
): AsyncGenerator<Uint8Array> {
  if (skipped.length > 0) {
    const content = Buffer.from(JSON.stringify(skipped));
    yield tarHeader({ path: "skipped.json", type: "file", mode: 0o644, bytes: content.length });
    yield content;
    yield tarPadding(content.length);
  }
  for (const file of files) {
    yield tarHeader({ path: `outputs/${file.path}`, type: "file", mode: 0o644, bytes: file.bytes });
    yield* file.content();
    yield tarPadding(file.bytes);
  }
  yield TAR_END;
}

/** Names in a list of what was left out at most, and their bytes: the list stands in a document of bounded size. */
const MAX_SKIPPED = 100;
const MAX_SKIPPED_BYTES = 64 * 1024;

/** What was left out and why, as a result tells it: as many sentences as fit. */
export function skippedLines(skipped: readonly SkippedOutput[]): string[] {
  const lines: string[] = [];
  let bytes = 0;
  for (const { path, reason } of skipped.slice(0, MAX_SKIPPED)) {
    const line = `${path}: ${reason}`;
    bytes += Buffer.byteLength(JSON.stringify(line));
    if (bytes > MAX_SKIPPED_BYTES) break;
    lines.push(line);
  }
  return lines;
}

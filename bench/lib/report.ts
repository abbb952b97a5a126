import Table from "cli-table3";

interface Row {
  what: string;
  value: number;
  unit: string;
  /** What it is held against: measured in the same run, or the aim; null where there is neither. */
  reference: number | null;
  /** Of the value to the reference. */
  ratio: number | null;
}

/** What a benchmark measured: printed as a table and, as the last line, as one line of JSON. */
export interface Report {
  row(what: string, unit: string, value: number, reference?: number): void;
  /** @param facts what else the JSON says of the run */
  print(facts?: object): void;
}

export function createReport(bench: string): Report {
  const rows: Row[] = [];
  return {
    row(what, unit, value, reference) {
      const ratio = reference === undefined ? null : Number((value / reference).toPrecision(3));
      rows.push({ what, value, unit, reference: reference ?? null, ratio });
    },
    print(facts = {}) {
      const head = ["what", "value", "unit", "reference", "ratio"];
      const table = new Table({ head, style: { head: [], border: [] } });
      for (const { what, value, unit, reference, ratio } of rows) {
        table.push([what, fixed(value), unit, reference === null ? "" : fixed(reference), ratio?.toFixed(2) ?? ""]);
      }
      console.log(table.toString());
      console.log(JSON.stringify({ bench, ...facts, rows }));
    },
  };
}

/** Milliseconds that `work` takes. */
export async function timed(work: () => unknown): Promise<number> {
  const startedAt = performance.now();
  await work();
  return performance.now() - startedAt;
}

export function median(values: readonly number[]): number {
  return percentile(values, 0.5);
}

/** The value below which this share of all is; the last one at most. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

function fixed(value: number): string {
  return value.toFixed(value < 10 ? 2 : 0);
}

import { join } from "node:path";
import Table from "cli-table3";
import { formatUnits } from "viem";
import type { RunReport } from "../../client/src/actions/run-job.ts";
import type { Devnet } from "./devnet.ts";
import type { MeshPing } from "./mesh-check.ts";

/** The demo's end: the same facts as text and as JSON. */
export function demoReport(facts: { devnet: Devnet; run: RunReport; mesh: MeshPing[]; out: string; seconds: number }) {
  const { devnet, run, mesh, out, seconds } = facts;
  const picture = join(out, "mandelbrot.png");
  return {
    json: { id: devnet.id, seconds: Number(seconds.toFixed(1)), mesh, ...run, picture },
    text: text(devnet, run, mesh, { picture, seconds }),
  };
}

function text(devnet: Devnet, run: RunReport, mesh: MeshPing[], at: { picture: string; seconds: number }): string {
  const [token] = devnet.deployment.tokens;
  const money = (units: string) => `${formatUnits(BigInt(units), token?.decimals ?? 0)} ${token?.symbol ?? ""}`;
  const [replica] = run.replicas;
  const node = devnet.nodes.find(({ operator }) => operator.address.toLowerCase() === replica?.operator.toLowerCase());
  const facts = table([
    ["job", run.jobId],
    ["node", `${node ? `node ${node.number}, ` : ""}operator ${replica?.operator}`],
    ["outcome", `${replica?.outcome}, exit code ${replica?.exitCode}, ${replica?.state}`],
    ["output", replica?.outputsCid ?? "none"],
    ["charge", money(replica?.charge ?? "0")],
    ["mesh", mesh.map((ping) => `${ping.from} → ${ping.to} ${ping.milliseconds} ms`).join(", ") || "off"],
  ]);
  const transactions = table(
    run.transactions.map(({ what, hash, gasUsed }) => [what, hash, gasUsed]),
    ["transaction", "hash", "gas"],
  );
  const phases = table(
    run.phases.map(({ name, seconds }) => [name, seconds.toFixed(2)]),
    ["phase", "seconds"],
  );
  const checks = table(
    run.verification.checks.map(({ name, ok, detail }) => [ok ? "✔" : "✖", name, detail]),
    ["", "verified by the requester", "what was compared"],
    [3, 34, 80],
  );
  const end = `The picture lies in ${at.picture}\nAll of it took ${at.seconds.toFixed(1)} s.`;
  return [facts, transactions, phases, checks, end].join("\n");
}

function table(rows: string[][], head: string[] = [], colWidths?: number[]): string {
  const made = new Table({
    head,
    style: { head: [], border: [] },
    wordWrap: true,
    ...(colWidths ? { colWidths } : {}),
  });
  made.push(...rows);
  return made.toString();
}

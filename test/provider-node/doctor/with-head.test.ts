import type { Rpc } from "@berth/chain";
import { MarketError } from "@berth/protocol";
import { expect } from "chai";
import { type MachineDiagnosis, withHead } from "../../../provider-node/src/jobs/doctor.ts";
import { quiet } from "../../support/engine.ts";

const proven = { containers: true, mesh: false, gvisor: false, gpus: [], attestation: "none" } as const;
const machine: MachineDiagnosis = { checks: [], proven: { ...proven, gpus: [] } };

describe("withHead", () => {
  const now = () => Math.floor(Date.now() / 1000);
  /** An RPC of a public chain. */
  function rpc(timestamp: number, syncing: unknown): Rpc {
    const hash = `0x${"1".repeat(64)}`;
    const head = { number: "0x10", hash, parentHash: hash, timestamp: `0x${timestamp.toString(16)}` };
    const answers: Record<string, unknown> = {
      eth_getBlockByNumber: { ...head, logsBloom: `0x${"0".repeat(512)}` },
      eth_syncing: syncing,
    };
    const request = async (method: string) => {
      if (answers[method] instanceof Error) throw answers[method];
      return answers[method];
    };
    return { chainId: 1, request } as unknown as Rpc;
  }
  const seen = async (timestamp: number, syncing: unknown) => {
    const { checks, proven } = await withHead(machine, rpc(timestamp, syncing), quiet);
    return [proven.isPresent, ...checks.map(({ name, status }) => `${name} ${status}`)];
  };

  it("takes a node that sees old blocks, or an RPC that catches up, for one that may not offer", async () => {
    expect(await seen(now(), false)).to.deep.equal([true, "clock ok", "rpc ok"]);
    expect(await seen(now() - 600, false)).to.deep.equal([false, "clock fail", "rpc ok"]);
    expect(await seen(now() + 600, false)).to.deep.equal([false, "clock fail", "rpc ok"]);
    expect(await seen(now(), true)).to.deep.equal([false, "clock ok", "rpc fail"]);
  });

  it("holds nothing against a node whose RPC does not know the call, or does not answer now", async () => {
    expect(await seen(now(), new Error("the method eth_syncing does not exist"))).to.deep.equal([
      ...[true, "clock ok", "rpc ok"],
    ]);
    expect(await seen(now(), new MarketError("RPC_UNAVAILABLE", "No RPC answers."))).to.deep.equal([true]);
  });
});

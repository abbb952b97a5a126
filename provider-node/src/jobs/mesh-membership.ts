import { join } from "node:path";
import type { Hex, MarketError } from "@berth/protocol";
import type { createMutex } from "../attest/mutex.ts";
import type { ChainAccess } from "../chain/connect.ts";
import { readRegistration } from "../chain/registration.ts";
import { type Config, wgKeyFileOf } from "../config.ts";
import type { Self } from "../core/ports.ts";
import type { Context } from "../log.ts";
import { interfaceName } from "../mesh/interface-name.ts";
import { type Mesh, startMesh } from "../mesh/mesh.ts";
import type { ChainStore } from "../store/chain-store.ts";

export interface MembershipOptions {
  config: Config;
  access: ChainAccess;
  self: Self;
  chain: ChainStore;
  exclusive: ReturnType<typeof createMutex>;
}

/** This node's place in the mesh. */
export interface MeshMembership {
  /** Joins if this machine has proven that it can, at once or as soon as the node is in the registry. */
  begin(isProven: boolean): Promise<void>;
  /** There is news from the chain: joins, or makes the peers those of the registry. Failures go to the log. */
  update(): Promise<void>;
  /** Null while it is no member. */
  address(): string | null;
  leave(): Promise<void>;
}

export function createMembership(options: MembershipOptions, own: Context): MeshMembership {
  const { config, chain, exclusive } = options;
  const { signal, log } = own;
  let canJoin = false;
  let mesh: Mesh | undefined;
  let applied = "";
  /** What the chain said when they were last applied. */
  let known: unknown;

  const apply = async () => {
    if (!canJoin || signal.aborted) return;
    mesh ??= await joinMesh(options, own);
    if (mesh === undefined) return;
    const published = chain.nodes();
    if (published === known) return;
    const nodes = meshNodes(published);
    if (JSON.stringify(nodes, bigintText) !== applied) await mesh.applyNodes(nodes);
    applied = JSON.stringify(nodes, bigintText);
    known = published;
  };
  const update = () =>
    exclusive(apply).catch((error: unknown) => {
      if (signal.aborted) return;
      const { code, message, hint } = error as MarketError;
      canJoin = mesh !== undefined;
      log.error({ code, reason: message, hint }, "mesh is not up to date; everything else works");
    });

  return {
    async begin(isProven) {
      canJoin = config.mesh.enabled && isProven;
      await update();
    },
    update,
    address: () => mesh?.address ?? null,
    leave: async () => await mesh?.stop(),
  };
}

/** Undefined until this node's own key is in the registry: its mesh prefix comes from there. */
async function joinMesh(
  { config, access: { rpc, deployment }, self }: MembershipOptions,
  { signal, log }: Context,
): Promise<Mesh | undefined> {
  const { key, prefix } = await readRegistration(rpc, deployment, self);
  if (key !== self.account.address.toLowerCase()) return undefined;
  return await startMesh({
    interfaceName: config.mesh.interfaceName ?? interfaceName(config.runId, config.index),
    keyFile: wgKeyFileOf(config),
    listenPort: config.mesh.listenPort,
    prefix56: prefix,
    stateDir: join(config.dataDir, "mesh"),
    allowPrivateEndpoints: config.mesh.allowPrivateEndpoints,
    signal,
    log,
  });
}

function meshNodes(published: ReturnType<ChainStore["nodes"]>) {
  return published.map(({ operator, index, wgKey, prefix, wgEndpoint, validTo }) => ({
    nodeId: `${operator}/${index}`,
    wgKey: wgKey as Hex,
    prefix56: BigInt(prefix),
    endpoint: wgEndpoint,
    validTo,
    revoked: false,
  }));
}

function bigintText(_: string, value: unknown): unknown {
  return typeof value === "bigint" ? String(value) : value;
}

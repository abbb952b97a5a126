import type { Deployment } from "@berth/protocol";
import { z } from "zod";
import { openCountOf } from "../open-count.ts";
import { type ApiContext, route } from "../route.ts";
import * as shape from "../schemas.ts";

export const getHealth = route({
  method: "get",
  path: "/health",
  summary: "The process is alive.",
  answer: z.strictObject({ alive: z.boolean() }),
  handle: () => ({ alive: true }),
});

export const getReady = route({
  method: "get",
  path: "/ready",
  summary: "200 when the tables are as new as the chain, else 503.",
  answer: z.strictObject({
    ready: z.boolean(),
    role: shape.role,
    state: z.string(),
    lagBlocks: z.int().nullable(),
  }),
  statusOf: (answer) => ((answer as { ready: boolean }).ready ? 200 : 503),
  handle(_, { caughtUp, follower, role }) {
    const { state, lagBlocks } = follower.status();
    return { ready: caughtUp(), role: role(), state, lagBlocks };
  },
});

export const getStatus = route({
  method: "get",
  path: "/status",
  summary: "How far this indexer is, what it holds, and its last trouble.",
  answer: shape.statusItem,
  handle(_, context: ApiContext) {
    const { deployment, follower, role, live, matcher } = context;
    const { state, head, cursor, lagBlocks, lastError } = follower.status();
    const trouble = lastError ?? matcher?.status().lastError ?? null;
    return {
      chainId: deployment.chainId,
      market: deployment.market,
      role: role(),
      state,
      head,
      indexed: cursor?.number ?? null,
      lagBlocks,
      offers: live.book.size,
      requests: openCountOf(context),
      paused: live.book.paused,
      matcher: matcher?.address.toLowerCase() ?? null,
      lastError: trouble,
    };
  },
});

export const getDeployment = route({
  method: "get",
  path: "/deployment",
  summary: "The contracts that this indexer follows: the record that every program is pointed at.",
  answer: z.strictObject({
    chainId: z.int(),
    fromBlock: z.int(),
    identity: shape.address,
    staking: shape.address,
    market: shape.address,
    tokens: z.array(z.strictObject({ address: shape.address, symbol: z.string(), decimals: z.int() })),
  } satisfies Record<keyof Deployment, z.ZodType>),
  handle: (_, { deployment }) => deployment,
});

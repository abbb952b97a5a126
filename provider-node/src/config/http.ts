import { z } from "zod";
import { url } from "./fields.ts";

const port = z.int().min(0).max(65_535);

/** Where the node is reached. */
export const httpSchema = z.strictObject({
  host: z.string().min(1).default("127.0.0.1"),
  port: port.default(4080),
  /** How others reach this server. Absent: `http://host:port`. */
  publicUrl: url.optional(),
  /** How many connections an address of the network may have at a time. More for a proxy on another machine. */
  connectionsPerAddress: z.int().min(1).max(512).default(64),
  /** `/metrics` for Prometheus has a port of its own, for what it tells is the operator's. Absent: it is not served. */
  metricsPort: port.optional(),
  metricsHost: z.string().min(1).default("127.0.0.1"),
});

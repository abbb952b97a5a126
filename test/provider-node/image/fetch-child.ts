import pino from "pino";
import { configSchema } from "../../../provider-node/src/config.ts";
import { openImages } from "../../../provider-node/src/image/images.ts";

/** Brings in an image as a node would, in a process of its own that a test can kill: DIR TARGET DIGEST SOURCE. */
const [dir = "", target = "", digest = "", source = ""] = process.argv.slice(2);
const images = openImages({
  dir,
  settings: configSchema.shape.images.parse({}),
  allowPrivate: true,
  minFreeBytes: 0,
  peersFor: () => [],
  now: () => 0,
});
const fromIpfs = async () => 0;
const use = async () => {};
const context = { signal: new AbortController().signal, log: pino({ level: "silent" }) };
await images.bring({ digest, sources: [source] }, { target, maxBytes: 2 ** 30, fromIpfs, use }, context);

import { readFileSync } from "node:fs";
import pino from "pino";
import { configSchema } from "../../../provider-node/src/config.ts";
import { openImages } from "../../../provider-node/src/image/images.ts";
import { type RegistryMood, startRegistry } from "../../support/registry.ts";

/**
 * For a network namespace of its own, where ADDRESS is a public address of this machine: brings in an image from a TLS
 * registry there, and then one whose blobs are redirected to plain HTTP. Prints what became of it, and the node's log:
 * DIR TARGET LAYOUT DIGEST ADDRESS KEY CERTIFICATE.
 */
const [dir = "", target = "", layout = "", digest = "", address = "", keyFile = "", certFile = ""] =
  process.argv.slice(2);
const tls = { key: readFileSync(keyFile), cert: readFileSync(certFile) };
const context = { signal: new AbortController().signal, log: pino(pino.destination({ fd: 1, sync: true })) };

async function bring(name: string, mood: RegistryMood): Promise<number> {
  const registry = await startRegistry(mood, { address, tls });
  registry.push(layout);
  const images = openImages({
    dir: `${dir}-${name}`,
    settings: configSchema.shape.images.parse({}),
    allowPrivate: false,
    minFreeBytes: 0,
    peersFor: () => [],
    now: () => 0,
  });
  const options = { target, maxBytes: 2 ** 30, fromIpfs: async () => 0, use: async () => {} };
  return await images.bring({ digest, sources: [registry.source] }, options, context);
}

await bring("tls", { asksForToken: true }).then(
  (bytes) => console.log(`brought ${bytes} bytes`),
  ({ code }) => console.log(code),
);
const plain = await startRegistry({}, { address });
plain.push(layout);
await bring("plain", { redirectBlob: (blob) => `${plain.url}/v2/team/app/blobs/${blob}` }).catch(({ code }) =>
  console.log(`plain HTTP refused: ${code}`),
);
process.exit();

import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import pino from "pino";
import { configSchema } from "../../../provider-node/src/config.ts";
import { openImages } from "../../../provider-node/src/image/images.ts";

/**
 * For a network namespace of its own, where `PUBLIC` is an address of this machine: brings in an image from a web server there
 * that redirects to a server on loopback. Prints what either was asked, and the node's log: DIR TARGET DIGEST PUBLIC.
 */
const [dir = "", target = "", digest = "", publicAddress = ""] = process.argv.slice(2);
const serve = async (address: string, listener: RequestListener) => {
  const server = createServer(listener).listen(0, address);
  await once(server, "listening");
  return `http://${address}:${(server.address() as AddressInfo).port}`;
};
const inner = await serve("127.0.0.1", (_, response) => {
  console.log("loopback was asked");
  response.end("secret");
});
const outer = await serve(publicAddress, ({ url = "" }, response) => {
  console.log("public was asked");
  response.writeHead(302, { Location: `${inner}${url}` }).end();
});
const images = openImages({
  dir,
  settings: configSchema.shape.images.parse({}),
  allowPrivate: false,
  minFreeBytes: 0,
  peersFor: () => [],
  now: () => 0,
});
const context = { signal: new AbortController().signal, log: pino(pino.destination({ fd: 1, sync: true })) };
const options = { target, maxBytes: 2 ** 30, fromIpfs: async () => 0, use: async () => {} };
await images.bring({ digest, sources: [`${outer}/app/`] }, options, context).catch(({ code }) => console.log(code));
process.exit();

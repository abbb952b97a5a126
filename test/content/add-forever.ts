/** Adds file after file to the store at argv[2], saying each CID once it is stored. Meant to be killed. */
import { randomBytes } from "node:crypto";
import { openEmbeddedStore } from "@berth/content";

const dir = process.argv[2];
if (dir === undefined) throw new Error("usage: add-forever.ts DIR");
const store = await openEmbeddedStore({ dir });
for (;;) {
  const { cid } = await store.addBytes(randomBytes(2_500_000));
  await store.pin(cid, 4_000_000_000);
  console.log(cid);
}

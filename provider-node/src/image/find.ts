import type { PodmanStore } from "../engine/podman-store.ts";
import type { Context } from "../engine/types.ts";
import { imageName } from "./name.ts";

/** The id of an image in the store, whose digest podman confirms; undefined when it is not there. */
export async function findImage(
  digest: string,
  store: PodmanStore,
  { signal }: Pick<Context, "signal">,
): Promise<string | undefined> {
  const known = store.imageIds.get(digest);
  if (known !== undefined) return known;
  const args = ["image", "inspect", "--format={{.Digest}} {{.Id}}", imageName(digest)];
  const { exitCode, stdout } = await store.run(args, { signal });
  const [found, id] = stdout.trim().split(" ");
  if (exitCode !== 0 || found !== digest || !id) return undefined;
  store.imageIds.set(digest, id);
  return id;
}

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
  const id = await askForImage(digest, store, { signal });
  if (id !== undefined) store.imageIds.set(digest, id);
  return id;
}

/** As `findImage`, but podman is asked in any case, and what it says is not kept. */
export async function askForImage(
  digest: string,
  store: PodmanStore,
  { signal }: Pick<Context, "signal">,
): Promise<string | undefined> {
  // Two manifests may name one config. That is one image to podman, which has the digests of both.
  const format = "--format={{.Id}}{{range .RepoDigests}} {{.}}{{end}}";
  const { exitCode, stdout } = await store.run(["image", "inspect", format, imageName(digest)], { signal });
  const [id, ...digests] = stdout.trim().split(" ");
  return exitCode === 0 && digests.some((name) => name.endsWith(`@${digest}`)) ? id : undefined;
}

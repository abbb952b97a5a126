/** The name under which an image is kept in the node's own store. Never used to run: that is done by id. */
export function imageName(digest: string): string {
  return `localhost/${digest.replace(":", "-")}`;
}

/** Text in which `*` is any text and everything else is itself. */
export function patternOf(match: string): RegExp {
  const plain = match.split("*").map((part) => part.replace(/[\\^$.|?+()[\]{}/-]/g, "\\$&"));
  return new RegExp(`^${plain.join("[^]*")}$`);
}

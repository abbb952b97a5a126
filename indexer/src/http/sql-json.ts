// JSON that the database writes: a page costs this program one piece of text per row instead of a value per column.
// Every function takes SQL and gives SQL of text that is one JSON value, never null.

/** An object with these members, in this order. */
export function object(members: Record<string, string>): string {
  const parts = Object.entries(members).map(
    ([name, value], i) => `'${i === 0 ? "{" : ","}${JSON.stringify(name)}:', ${value}`,
  );
  return `concat(${parts.join(", ")}, '}')`;
}

/** Bytes, as hexadecimal text. */
export function hex(expression: string): string {
  return orNull(`'"0x' || encode(${expression}, 'hex') || '"'`);
}

/** A number that JSON can have, or a boolean. */
export function number(expression: string): string {
  return orNull(`(${expression})::text`);
}

/** A number of any size, as decimal text. */
export function amount(expression: string): string {
  return orNull(`'"' || (${expression})::text || '"'`);
}

/** Text that this program chose among words of its own: nothing in it has to be escaped. */
export function word(expression: string): string {
  return orNull(`'"' || (${expression}) || '"'`);
}

/** Text that somebody else wrote. */
export function text(expression: string): string {
  return orNull(`to_json(${expression})::text`);
}

/** What is stored as JSON. */
export function json(expression: string, otherwise = "null"): string {
  return orNull(`(${expression})::text`, otherwise);
}

/** `list`: text of values with commas between them; null for none. */
export function array(list: string): string {
  return `concat('[', ${list}, ']')`;
}

function orNull(value: string, otherwise = "null"): string {
  return `coalesce(${value}, '${otherwise}')`;
}

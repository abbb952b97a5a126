/** A source with one line broken. */
export interface Mutant {
  file: string;
  /** The function that the line stands in, or the last one before it. */
  within: string;
  /** Counted from 1. */
  line: number;
  was: string;
  is: string;
  source: string;
}

/** A movement, a state, a check or an event forgotten: the line goes. */
const forgotten: RegExp[] = [
  /^\s*_(credit|debit|vacate|unlockBond|lockBond|slash\w*|pay|refund|owe|occupy|gather|share|touch)\(.*\);$/,
  /^\s*((Fit\.)?_?require\w+|_refuse\w+)\(.*\);$/,
  /^\s*(replica|lease|record|node|reveals|use|known|s|e)\.\w+ [+-]?= .*;$/,
  /^\s*_?\w+(\[[^=]*\])(\.\w+)? [+-]?= .*;$/,
  /^\s*if \(.*\) (revert [\w.]+\(.*\)|return.*|_\w+\(.*\)|continue);$/,
  /^\s*\w+\.(take|give)\(.*\);$/,
  /^\s*(delete|emit) .*;$/,
  /^\s*words := or\(.*\)$/,
];

/** A bound off by one, a sign or a choice turned: each place in a line where it is found. */
const turned: [of: RegExp, to: string][] = [
  [/ > /, " >= "],
  [/ < /, " <= "],
  [/ >= /, " > "],
  [/ <= /, " < "],
  [/ == /, " != "],
  [/ != /, " == "],
  [/ && /, " || "],
  [/ \|\| /, " && "],
  [/ \+ /, " - "],
  [/ - /, " + "],
  [/ \* /, " / "],
  [/ \+= /, " -= "],
  [/ -= /, " += "],
  [/(?<=[ (])!(?=\w)/, ""],
  [/(?<= \? )(?<yes>[\w.]+) : (?<no>[\w.]+)(?=[;)])/, "$<no> : $<yes>"],
];

/** Every mutant of a source. */
export function mutantsOf(file: string, source: string): Mutant[] {
  const lines = source.split("\n");
  let within = "";
  return lines.flatMap((was, at) => {
    within = /^\s*(?:function|modifier) (\w+)/.exec(was)?.[1] ?? within;
    if (/^\s*(\/\/|\*|import|pragma|using|event|error|contract|abstract|library|mapping|for )/.test(was)) return [];
    const code = was.replace(/\s*\/\/.*$/, "");
    return broken(code).map((is) => ({ file, within, line: at + 1, was, is, source: lines.with(at, is).join("\n") }));
  });
}

function broken(code: string): string[] {
  const less = forgotten.some((line) => line.test(code)) ? [""] : [];
  return turned.reduce((ways, [of, to]) => ways.concat(...turnEach(code, of, to)), less);
}

function turnEach(code: string, of: RegExp, to: string): string[] {
  return [...code.matchAll(new RegExp(of, "g"))].map(({ index }) => {
    const here = new RegExp(`(?<=^.{${index}})(?:${of.source})`);
    return code.replace(here, to);
  });
}

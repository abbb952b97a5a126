/** A source with one line broken. */
export interface Mutant {
  file: string;
  /** Counted from 1. */
  line: number;
  was: string;
  is: string;
  source: string;
}

interface Rule {
  /** Lines that it breaks. */
  on: RegExp;
  to: string | ((line: string) => string);
}

/** The mistakes that cost money: a movement or a state forgotten, a check forgotten, a bound off by one, a sign turned. */
const rules: Rule[] = [
  {
    on: /^\s*(_credit|_debit|_vacate|_unlockBond|_slash|_slashForSilence|_slashFault|_pay|_refund|_owe)\(.*\);$/,
    to: "",
  },
  { on: /^\s*(_require\w+|Fit\.require\w+)\(.*\);$/, to: "" },
  { on: /^\s*(replica|lease)\.\w+ = .*;$/, to: "" },
  { on: /^\s*_\w+\[.*\](\.\w+)? (=|\+=|-=) .*;$/, to: "" },
  { on: /^\s*if \(.*\) (revert \w+\(.*\);|_\w+\(.*\);)$/, to: "" },
  { on: /^\s*(token|IERC20\(\w+\))\.(take|give)\(.*\);$/, to: "" },
  { on: / > (?!=)/, to: (line) => line.replace(/ > (?!=)/, " >= ") },
  { on: / < (?!=)/, to: (line) => line.replace(/ < (?!=)/, " <= ") },
  { on: / >= /, to: (line) => line.replace(" >= ", " > ") },
  { on: / <= /, to: (line) => line.replace(" <= ", " < ") },
  { on: / == /, to: (line) => line.replace(" == ", " != ") },
  { on: / && /, to: (line) => line.replace(" && ", " || ") },
  { on: / \+ /, to: (line) => line.replace(" + ", " - ") },
  { on: / - /, to: (line) => line.replace(" - ", " + ") },
  { on: / \+= /, to: (line) => line.replace(" += ", " -= ") },
];

/** Every mutant of a source, one for each rule and line that it applies to. */
export function mutantsOf(file: string, source: string): Mutant[] {
  const lines = source.split("\n");
  return lines.flatMap((was, at) => {
    if (/^\s*(\/\/|\*|import|event|error|contract|abstract|library|for )/.test(was)) return [];
    const code = was.replace(/\s*\/\/.*$/, "");
    return rules
      .filter(({ on }) => on.test(code))
      .map(({ to }) => (typeof to === "string" ? to : to(code)))
      .map((is) => ({ file, line: at + 1, was, is, source: lines.toSpliced(at, 1, is).join("\n") }));
  });
}

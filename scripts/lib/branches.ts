import { createRequire } from "node:module";

/** A line of its own in the body of every `if` and of its `else`: it ran, or that way was never taken. */
const MARK = "0;";

interface Node {
  nodeType: string;
  /** First byte, length and file. */
  src: string;
  body?: Node;
  trueBody?: Node;
  falseBody?: Node;
}

interface Insertion {
  at: number;
  text: string;
}

/** What of a source ran, by the lines that it has without the marks. */
export interface LinesRun {
  lines: Map<number, boolean>;
  branches: { line: number; ran: boolean }[];
}

/** The source with every `if` made to have two bodies with a mark in each. It does what it did. */
export function markBranches(source: string): string {
  const bytes = Buffer.from(source);
  const insertions: Insertion[] = [];
  let from = 0;
  let marked = "";
  visit(parse(source));
  for (const { at, text } of insertions.toSorted((a, b) => a.at - b.at)) {
    marked += bytes.toString("utf8", from, at) + text;
    from = at;
  }
  return marked + bytes.toString("utf8", from);

  /** Inner ones first: where two end at once, the inner one is closed first. */
  function visit(node: Node): void {
    for (const child of childrenOf(node)) visit(child);
    if (node.nodeType !== "IfStatement" || node.trueBody === undefined) return;
    const open = `{\n${MARK}\n`;
    insertions.push({ at: startOf(node.trueBody), text: open });
    if (!node.falseBody) {
      insertions.push({ at: endOf(node.trueBody, bytes), text: ` } else ${open}}` });
      return;
    }
    insertions.push({ at: endOf(node.trueBody, bytes), text: " }" });
    insertions.push({ at: startOf(node.falseBody), text: open });
    insertions.push({ at: endOf(node.falseBody, bytes), text: " }" });
  }
}

/** Takes apart which lines of a source with marks have run. */
export function withoutMarks(marked: string, ran: ReadonlyMap<number, boolean>): LinesRun {
  const run: LinesRun = { lines: new Map(), branches: [] };
  // A mark breaks a line in two and stands between the halves.
  let added = 0;
  for (const [at, text] of marked.split("\n").entries()) {
    const hit = ran.get(at + 1);
    if (text === MARK) {
      run.branches.push({ line: at - added, ran: hit === true });
      added += 2;
    } else if (hit !== undefined) {
      const line = at + 1 - added;
      run.lines.set(line, hit && run.lines.get(line) !== false);
    }
  }
  return run;
}

function parse(source: string): Node {
  const solc = createRequire(import.meta.url)("solc") as { compile(input: string): string };
  const input = {
    language: "Solidity",
    sources: { "Source.sol": { content: source } },
    settings: { stopAfter: "parsing", outputSelection: { "*": { "": ["ast"] } } },
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input))) as {
    errors?: { formattedMessage: string }[];
    sources: Record<string, { ast: Node } | undefined>;
  };
  const ast = output.sources["Source.sol"]?.ast;
  if (ast === undefined) throw new Error(output.errors?.map(({ formattedMessage }) => formattedMessage).join("\n"));
  return ast;
}

function childrenOf(node: Node): Node[] {
  return Object.values(node)
    .flat()
    .filter((value): value is Node => typeof value === "object" && value !== null && "nodeType" in value);
}

function startOf({ src }: Node): number {
  return Number(src.split(":")[0]);
}

/** The end of a statement, with its semicolon, which the compiler mostly leaves out. */
function endOf(node: Node, source: Buffer): number {
  if (node.nodeType === "IfStatement") return endOf(node.falseBody ?? (node.trueBody as Node), source);
  if (node.nodeType === "ForStatement" || node.nodeType === "WhileStatement") return endOf(node.body as Node, source);
  const end = startOf(node) + Number(node.src.split(":")[1]);
  if (["Block", "UncheckedBlock", "TryStatement", "InlineAssembly"].includes(node.nodeType)) return end;
  return source.indexOf(";", end - 1) + 1;
}

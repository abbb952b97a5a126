/** The parts of an OpenAPI document that people read. */
interface Document {
  info: { title: string; description?: string };
  paths: Record<string, Record<string, Operation>>;
  components?: { schemas?: Record<string, unknown> };
}
interface Operation {
  summary?: string;
  parameters?: { name: string; in: string; required?: boolean; schema: Record<string, unknown> }[];
  requestBody?: unknown;
  responses: Record<string, { description: string }>;
}

const STYLE = `body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1b1b;background:#fff}
h2{font-size:1rem;margin:0;display:inline}code,pre{font:14px ui-monospace,monospace}pre{overflow:auto;background:#f4f4f4;padding:1rem}
details{border:1px solid #ccc;border-radius:6px;margin:.5rem 0;padding:.5rem 1rem}table{border-collapse:collapse;width:100%}
td,th{text-align:left;vertical-align:top;padding:.25rem .75rem .25rem 0;border-bottom:1px solid #eee}
@media (prefers-color-scheme:dark){body{color:#eee;background:#161616}pre{background:#222}a{color:#8ab4ff}details{border-color:#444}td,th{border-color:#333}}`;

/** The document as one page of HTML: no script, nothing from elsewhere. */
export function docsPage(document: object): string {
  const { info, paths, components } = document as Document;
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => operationHtml(method, path, operation)),
  );
  const schemas = Object.entries(components?.schemas ?? {}).map(
    ([name, schema]) => `<details id="${escaped(name)}"><summary>${escaped(name)}</summary>${json(schema)}</details>`,
  );
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${escaped(info.title)}</title><style>${STYLE}</style></head><body><h1>${escaped(info.title)}</h1>
<p>${escaped(info.description ?? "")}</p><p>The same for programs: <a href="openapi.json">openapi.json</a>.</p>
${operations.join("\n")}<h1>Shapes</h1>${schemas.join("\n")}</body></html>`;
}

function operationHtml(method: string, path: string, operation: Operation): string {
  const { summary = "", parameters = [], requestBody, responses } = operation;
  const rows = parameters.map(({ name, in: place, required, schema }) => {
    const { description = "", ...rest } = schema;
    const what = `${escaped(String(description))} <code>${escaped(JSON.stringify(rest))}</code>`;
    return `<tr><td><code>${escaped(name)}</code></td><td>${place}${required ? ", required" : ""}</td><td>${what}</td></tr>`;
  });
  const table = rows.length === 0 ? "" : `<table>${rows.join("")}</table>`;
  const body = requestBody === undefined ? "" : `<h3>Body</h3>${json(requestBody)}`;
  const asks = method === "get" && !path.includes("{") ? `<p><a href="${path.slice(1)}">Ask</a></p>` : "";
  const answers = Object.entries(responses).map(
    ([status, response]) =>
      `<details><summary>${status}: ${escaped(response.description)}</summary>${json(response)}</details>`,
  );
  return `<details><summary><h2><code>${method.toUpperCase()} ${escaped(path)}</code></h2> ${escaped(summary)}</summary>
${asks}${table}${body}<h3>Answers</h3>${answers.join("")}</details>`;
}

function json(value: unknown): string {
  const linked = escaped(JSON.stringify(value, null, 2)).replace(
    /#\/components\/schemas\/(\w+)/g,
    (_, name: string) => `<a href="#${name}">${name}</a>`,
  );
  return `<pre>${linked}</pre>`;
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}

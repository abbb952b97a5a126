import { jobIdOf, jobMarketAbi, orderToJson } from "@berth/protocol";
import { expect } from "chai";
import fc from "fast-check";
import { routes } from "../../../indexer/src/http/routes/index.ts";
import { problem } from "../../../indexer/src/http/schemas.ts";
import { startMarket, type TestMarket } from "../support/market.ts";
import { type RunningIndexer, runIndexer } from "../support/running-indexer.ts";

// Everything here is read from the document that the indexer serves: a new operation or parameter is tested at once.

interface Schema {
  type?: string;
  enum?: string[];
  pattern?: string;
  minimum?: number;
  maximum?: number;
  maxLength?: number;
  anyOf?: Schema[];
  description?: string;
}
interface Parameter {
  in: "path" | "query" | "header";
  name: string;
  schema: Schema;
}
interface Operation {
  method: "get" | "post";
  path: string;
  parameters: Parameter[];
  statuses: number[];
}

const SEED = Number(process.env["BERTH_TEST_SEED"] ?? Date.now() % 2 ** 31);
const FUZZ_RUNS = 400;
const HOSTILE = [
  "",
  " ",
  "%00",
  "%E0%A4%A",
  "%F0%9F%92%A9",
  "'; DROP TABLE jobs; --",
  "1 OR 1=1",
  "../../etc/passwd",
  "__proto__",
  "NaN",
  "1e309",
  "-1",
  "0x",
  "9".repeat(400),
  "x".repeat(4_000),
  '{"$gt":""}',
  Buffer.from('[["\\u0000",1],null]').toString("base64url"),
  Buffer.from('[[9007199254740991,9007199254740991],[9007199254740991,"0x00"]]').toString("base64url"),
  Buffer.from(`[[1,1],[9007199254740991,"0x${"1".repeat(64)}"]]`).toString("base64url"),
  Buffer.from(`[[1,1],[9007199254740991,"0x${"1".repeat(64)}","0a"]]`).toString("base64url"),
  Buffer.from(`[["0x${"1".repeat(40)}",9007199254740991],[0,"0x${"1".repeat(64)}","${"f".repeat(32)}"]]`).toString(
    "base64url",
  ),
  Buffer.from(`[[-9007199254740991],null]`).toString("base64url"),
];

describe(`every operation of the OpenAPI document (seed ${SEED})`, () => {
  let market: TestMarket;
  let indexer: RunningIndexer;
  let operations: Operation[];
  let orders: Record<string, object>;
  /** Real names, so that valid questions have answers. */
  let known: string[];
  before(async () => {
    market = await startMarket();
    const many = { burst: 1e6, perSecond: 1e6 };
    const limits = { orders: many, questions: many, streams: { total: 1_000, perAddress: 1_000 } };
    indexer = await runIndexer(market, { limits });
    const node = await market.node("ada");
    const requester = await market.account("rex");
    await market.deposit(requester.address, 100_000n);
    const [signed, waiting] = [await market.request(requester), await market.request(requester)];
    const offer = await market.offer(node);
    await indexer.caughtUp();
    await indexer.postRequest(waiting);
    await market.match(signed, [offer]);
    const { request: dropped } = await market.request(requester);
    await market.send(requester.address, market.deployment.market, jobMarketAbi, "cancel", [dropped]);
    await indexer.caughtUp();
    expect((await indexer.postOffer(offer)).status).to.equal(202);
    orders = {
      "/offers": { offer: orderToJson(offer.offer), signature: offer.signature },
      "/requests": { request: orderToJson(waiting.request), signature: waiting.signature },
    };
    known = [
      ...[node.operator.address, requester.address, market.token],
      ...[signed.request, waiting.request, dropped].map((request) => jobIdOf(market.deployment, request)),
    ];
    operations = operationsOf((await indexer.get("/openapi.json")).body);
  });
  after(async () => {
    await indexer?.close();
    await market?.stop();
  });

  it("has each route of the server", () => {
    expect(operations.map(({ method, path }) => `${method} ${path}`)).to.have.members(
      routes.map(({ method, path }) => `${method} ${path}`),
    );
  });

  it("takes every value that its parameters allow, up to their bounds, and answers in the shape that it names", async () => {
    let answered = 0;
    for (const operation of operations.filter(({ method }) => method === "get")) {
      for (const parameter of [undefined, ...operation.parameters]) {
        for (const value of parameter === undefined ? [""] : inside(parameter.schema)) {
          const { status, body, where } = await ask(operation, parameter, value);
          expect(body?.code, where).to.not.equal("QUERY_INVALID");
          if (status !== 200 || typeof body === "string") continue;
          answered++;
          const { answer } = routes.find(({ method, path }) => method === "get" && path === operation.path) ?? {};
          expect(answer?.safeParse(body).error, where).to.equal(undefined);
        }
      }
    }
    expect(answered).to.be.greaterThan(100);
  });

  it("refuses what lies outside of the bounds of a parameter, and names it", async () => {
    for (const operation of operations) {
      for (const parameter of operation.parameters) {
        const sendable = outside(parameter.schema).filter(
          (text) => parameter.in === "query" || (text !== "" && /^[ -~]*$/.test(text)),
        );
        for (const value of sendable) {
          const { status, body, where } = await ask(operation, parameter, value);
          expect([status, body.code], where).to.deep.equal([400, "QUERY_INVALID"]);
          if (parameter.in !== "path") expect(body.detail, where).to.contain(parameter.name);
        }
      }
    }
  });

  it("refuses a parameter that it does not name, and one that is given twice", async () => {
    for (const operation of operations.filter(({ parameters }) => parameters.some((one) => one.in === "query"))) {
      const { body } = await ask(operation, { in: "query", name: "colour", schema: {} }, "red");
      expect(body.code, operation.path).to.equal("QUERY_INVALID");
      const { name, schema } = operation.parameters.find((one) => one.in === "query") as Parameter;
      const [value = ""] = inside(schema);
      const twice = await ask(operation, { in: "query", name, schema }, `${value}&${name}=${value}`);
      expect(twice.body.code, twice.where).to.equal("QUERY_INVALID");
    }
  });

  it("never fails on a hostile value", async () => {
    for (const operation of operations) {
      for (const parameter of operation.parameters) {
        for (const value of HOSTILE) await ask(operation, parameter, value);
      }
    }
  });

  it("never fails on any mix of parameters", async () => {
    const asking = operations.filter(({ method, path }) => method === "get" && path !== "/events");
    const value = fc.oneof(fc.constantFrom(...HOSTILE), fc.string({ maxLength: 40 }), fc.integer().map(String));
    const question = fc.nat(asking.length - 1).chain((i) => {
      const operation = asking[i] as Operation;
      const choices = operation.parameters.map((parameter) => {
        const good = inside(parameter.schema);
        return fc.option(fc.oneof({ weight: 4, arbitrary: fc.constantFrom(...good) }, { weight: 1, arbitrary: value }));
      });
      return fc.tuple(fc.constant(operation), fc.tuple(...choices));
    });
    await fc.assert(
      fc.asyncProperty(question, async ([operation, values]) => {
        const query = new URLSearchParams();
        let path = operation.path;
        for (const [i, parameter] of operation.parameters.entries()) {
          const chosen = values[i] as string | null;
          if (parameter.in === "path") path = path.replace(`{${parameter.name}}`, encodeURIComponent(chosen ?? "0"));
          else if (chosen !== null) query.set(parameter.name, chosen);
        }
        await judged(operation, `${path}?${query}`);
      }),
      { seed: SEED, numRuns: FUZZ_RUNS },
    );
  });

  it("never fails on an order with anything in the place of any member", async () => {
    const junk = fc.oneof(
      fc.constantFrom<unknown>(
        null,
        true,
        -1,
        1.5,
        2 ** 53,
        "",
        "0x",
        "-1",
        [],
        {},
        { toString: 1 },
        "\u0000",
        `${2n ** 256n}`,
      ),
      fc.jsonValue({ maxDepth: 2 }),
    );
    const broken = fc.constantFrom(...Object.keys(orders)).chain((path) => {
      const places = placesOf(orders[path] as object);
      return fc.tuple(fc.constant(path), fc.constantFrom(...places), junk, fc.boolean());
    });
    await fc.assert(
      fc.asyncProperty(broken, async ([path, place, value, drop]) => {
        const body = structuredClone(orders[path]) as Record<string, Record<string, unknown>>;
        const [outer = "", inner] = place;
        const of = inner === undefined ? body : (body[outer] as Record<string, unknown>);
        if (drop) delete of[inner ?? outer];
        else (of as Record<string, unknown>)[inner ?? outer] = value;
        const operation = operations.find((one) => one.method === "post" && one.path === path) as Operation;
        await judged(operation, path, { method: "POST", body: JSON.stringify(body) });
      }),
      { seed: SEED, numRuns: FUZZ_RUNS },
    );
    for (const path of Object.keys(orders)) {
      for (const body of ["", "null", "[]", "{", '"x"', "1", "[".repeat(5_000), "\u0000", "x".repeat(40_000)]) {
        const operation = operations.find((one) => one.method === "post" && one.path === path) as Operation;
        const { status } = await judged(operation, path, { method: "POST", body });
        expect(status, body.slice(0, 20)).to.be.within(400, 499);
      }
    }
  });

  /** Asks with one parameter given; those in the path always are. */
  async function ask(operation: Operation, given: Parameter | undefined, value: string) {
    let { path } = operation;
    for (const parameter of operation.parameters.filter((one) => one.in === "path")) {
      const text = parameter.name === given?.name ? value : (inside(parameter.schema)[0] ?? "");
      path = path.replace(`{${parameter.name}}`, escaped(text));
    }
    if (given?.in === "query") path += `?${given.name}=${escaped(value)}`;
    const headers = given?.in === "header" && /^[ -~]*$/.test(value) ? { [given.name]: value } : {};
    return judged(operation, path, { headers });
  }

  /** An answer that the document foresees; a refusal is a problem document and never this program's fault. */
  async function judged(operation: Operation, path: string, init: RequestInit = {}) {
    const stop = new AbortController();
    const method = operation.method.toUpperCase();
    const response = await fetch(`${indexer.url}${path}`, { method, ...init, signal: stop.signal });
    const { status } = response;
    const where = `${method} ${path.slice(0, 300)} ${JSON.stringify(init.body ?? "").slice(0, 300)}: ${status}`;
    expect(status, where).to.be.below(500);
    if (response.headers.get("content-type")?.startsWith("text/event-stream")) {
      stop.abort();
      return { status, where, body: "" as never };
    }
    const text = await response.text();
    const isJson = response.headers.get("content-type")?.includes("json") ?? false;
    const body = isJson ? JSON.parse(text) : text;
    if (status >= 400) {
      expect(response.headers.get("content-type"), where).to.match(/^application\/problem\+json/);
      expect(problem.safeParse(body).error, where).to.equal(undefined);
      expect(body.status, where).to.equal(status);
    }
    // A path with nothing or too much in the place of a parameter is another path.
    if (body?.code !== "NOT_FOUND") expect(operation.statuses, where).to.include(status);
    return { status, body, where };
  }

  function inside(schema: Schema): string[] {
    if (schema.anyOf !== undefined) return schema.anyOf.flatMap(inside);
    if (schema.enum !== undefined) return schema.enum;
    if (schema.type === "integer") {
      const { minimum = 0, maximum = 2 ** 53 - 1 } = schema;
      return [...new Set([minimum, minimum + 1, Math.floor((minimum + maximum) / 2), maximum])].map(String);
    }
    const { pattern, description = "" } = schema;
    const listed = /separated by commas: (.*)$/.exec(description)?.[1]?.split(", ");
    if (listed !== undefined) return [...listed, listed.join(",")];
    const samples = [
      ...known,
      `0x${"0".repeat(64)}`,
      `0x${"F".repeat(40)}`,
      "0",
      "1",
      "9".repeat(15),
      "9".repeat(78),
      "x",
    ];
    return samples.filter((text) => pattern === undefined || new RegExp(pattern).test(text));
  }

  function outside(schema: Schema): string[] {
    if (schema.anyOf !== undefined || schema.pattern !== undefined) return ["", "-1", "x y", "0x12", "é"];
    if (schema.enum !== undefined) return ["", "nothing", schema.enum.join(",")];
    if (schema.type === "integer") {
      const { minimum = 0, maximum = 2 ** 53 - 1 } = schema;
      return [String(minimum - 1), String(maximum + 1), "1.5", "x", "1e309"];
    }
    return schema.maxLength === undefined ? [] : ["x".repeat(schema.maxLength + 1)];
  }
});

function operationsOf(document: { paths: Record<string, Record<string, unknown>> }): Operation[] {
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, value]) => {
      const { parameters = [], responses } = value as { parameters?: Parameter[]; responses: Record<string, unknown> };
      return { method: method as "get", path, parameters, statuses: Object.keys(responses).map(Number) };
    }),
  );
}

/** Paths of one or two names to every member of a body. */
function placesOf(body: object): [string, string?][] {
  return Object.entries(body).flatMap(([outer, value]): [string, string?][] =>
    typeof value === "object"
      ? [[outer], ...Object.keys(value).map((inner): [string, string] => [outer, inner])]
      : [[outer]],
  );
}

/** As a hostile client writes it: percent-encoded, except what already pretends to be. */
function escaped(value: string): string {
  return /^%|&/.test(value) ? value : encodeURIComponent(value);
}

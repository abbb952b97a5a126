import { chmodSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import type { PackedImage } from "../../../client/src/image/index.ts";
import { type Config, configSchema } from "../../../provider-node/src/config.ts";
import { accountChecks } from "../../../provider-node/src/image/accounts.ts";
import { authorizationOf, type RegistryMood, startRegistry, type TestRegistry } from "../../support/registry.ts";
import { failure, imageBench } from "./support.ts";

describe("an account at a registry", () => {
  let bench: ReturnType<typeof imageBench>;
  let image: PackedImage;
  let undo: (() => Promise<void>)[];
  beforeEach(async () => {
    undo = [];
    bench = imageBench();
    image = await bench.pack("app");
  });
  afterEach(async () => {
    for (const step of undo.splice(0)) await step();
    bench.close();
  });

  const PASSWORD = "correct horse: battery, stäple";
  const TOKEN = "a-token-of-the-operator";
  const secret = (name: string, text: string) => {
    const file = join(bench.dir, name);
    writeFileSync(file, text, { mode: 0o600 });
    return file;
  };
  const withPassword = (password = PASSWORD) => ({
    usernameFile: secret("user", "harbour\n"),
    passwordFile: secret("password", `${password}\n`),
  });
  const withToken = () => ({ tokenFile: secret("token", TOKEN) });
  const registry = async (mood: RegistryMood): Promise<TestRegistry> => {
    const started = await startRegistry(mood);
    undo.push(started.close);
    started.push(image.dir);
    return started;
  };
  type Account = Parameters<typeof configSchema.shape.images.parse>[0] & object;
  const bring = ({ source, url }: TestRegistry, account: Account, repositories?: string[]) => {
    const settings = { [new URL(url).host]: { ...account, ...(repositories !== undefined && { repositories }) } };
    const images = bench.open({ registries: settings as Config["images"]["registries"] });
    return bench.bring(images, { digest: image.digest, sources: [source] });
  };
  const sent = ({ requests }: TestRegistry) => new Set(requests.map(({ authorization }) => authorization));
  const basic = authorizationOf(`harbour:${PASSWORD}`);
  /** Nothing that the node wrote has the secret in it, in any form in which it was sent. */
  const expectSilence = () => {
    const written = JSON.stringify(bench.lines);
    for (const word of [PASSWORD, TOKEN, basic.slice("Basic ".length), "a-token-for-anyone"])
      expect(written).to.not.contain(word);
  };

  it("opens one that wants a password for each request, after it was asked for it", async () => {
    const place = await registry({ account: `harbour:${PASSWORD}` });
    expect((await bring(place, withPassword())).bytes).to.equal(image.bytes);
    expect(place.requests[0]?.authorization).to.equal(undefined);
    expect([...sent(place)]).to.deep.equal([undefined, basic]);
    expectSilence();
  });

  it("opens one whose token service wants the password, which the registry itself is not sent", async () => {
    const place = await registry({ asksForToken: true, account: `harbour:${PASSWORD}` });
    expect((await bring(place, withPassword())).bytes).to.equal(image.bytes);
    const withBasic = place.requests.filter(({ authorization }) => authorization === basic);
    expect(withBasic.map(({ path }) => path.split("?")[0])).to.deep.equal(["/token"]);
    expectSilence();
  });

  it("opens one that takes the operator's token", async () => {
    const place = await registry({ account: TOKEN });
    expect((await bring(place, withToken())).bytes).to.equal(image.bytes);
    expect([...sent(place)]).to.deep.equal([undefined, `Bearer ${TOKEN}`]);
    expectSilence();
  });

  it("is read again at each use, as when a password was renewed", async () => {
    const place = await registry({ account: `harbour:${PASSWORD}` });
    const images = bench.open({
      registries: { [new URL(place.url).host]: { ...withPassword("old"), repositories: ["*"] } },
    });
    const bringNow = () => bench.bring(images, { digest: image.digest, sources: [place.source] });
    expect(await failure(bringNow())).to.have.property("code", "CONTENT_UNAVAILABLE");
    expect(bench.lines.at(-1)).to.have.property("reason", "It does not let this node's account read the image (401).");
    secret("password", PASSWORD);
    expect((await bringNow()).bytes).to.equal(image.bytes);
    chmodSync(join(bench.dir, "password"), 0o644);
    rmSync(join(bench.dir, "images/blobs"), { recursive: true });
    expect(await failure(bringNow())).to.include({ code: "CONTENT_UNAVAILABLE", retryable: true });
    expect(bench.lines.at(-1)?.["reason"]).to.contain("others on this machine can open");
    expectSilence();
  });

  describe("is not shown", () => {
    it("to another registry, nor for repositories that it is not for", async () => {
      const [mine, other] = [await registry({ account: `harbour:${PASSWORD}` }), await registry({ account: "x:y" })];
      const settings = { [new URL(mine.url).host]: { ...withPassword(), repositories: ["*"] } };
      const images = bench.open({ registries: settings });
      await failure(bench.bring(images, { digest: image.digest, sources: [other.source] }));
      expect([...sent(other)]).to.deep.equal([undefined]);
      await failure(bring(mine, withPassword(), ["team/other", "team", "app"]));
      expect([...sent(mine)]).to.deep.equal([undefined]);
      await bring(mine, withPassword(), ["other/*", "team/*"]);
    });

    for (const kind of ["password", "token"] as const) {
      it(`to a server that the registry redirects to, even when that one asks for it (${kind})`, async () => {
        const asking = await registry({ account: "x:y" });
        const redirectBlob = (digest: string) => `${asking.url}/v2/team/app/blobs/${digest}`;
        const account = kind === "token" ? TOKEN : `harbour:${PASSWORD}`;
        const place = await registry({ account, redirectBlob });
        const error = await failure(bring(place, kind === "token" ? withToken() : withPassword()));
        expect(error.code).to.equal("CONTENT_UNAVAILABLE");
        expect([...sent(asking)]).to.deep.equal([undefined]);
        expectSilence();
      });
    }

    it("to a token service that another server names, or that its own sends us to", async () => {
      const thief = await registry({ asksForToken: true });
      const moved = await registry({
        mischief: (path, response) => response.writeHead(307, { Location: `${thief.url}${path}` }).end() !== undefined,
      });
      expect(await failure(bring(moved, withPassword()))).to.have.property("code", "CONTENT_UNAVAILABLE");
      const sentOn = await registry({
        asksForToken: true,
        mischief: (path, response) =>
          path.startsWith("/token") && response.writeHead(307, { Location: `${thief.url}${path}` }).end() !== undefined,
      });
      expect(await failure(bring(sentOn, withPassword()))).to.have.property("code", "CONTENT_UNAVAILABLE");
      expect(thief.requests.length).to.be.above(1);
      expect(sent(thief)).to.not.include(basic);
    });

    it("to a token service on another machine without TLS", async () => {
      const place = await registry({
        mischief: (_path, response) =>
          response.writeHead(401, { "WWW-Authenticate": 'Bearer realm="http://192.0.2.1/token"' }).end() !== undefined,
      });
      await failure(bring(place, withPassword()));
      expect(bench.lines.at(-1)).to.include({
        code: "SOURCE_REFUSED",
        reason: "Its token service asks for the account without TLS.",
      });
    });
  });

  it("keeps the node from starting, and doctor names its file, when the file is of no use", () => {
    const registries = (account: object) => configSchema.shape.images.parse({ registries: { "r.example": account } });
    const file = (name: string, text: string, mode = 0o600) => {
      const path = secret(name, text);
      chmodSync(path, mode);
      return path;
    };
    const absent = join(bench.dir, "absent");
    const cases: [path: string, code: string, why: string][] = [
      [absent, "CONFIG_UNREADABLE", "cannot be read"],
      [file("open", TOKEN, 0o640), "CONFIG_EXPOSED", "others on this machine can open"],
      [file("empty", ""), "CONFIG_INVALID", "holds not one line of text"],
      [file("two", "a\nb"), "CONFIG_INVALID", "holds not one line of text"],
      [file("words", "a b"), "CONFIG_INVALID", "holds no token of printable characters"],
    ];
    for (const [tokenFile, code, why] of cases) {
      const settings = registries({ tokenFile });
      expect(() => bench.open(settings))
        .to.throw(why)
        .with.property("code", code);
      const [check] = accountChecks(settings.registries);
      expect(check).to.include({ name: "account at r.example", status: "fail", without: "starting" });
      expect(check?.detail).to.contain(tokenFile).and.to.contain(why);
      expect(check?.fix).to.be.a("string");
    }
    const colon = registries({ usernameFile: file("user", "a:b"), passwordFile: file("password", "c") });
    expect(() => bench.open(colon)).to.throw("a user name with a colon");
    const good = registries({ ...withPassword(), repositories: ["team/*"] });
    expect(accountChecks(good.registries)).to.deep.equal([
      { name: "account at r.example", status: "ok", detail: "its files can be read; used for team/*" },
    ]);
  });

  it("is a user with a password, or a token, at one host", () => {
    const parse = (registries: object) => configSchema.shape.images.safeParse({ registries });
    const both = "must have a usernameFile and a passwordFile, or a tokenFile";
    for (const account of [{}, { usernameFile: "/a" }, { usernameFile: "/a", passwordFile: "/b", tokenFile: "/c" }]) {
      expect(parse({ "r.example": account }).error?.issues.map(({ message }) => message)).to.deep.equal([both]);
    }
    expect(parse({ "https://r.example": { tokenFile: "/c" } }).success).to.equal(false);
    expect(parse({ "r.example": { tokenFile: "c" } }).success).to.equal(false);
    expect(parse({ "r.example:5000": { tokenFile: "/c" } }).success).to.equal(true);
  });
});

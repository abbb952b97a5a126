import { expect } from "chai";
import fc from "fast-check";
import {
  DROPPED_GRACE_SECONDS,
  decide,
  KEEP_ENDED_SECONDS,
  MAX_ATTEMPTS,
} from "../../../provider-node/src/core/decide.ts";
import type {
  Action,
  AttemptState,
  AttemptView,
  ChainView,
  EngineView,
  Situation,
} from "../../../provider-node/src/core/states.ts";
import { attemptStates, endStates, mayHaveRun } from "../../../provider-node/src/core/states.ts";

/** `halted`: no new blocks, as the RPC says; `silent`: the RPC says nothing. */
type Sight = "live" | "halted" | "silent";

/** What happens around the node while it works; each is one step of a random story. */
type Happening =
  | { what: "act"; crash: "no" | "before-effect" | "after-effect" | "after-write" }
  | { what: "exit" }
  | { what: "reboot" }
  | { what: "mine" }
  | { what: "settle" }
  | { what: "dispute" }
  | { what: "drop" }
  | { what: "return" }
  | { what: "fail" }
  | { what: "chain"; is: Sight }
  | { what: "engine"; answers: boolean }
  | { what: "clock"; wrongBy: number }
  | { what: "veto"; mayDecline: boolean | null }
  | { what: "time"; seconds: number };

const happening: fc.Arbitrary<Happening> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      what: fc.constant("act" as const),
      crash: fc.constantFrom(
        "no" as const,
        "no" as const,
        "before-effect" as const,
        "after-effect" as const,
        "after-write" as const,
      ),
    }),
  },
  { weight: 2, arbitrary: fc.constant({ what: "exit" as const }) },
  { weight: 1, arbitrary: fc.constant({ what: "reboot" as const }) },
  { weight: 2, arbitrary: fc.constant({ what: "mine" as const }) },
  { weight: 1, arbitrary: fc.constant({ what: "settle" as const }) },
  { weight: 1, arbitrary: fc.constant({ what: "dispute" as const }) },
  { weight: 1, arbitrary: fc.constant({ what: "drop" as const }) },
  { weight: 2, arbitrary: fc.constant({ what: "return" as const }) },
  { weight: 1, arbitrary: fc.constant({ what: "fail" as const }) },
  {
    weight: 2,
    arbitrary: fc.record({
      what: fc.constant("chain" as const),
      is: fc.constantFrom<Sight>("live", "live", "halted", "silent"),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ what: fc.constant("engine" as const), answers: fc.constantFrom(true, true, false) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ what: fc.constant("clock" as const), wrongBy: fc.constantFrom(0, 0, 7200, -7200) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      what: fc.constant("veto" as const),
      mayDecline: fc.constantFrom(true, false, null),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      what: fc.constant("time" as const),
      seconds: fc.oneof({ weight: 4, arbitrary: fc.integer({ min: 1, max: 40 }) }, fc.integer({ min: 100, max: 700 })),
    }),
  },
);

const aReason = { code: "hook-refused", text: "No.", values: {} };

const DEADLINES = { acceptBy: 1010, startBy: 1200, submitBy: 1600, settleBy: 3000 };

/** Journal, engine, outbox and chain as small as they can be, with the shell's order of effect and write. */
class World {
  time = 1000;
  /** Seconds by which the node's clock is ahead. */
  wrongBy = 0;
  state: AttemptState = "matched";
  attempt = 0;
  outcome: AttemptView["outcome"] = null;
  ran = false;
  chain: ChainView = "active";
  droppedAt: number | null = null;
  sight: Sight = "live";
  blockTime = 1000;
  engineAnswers = true;
  containers = new Map<number, EngineView>();
  /** By what it does and for which attempt. */
  outbox = new Map<string, "pending" | "mined" | "failed">();
  starts = new Map<number, number>();
  returns = 0;
  submitted = 0;
  readonly decisions: { from: Situation; action: Action }[] = [];
  veto: Situation["veto"] = null;
  isGivenBack = false;
  readonly idempotent: boolean;
  readonly attestation: "none" | "tpm2";
  /** What a result is on chain once it is mined. */
  readonly minedAs: ChainView;

  constructor(idempotent: boolean, attested: boolean, minedAs: ChainView = "submitted") {
    this.minedAs = minedAs;
    this.idempotent = idempotent;
    this.attestation = attested ? "tpm2" : "none";
  }

  situation(): Situation {
    const { state, attempt, outcome, idempotent, attestation, chain, droppedAt, blockTime, veto } = this;
    const about = { idempotent, attestation, maxSeconds: 60, isLease: false };
    const now = this.time + this.wrongBy;
    return {
      attempt: { state, attempt, since: now, outcome, ...about, ...DEADLINES },
      engine: this.engineAnswers ? (this.containers.get(attempt) ?? "absent") : "unknown",
      transaction: this.outbox.get(this.key()) ?? "none",
      ...{ chain, droppedAt, now, blockTime, followed: this.sight !== "silent", canServe: true, veto },
    };
  }

  apply(story: Happening): unknown {
    switch (story.what) {
      case "act": {
        const from = this.situation();
        const action = decide(from);
        this.decisions.push({ from, action });
        return this.perform(action, story.crash);
      }
      case "exit":
        if (this.containers.get(this.attempt) === "running") this.containers.set(this.attempt, "exited");
        return;
      case "reboot":
        if (this.containers.get(this.attempt) === "running") this.containers.set(this.attempt, "lost");
        return;
      case "engine":
        this.engineAnswers = story.answers;
        return;
      case "clock":
        this.wrongBy = story.wrongBy;
        return;
      case "chain":
        this.sight = story.is;
        break;
      case "veto":
        this.veto = story.mayDecline === null ? null : { reason: aReason, mayDecline: story.mayDecline };
        return;
      case "time":
        this.time += story.seconds;
        break;
      default:
        // Without blocks that the node sees, nothing happens on its chain.
        if (this.sight === "live") this.happenOnChain(story.what);
    }
    if (this.sight === "live") this.blockTime = this.time;
  }

  private happenOnChain(what: "mine" | "fail" | "settle" | "dispute" | "drop" | "return"): void {
    switch (what) {
      case "mine":
        this.mine();
        return;
      case "fail":
        for (const [key, state] of this.outbox) if (state === "pending") this.outbox.set(key, "failed");
        return;
      case "settle":
        if (["submitted", "judging", "disputed"].includes(this.chain)) this.chain = "settled";
        if (this.chain === "active" && this.time > DEADLINES.submitBy) this.chain = "refunded";
        return;
      case "dispute":
        if (this.chain === "submitted" || this.chain === "judging") this.chain = "disputed";
        return;
      case "drop":
        if (this.chain === "dropped") return;
        this.chain = "dropped";
        this.droppedAt = this.time;
        this.submitted = 0;
        this.isGivenBack = false;
        for (const [key, state] of this.outbox) if (state === "mined") this.outbox.set(key, "pending");
        return;
      case "return":
        if (this.chain !== "dropped") return;
        this.chain = "active";
        this.droppedAt = null;
        this.returns += 1;
        this.beginAgain();
    }
  }

  /** The oldest transaction comes first; one that the contracts refuse has failed. */
  private mine(): void {
    const key = [...this.outbox].find(([, state]) => state === "pending")?.[0];
    if (key === undefined) return;
    const isRefusal = key.startsWith("decline");
    const isAllowed = this.chain === "active" && this.time <= DEADLINES[isRefusal ? "acceptBy" : "submitBy"];
    this.outbox.set(key, isAllowed ? "mined" : "failed");
    if (!isAllowed) return;
    if (isRefusal) this.isGivenBack = true;
    else this.submitted += 1;
    this.chain = isRefusal ? "refunded" : this.minedAs;
  }

  /** As the chain's store does when a match comes back. */
  private beginAgain(): void {
    if (!endStates.includes(this.state) && !["cancelled", "expired", "declined"].includes(this.state)) return;
    const mayRun = !(this.ran || mayHaveRun(this.state)) || this.idempotent;
    this.attempt += 1;
    this.state = mayRun ? "matched" : "collected";
    this.outcome = mayRun ? null : "cancelled";
  }

  private key(): string {
    if (this.state === "declined") return `decline ${this.attempt}`;
    return ["submitting", "submitted"].includes(this.state) ? `submit ${this.attempt}` : "";
  }

  /** As the runner: the effect, then the write; a crash leaves what was done until then. */
  private perform(action: Action, crash: string): unknown {
    const effect = (run: () => void) => {
      if (crash === "before-effect") return false;
      run();
      return crash !== "after-effect";
    };
    const write = (state: AttemptState) => {
      this.state = state;
    };
    switch (action.do) {
      case "enter":
        if (crash === "before-effect") return;
        if (action.outcome !== undefined) this.outcome = action.outcome;
        if (action.state === "running") this.ran = true;
        return write(action.state);
      case "prepare":
      case "remake":
        if (!effect(() => this.make())) return;
        return action.do === "prepare" ? write("prepared") : undefined;
      case "attest":
        return effect(() => {}) ? write("attested") : undefined;
      case "start":
        effect(() => {
          // As every engine here: a container is started once, whatever became of it.
          if (this.containers.get(this.attempt) !== "created") return;
          this.containers.set(this.attempt, "running");
          this.starts.set(this.attempt, (this.starts.get(this.attempt) ?? 0) + 1);
        });
        return;
      case "collect":
        if (effect(() => {})) {
          this.outcome ??= "exited";
          write("collected");
        }
        return;
      case "publish":
        return effect(() => {}) ? write("published") : undefined;
      case "submit":
        write("submitting");
        effect(() => {
          const sent = this.outbox.get(this.key());
          if (sent === undefined || sent === "failed") this.outbox.set(this.key(), "pending");
        });
        return;
      case "decline":
        write("declined");
        effect(() => {
          if (!this.outbox.has(this.key())) this.outbox.set(this.key(), "pending");
        });
        return;
      case "retry":
        if (!effect(() => this.containers.delete(this.attempt))) return;
        this.attempt += 1;
        return write("matched");
      case "clean":
        return effect(() => this.containers.delete(this.attempt)) ? write("cleaned") : undefined;
      default:
    }
  }

  private make(): void {
    if (!this.containers.has(this.attempt)) this.containers.set(this.attempt, "created");
  }
}

describe("decide, whatever happens", () => {
  const story = fc.array(happening, { minLength: 1, maxLength: 120, size: "max" });
  const minedAs = fc.constantFrom<ChainView>("submitted", "judging", "settled");

  it("starts a command that may not run twice at most once, and any attempt at most once", () => {
    fc.assert(
      fc.property(story, fc.boolean(), fc.boolean(), (happenings, idempotent, attested) => {
        const world = new World(idempotent, attested);
        for (const step of happenings) world.apply(step);
        const starts = [...world.starts.values()];
        expect(Math.max(0, ...starts)).to.be.at.most(1);
        expect(starts.length).to.be.at.most(idempotent ? MAX_ATTEMPTS + world.returns : 1);
      }),
      { numRuns: 2000 },
    );
  });

  it("puts at most one result on chain", () => {
    fc.assert(
      fc.property(story, fc.boolean(), minedAs, (happenings, idempotent, as) => {
        const world = new World(idempotent, false, as);
        for (const step of happenings) world.apply(step);
        expect(world.submitted).to.be.at.most(1);
      }),
      { numRuns: 1000 },
    );
  });

  it("gives back what may be given back only, in time, and never starts it", () => {
    fc.assert(
      fc.property(story, fc.boolean(), (happenings, idempotent) => {
        const world = new World(idempotent, false);
        // A refusal that a reorganisation took off the chain can be mined while the match that came back is served.
        for (const step of happenings) if (step.what !== "drop") world.apply(step);
        for (const { from, action } of world.decisions) {
          if (action.do !== "decline") continue;
          expect(from.now).to.be.at.most(DEADLINES.acceptBy);
          expect(from.attempt.state === "declined" || from.veto?.mayDecline).to.equal(true);
        }
        if (world.isGivenBack) expect([...world.starts], "given back after it had run").to.deep.equal([]);
      }),
      { numRuns: 2000 },
    );
  });

  it("ends nothing while it does not see its chain, and gives up by what blocks say and by no clock", () => {
    fc.assert(
      fc.property(story, fc.boolean(), minedAs, (happenings, idempotent, as) => {
        const world = new World(idempotent, false, as);
        for (const step of happenings) world.apply(step);
        for (const { from, action } of world.decisions) {
          const { chain, blockTime, droppedAt } = from;
          const ends = action.do === "enter" && ["expired", "cancelled"].includes(action.state);
          const judges = action.do === "enter" && action.outcome !== undefined;
          const refuses = action.do === "decline" && action.reason !== null;
          if (ends || judges || refuses || action.do === "retry" || action.do === "clean")
            expect(from.followed, action.do).to.equal(true);
          if (!ends) continue;
          const isEnded = chain === "settled" || chain === "refunded";
          if (action.state === "cancelled") {
            expect(chain).to.equal("dropped");
            expect(blockTime).to.be.above(Number(droppedAt) + DROPPED_GRACE_SECONDS);
          } else if (!isEnded) {
            expect(blockTime).to.be.above(DEADLINES.submitBy);
            expect(from.transaction, "may still be mined").to.not.equal("pending");
          }
        }
      }),
      { numRuns: 2000 },
    );
  });

  it("judges no container that its engine does not tell of", () => {
    fc.assert(
      fc.property(story, fc.boolean(), (happenings, idempotent) => {
        const world = new World(idempotent, false);
        for (const step of happenings) world.apply(step);
        for (const { from, action } of world.decisions) {
          if (from.engine !== "unknown") continue;
          expect(action.do).to.not.be.oneOf(["start", "remake", "retry", "await-exit"]);
          expect(action).to.not.deep.include({ outcome: "lost" });
          expect(action, "it may be absent").to.not.deep.include({ state: "running" });
        }
      }),
      { numRuns: 1000 },
    );
  });

  it("comes to an end from everywhere once the crashes stop, and all that it needs answers", () => {
    fc.assert(
      fc.property(story, fc.boolean(), minedAs, (happenings, attested, as) => {
        const world = new World(true, attested, as);
        for (const step of happenings) world.apply(step);
        world.apply({ what: "chain", is: "live" });
        world.apply({ what: "engine", answers: true });
        world.apply({ what: "clock", wrongBy: 0 });
        for (let i = 0; i < 60 && world.state !== "cleaned"; i++) {
          world.apply({ what: "act", crash: "no" });
          world.apply({ what: "exit" });
          world.apply({ what: "mine" });
          if (i > 40) world.apply({ what: "settle" });
          if (i > 50) world.apply({ what: "time", seconds: 600 });
        }
        expect(world.state).to.equal("cleaned");
        expect(world.containers.has(world.attempt)).to.equal(false);
      }),
      { numRuns: 1000 },
    );
  });
});

describe("decide", () => {
  const base: Situation = new World(false, false).situation();
  const at = (state: AttemptState, change: Partial<Situation> = {}, attempt: Partial<AttemptView> = {}): Action =>
    decide({
      ...base,
      blockTime: change.now ?? base.blockTime,
      ...change,
      attempt: { ...base.attempt, state, ...attempt },
    });

  it("takes what it does not know for nothing but unknown", () => {
    for (const state of attemptStates) {
      const action = at(state, { engine: "unknown" });
      expect(action).to.not.deep.include({ outcome: "lost" });
      expect(action.do).to.not.equal("retry");
    }
  });

  it("adopts a container that ran on while the node was dead", () => {
    expect(at("running", { engine: "running" })).to.deep.equal({ do: "await-exit" });
    expect(at("running", { engine: "exited" })).to.deep.equal({ do: "enter", state: "exited" });
  });

  it("makes a container again that was never started", () => {
    expect(at("attested", { engine: "absent" })).to.deep.equal({ do: "remake" });
  });

  it("reports a lost run at once where the command may not run twice, and runs again where it may", () => {
    expect(at("running", { engine: "lost" })).to.deep.include({ state: "collected", outcome: "lost" });
    expect(at("running", { engine: "lost" }, { idempotent: true })).to.deep.equal({ do: "retry" });
    const late = at("running", { engine: "lost", now: 1550 }, { idempotent: true });
    expect(late).to.deep.include({ outcome: "lost" });
  });

  it("gives a replica back only while the accept window is open", () => {
    const { do: what, reason } = at("matched", { canServe: false }) as Extract<Action, { do: "decline" }>;
    expect([what, reason?.code]).to.deep.equal(["decline", "cannot-serve"]);
    expect(at("matched", { canServe: false, now: 1011 })).to.deep.equal({ do: "enter", state: "fetching" });
  });

  it("gives back what its operator does not want, where that is free or no matter, and in time; else it is done", () => {
    const veto = { reason: aReason, mayDecline: true };
    const fetching = { do: "enter", state: "fetching" };
    expect(at("matched", { veto })).to.deep.equal({ do: "decline", reason: aReason });
    expect(at("matched", { veto: { ...veto, mayDecline: false } })).to.deep.equal(fetching);
    expect(at("matched", { veto, now: 1011 })).to.deep.equal(fetching);
    expect(at("fetching", { veto })).to.deep.equal({ do: "prepare" });
  });

  it("does not begin when the time to start has passed", () => {
    expect(at("attested", { now: 1201, engine: "created" })).to.deep.include({
      state: "collected",
      outcome: "cancelled",
    });
  });

  it("waits for a dropped match to come back, then cancels", () => {
    expect(at("fetching", { chain: "dropped", droppedAt: 1000, now: 1010 }).do).to.equal("wait");
    const later = 1000 + DROPPED_GRACE_SECONDS + 1;
    expect(at("fetching", { chain: "dropped", droppedAt: 1000, now: later })).to.deep.include({ state: "cancelled" });
  });

  it("counts that wait in blocks, for a result that may come back too, and lets the container run", () => {
    const dropped = {
      chain: "dropped",
      droppedAt: 1000,
      now: 90_000,
      blockTime: 1000 + DROPPED_GRACE_SECONDS,
    } as const;
    expect(at("fetching", dropped).do).to.equal("wait");
    expect(at("final", dropped).do).to.equal("wait");
    expect(at("running", { ...dropped, engine: "running" })).to.deep.equal({ do: "await-exit" });
    expect(at("running", { ...dropped, engine: "exited" }).do).to.equal("wait");
  });

  it("neither works on nor gives up when only the clock says that the time is over", () => {
    const wrong = { now: 90_000, blockTime: 1599 };
    for (const state of ["matched", "fetching", "prepared", "attested", "exited", "published"] as const)
      expect(at(state, { ...wrong, engine: "created" }), state).to.deep.equal({ do: "wait", seconds: 15 });
    expect(at("running", { ...wrong, engine: "running" }).do).to.equal("wait");
    expect(at("submitting", { ...wrong, transaction: "failed" }).do).to.equal("wait");
    expect(at("declined", { ...wrong, transaction: "mined" }).do).to.equal("wait");
    expect(at("matched", { now: 90_000, blockTime: 1010 }, { isLease: true }).do).to.equal("wait");
    expect(at("running", { now: 1601, engine: "running" })).to.deep.include({ state: "expired" });
  });

  it("works on while it does not see its chain, and ends nothing", () => {
    const blind = { followed: false } as const;
    expect(at("exited", blind)).to.deep.equal({ do: "collect" });
    expect(at("running", { ...blind, engine: "running" })).to.deep.equal({ do: "await-exit" });
    expect(at("published", blind)).to.deep.equal({ do: "submit" });
    for (const action of [
      at("fetching", { ...blind, now: 1601 }),
      at("attested", { ...blind, now: 1201, engine: "created" }),
      at("running", { ...blind, engine: "lost" }),
      at("running", { ...blind, engine: "lost" }, { idempotent: true }),
      at("matched", { ...blind, canServe: false }),
      at("running", { ...blind, chain: "refunded", engine: "running" }),
      at("fetching", { ...blind, chain: "dropped", droppedAt: 1000, now: 2000 }),
      at("final", { ...blind, chain: "settled" }),
      at("expired", blind),
    ])
      expect(action).to.deep.equal({ do: "wait", seconds: 15 });
  });

  it("stops working for a replica that ended without it, and keeps nothing of it", () => {
    expect(at("running", { chain: "refunded", engine: "running" })).to.deep.include({ state: "expired" });
    expect(at("expired")).to.deep.equal({ do: "clean" });
  });

  it("keeps a final container until the chain ends the replica, but not for days", () => {
    expect(at("final", { chain: "submitted" }).do).to.equal("wait");
    expect(at("final", { chain: "settled" })).to.deep.equal({ do: "clean" });
    expect(at("final", { chain: "submitted", now: 1000 + KEEP_ENDED_SECONDS })).to.deep.equal({ do: "clean" });
  });

  it("takes a result that is judged, disputed or paid at once for submitted", () => {
    for (const chain of ["judging", "disputed", "settled"] as const)
      expect(at("submitting", { chain, transaction: "pending" })).to.deep.equal({ do: "enter", state: "final" });
  });

  it("keeps the container of a result as long as it may be judged or disputed", () => {
    for (const chain of ["judging", "disputed"] as const) {
      expect(at("final", { chain, now: 1000 + KEEP_ENDED_SECONDS }).do).to.equal("wait");
      expect(at("final", { chain, now: 2999 })).to.deep.equal({ do: "wait", seconds: 1 });
      expect(at("final", { chain, now: 3000 })).to.deep.equal({ do: "clean" });
      expect(at("final", { chain, now: 3000 }, { since: 2900 }).do).to.equal("wait");
    }
  });

  it("gives a lease back, and fetches and runs nothing for it when it is too late", () => {
    const lease = { isLease: true, submitBy: 1000 };
    const state = (chain: ChainView, transaction: Situation["transaction"], now = 1001) =>
      at("declined", { chain, transaction, now }, lease);
    expect(at("matched", { now: 1010 }, lease).do).to.equal("decline");
    expect(at("matched", { now: 1011 }, lease)).to.deep.include({ do: "enter", state: "expired" });
    expect(state("active", "none")).to.deep.equal({ do: "decline", reason: null });
    expect(state("active", "pending").do).to.equal("wait");
    expect(state("active", "failed").do).to.equal("wait");
    expect(state("active", "failed", 1011)).to.deep.equal({ do: "clean" });
    expect(state("refunded", "mined")).to.deep.equal({ do: "clean" });
    expect(at("matched", { chain: "settled" }, lease)).to.deep.include({ state: "expired" });
  });

  it("never enqueues again what the outbox knows", () => {
    expect(at("submitting", { transaction: "pending" }).do).to.equal("wait");
    expect(at("submitting", { transaction: "none" })).to.deep.equal({ do: "submit" });
    expect(at("submitting", { transaction: "mined" })).to.deep.equal({ do: "enter", state: "submitted" });
    expect(at("submitting", { transaction: "failed", now: 1601 })).to.deep.include({ state: "expired" });
  });

  it("submits again what failed while a result is owed, though it was mined before", () => {
    expect(at("submitting", { transaction: "failed" })).to.deep.equal({ do: "submit" });
    expect(at("submitted", { transaction: "failed" })).to.deep.equal({ do: "enter", state: "submitting" });
    expect(at("submitted", { transaction: "mined" }).do).to.equal("wait");
    expect(at("submitted", { transaction: "failed", chain: "submitted" })).to.deep.include({ state: "final" });
  });

  it("declines again what a crash lost, and does the job where it is too late to decline", () => {
    expect(at("declined", { transaction: "none" })).to.deep.equal({ do: "decline", reason: null });
    expect(at("declined", { transaction: "pending" }).do).to.equal("wait");
    expect(at("declined", { transaction: "mined" }).do).to.equal("wait");
    expect(at("declined", { transaction: "none", now: 1011 })).to.deep.equal({ do: "enter", state: "fetching" });
    expect(at("declined", { transaction: "failed" })).to.deep.equal({ do: "enter", state: "fetching" });
    expect(at("declined", { transaction: "none", chain: "refunded" })).to.deep.equal({ do: "clean" });
  });
});

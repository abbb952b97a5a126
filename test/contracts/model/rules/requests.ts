import { type Address, jobIdOf, type Request } from "@berth/protocol";
import { add, amountIn } from "../money.ts";
import { State } from "../replicas.ts";
import { type Calls, type Rule, type Scene, those } from "../scene.ts";
import { isSound } from "../sound.ts";
import { noReplica, put, type Replica, replicaKey } from "../storage.ts";

export const post: Rule<Calls["post"]> = {
  refusals: (scene, args) => {
    const { request } = args;
    return [
      ...unauthorized(scene, args),
      ...notNew(scene, request),
      ...those({
        WrongState: firstOf(scene, request).state !== State.None,
        BalanceTooLow: amountIn(scene.storage, "balances", request.payer) < request.maxPrice,
      }),
    ];
  },
  outcome: ({ facts, storage }, { request }) => {
    const jobId = jobIdOf(facts.domain, request);
    const posted: Replica = { ...noReplica, state: State.Posted, commitment: `0x${jobId.slice(2, 44)}` };
    const stored = put(storage, "replicas", replicaKey(jobId, 0), posted);
    return add(stored, "balances", request.payer, -request.maxPrice);
  },
};

export const cancel: Rule<Calls["cancel"]> = {
  refusals: (scene, { request }) => {
    const { state } = firstOf(scene, request);
    const stranger = scene.by !== request.requester;
    return those({
      WrongState: state !== State.None && state !== State.Posted,
      NotRequester: stranger && state === State.None,
      RequestStillOpen: stranger && state === State.Posted && scene.now <= request.openUntil,
    });
  },
  outcome: (scene, { request }) => {
    const replica = firstOf(scene, request);
    const key = replicaKey(jobIdOf(scene.facts.domain, request), 0);
    const stored = put(scene.storage, "replicas", key, { ...replica, state: State.Cancelled });
    const released = replica.state === State.Posted ? request.maxPrice : 0n;
    return add(stored, "balances", request.payer, released);
  },
};

/** Where a request and its job begin. */
export function firstOf({ facts, storage }: Scene, request: Request): Replica {
  return storage.replicas[replicaKey(jobIdOf(facts.domain, request), 0)] ?? noReplica;
}

/** What refuses a request that nobody posted yet. */
export function unauthorized(scene: Scene, args: Calls["post"]): string[] {
  const { request } = args;
  const agreed = (account: Address, signed: boolean) => scene.by === account || signed;
  return those({
    BadRequest: !isSound(request),
    BadRequestSignature: !agreed(request.requester, args.requesterSigned),
    BadPayerSignature: request.payer !== request.requester && !agreed(request.payer, args.payerSigned),
  });
}

/** What refuses every request from now on. */
export function notNew({ storage, now }: Scene, request: Request): string[] {
  return those({ NewJobsPaused: storage.paused, RequestExpired: now > request.openUntil });
}

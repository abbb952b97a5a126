import { type Address, type Misfit, misfits, type Request, standingMisfits, ZERO_BYTES32 } from "@berth/protocol";
import type { BookOffer, BookView, OpenRequest } from "../book/book.ts";
import type { Holds } from "../book/holds.ts";

/** Does a request let this operator work for it? */
export type Allows = (operator: Address) => boolean;

/** Whom `order` allows; undefined while nobody has handed in the list that it commits to. */
export function allowedBy({ request, operators }: OpenRequest): Allows | undefined {
  if (request.operators === ZERO_BYTES32) return () => true;
  if (operators === null) return undefined;
  const listed = new Set(operators);
  return (operator) => listed.has(operator);
}

/** Every reason why the market would refuse `offer` for `request` now; empty when it would not. */
export function reasonsAgainst(
  book: BookView,
  holds: Holds,
  request: Request,
  offer: BookOffer,
  now: number,
): Misfit[] {
  return [...misfits(request, offer.offer, now), ...nodeMisfits(book, holds, request, offer, now)];
}

/** Would the market take `offer` for `request` now? */
export function serves(book: BookView, holds: Holds, request: Request, offer: BookOffer, now: number): boolean {
  const { cpuMilli, memoryMiB, diskMiB, gpus } = offer.offer;
  if (request.memoryMiB > memoryMiB || request.cpuMilli > cpuMilli) return false;
  if (request.diskMiB > diskMiB || request.gpus > gpus) return false;
  return misfits(request, offer.offer, now).length === 0 && nodeMisfits(book, holds, request, offer, now).length === 0;
}

function nodeMisfits(
  book: BookView,
  holds: Holds,
  request: Request,
  { offer, signer }: BookOffer,
  now: number,
): Misfit[] {
  const { operator, index } = offer;
  const node = book.node(operator, index);
  if (node === undefined || node.key === null) return [{ field: "node", wanted: "published", has: "unknown" }];
  if (node.key !== signer) return [{ field: "key", wanted: node.key, has: signer }];
  if (node.limits === null) return [{ field: "limits", wanted: "set", has: "none" }];
  const held = holds.use(operator, index);
  const stake = book.stake(operator, request.token);
  const bonds = holds.bonds(operator, request.token);
  const standing = {
    use: {
      epoch: node.use.epoch,
      active: node.use.active + held.active,
      cpuMilli: node.use.cpuMilli + held.cpuMilli,
      memoryMiB: node.use.memoryMiB + held.memoryMiB,
      diskMiB: node.use.diskMiB + held.diskMiB,
      gpus: node.use.gpus + held.gpus,
    },
    limits: node.limits,
    keyValidTo: node.validTo,
    freeStake: stake.free - bonds,
    lockedStake: stake.locked + bonds,
    accepts: book.accepts(operator),
    deactivated: book.deactivated(operator),
  };
  return standingMisfits(request, offer, standing, now);
}

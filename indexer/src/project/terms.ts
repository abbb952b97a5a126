import type { Address, Job, RateX18, Terms } from "@berth/protocol";
import type { ReplicaRow } from "../store/tables.ts";

/** The terms of a replica, put together from what the tables keep of them. */
export function termsOfRow(job: Job, row: ReplicaRow): Terms {
  const { replica, operator, index, offerHash, rateX18, baseCharge } = row;
  return {
    job,
    assignment: {
      replica,
      operator: operator as Address,
      index,
      offerHash,
      rateX18: rateX18 as RateX18,
      baseCharge,
    },
  };
}

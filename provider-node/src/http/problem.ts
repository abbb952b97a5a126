import type { MarketError } from "@berth/protocol";
import type { Response } from "express";

/** RFC 9457 problem details, with this house's code and hint, and `more` members. */
export function problem(response: Response, status: number, error: MarketError, more: object = {}): void {
  const { code, message, hint } = error;
  const body = { type: "about:blank", title: code, status, code, detail: message, ...(hint !== undefined && { hint }) };
  response
    .status(status)
    .set("Cache-Control", "no-store")
    .type("application/problem+json")
    .send(JSON.stringify({ ...body, ...more }));
}

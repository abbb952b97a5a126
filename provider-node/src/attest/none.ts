import type { Attester, AttesterContext } from "./attester.ts";

/** Says that nothing is attested. Its documents pass no verifier; they only tell that the node made no claim. */
export function createNoneAttester({ clock = () => new Date() }: AttesterContext): Attester {
  return {
    type: "none",
    probe: async () => ({ available: true, detail: "This node attests nothing." }),
    attest: async ({ reportData }) => ({
      version: 1,
      type: "none",
      format: "none",
      reportData,
      producedAt: clock().toISOString(),
    }),
  };
}

import type { Hex } from "@berth/protocol";
import { expect } from "chai";
import fc from "fast-check";
import { bytesToHex, hexToBigInt, numberToHex, recoverAddress, size, slice } from "viem";
import { privateKeyToAddress, sign } from "viem/accounts";
import { type RecoverKey, recoverNatively, recoverPortably, signerOf } from "../../../indexer/src/intake/recover.ts";

const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
const FIELD = 2n ** 256n - 2n ** 32n - 977n;
const HALF_ORDER = ORDER / 2n;
/** On the curve, as an `r` must be. */
const GENERATOR_X = 0x79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798n;

const ways: Record<string, RecoverKey | undefined> = { natively: recoverNatively, portably: recoverPortably };
for (const [way, recover] of Object.entries(ways)) {
  describe(`signerOf, ${way}`, () => {
    before(function () {
      if (recover === undefined) this.skip();
    });
    const signer = (hash: Hex, signature: Hex) => signerOf(hash, signature, recover);

    it("is viem's verdict, under the contracts' rules, on good, changed, malleable, zero and outsized signatures", async () => {
      const seen = { signer: 0, stranger: 0, none: 0 };
      await fc.assert(
        fc.asyncProperty(anyKey, anyDigest, anyDamage, async (key, hash, damage) => {
          const signature = damage(await sign({ privateKey: key, hash, to: "hex" }));
          const expected = await contractsSigner(hash, signature);
          expect(await signer(hash, signature)).to.equal(expected);
          if (expected === undefined) seen.none++;
          else if (expected === privateKeyToAddress(key).toLowerCase()) seen.signer++;
          else seen.stranger++;
        }),
        { numRuns: 150 },
      );
      // Else the property says little.
      for (const count of Object.values(seen)) expect(count).to.be.above(5);
    });

    it("takes the very largest `s` that the contracts take and not the next", async () => {
      const hash = numberToHex(1n, { size: 32 });
      const withS = (s: bigint): Hex => `0x${word(GENERATOR_X)}${word(s)}1b`;
      expect(await signer(hash, withS(HALF_ORDER))).to.equal(
        (await contractsSigner(hash, withS(HALF_ORDER))) ?? "none",
      );
      expect(await signer(hash, withS(HALF_ORDER + 1n))).to.equal(undefined);
    });

    it("takes no `v` but 27 and 28, also where the curve has a point for another", async () => {
      // 2 more than the order is on the curve, which is what `v` 29 and 30 would mean.
      const withV = (v: string): Hex => `0x${word(2n)}${word(1n)}${v}`;
      expect(() => recoverNatively?.(Buffer.alloc(32, 1), Buffer.from(word(2n) + word(1n), "hex"), 2)).to.not.throw();
      for (const v of ["00", "01", "1d", "1e"]) {
        expect(await signer(`0x${"01".repeat(32)}`, withV(v)), v).to.equal(undefined);
      }
    });
  });
}

it("libsecp256k1 comes compiled for this machine", function () {
  if (process.platform !== "linux" || process.arch !== "x64") this.skip();
  expect(recoverNatively).to.be.a("function");
});

/** What `Signatures.sol` makes of it, by viem. */
async function contractsSigner(hash: Hex, signature: Hex): Promise<string | undefined> {
  if (size(signature) !== 65 || !["1b", "1c"].includes(signature.slice(-2))) return undefined;
  if (hexToBigInt(slice(signature, 32, 64)) > HALF_ORDER) return undefined;
  return recoverAddress({ hash, signature }).then(
    (address) => address.toLowerCase(),
    () => undefined,
  );
}

function word(value: bigint): string {
  return numberToHex(value, { size: 32 }).slice(2);
}

const anyDigest = fc.uint8Array({ minLength: 32, maxLength: 32 }).map(bytesToHex);
const anyKey = fc.bigInt(1n, ORDER - 1n).map((key) => numberToHex(key, { size: 32 }));

/** What may be done to a signature on its way. */
const special = fc.constantFrom(0n, 1n, HALF_ORDER, HALF_ORDER + 1n, ORDER - 1n, ORDER, FIELD - 1n, 2n ** 256n - 1n);
const anyDamage: fc.Arbitrary<(signature: Hex) => Hex> = fc.oneof(
  fc.constant((signature: Hex) => signature),
  fc.nat(64 * 8 - 1).map((bit) => (signature: Hex) => {
    const bytes = Buffer.from(signature.slice(2), "hex");
    bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    return bytesToHex(bytes);
  }),
  fc.constant((signature: Hex): Hex => {
    const v = signature.endsWith("1b") ? "1c" : "1b";
    const s = ORDER - hexToBigInt(slice(signature, 32, 64));
    return `${slice(signature, 0, 32)}${word(s)}${v}`;
  }),
  fc.nat(255).map(
    (v) =>
      (signature: Hex): Hex =>
        `${slice(signature, 0, 64)}${numberToHex(v, { size: 1 }).slice(2)}`,
  ),
  fc.constantFrom("1b", "1c").map(
    (v) =>
      (signature: Hex): Hex =>
        `${slice(signature, 0, 64)}${v}`,
  ),
  special.map(
    (r) =>
      (signature: Hex): Hex =>
        `${numberToHex(r, { size: 32 })}${signature.slice(66)}`,
  ),
  special.map(
    (s) =>
      (signature: Hex): Hex =>
        `${slice(signature, 0, 32)}${word(s)}${signature.slice(130)}`,
  ),
  fc.nat(64).map(
    (bytes) =>
      (signature: Hex): Hex =>
        signature.slice(0, 2 + 2 * bytes) as Hex,
  ),
  fc.nat(200).map(
    (bytes) =>
      (signature: Hex): Hex =>
        `${signature}${"1b".repeat(1 + bytes)}`,
  ),
  fc.constant((): Hex => `0x${"0".repeat(130)}`),
  fc.constant((): Hex => `0x${"0".repeat(128)}1b`),
);

import { generateKeyPairSync, sign } from "node:crypto";

const SEQUENCE = 0x30;
const SET = 0x31;
const OCTETS = 0x04;
const TRUE = der(0x01, Buffer.from([0xff]));
const ECDSA_SHA256 = der(SEQUENCE, oid("2a8648ce3d040302"));

/** A certificate that its own key signed, for a server at an IPv4 address. PEM; lasts a day. */
export function selfSigned(address: string): { key: string; cert: string } {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const name = der(SEQUENCE, der(SET, der(SEQUENCE, oid("550403"), der(0x0c, Buffer.from("test")))));
  const validity = der(SEQUENCE, timeOf(Date.now() - 3_600_000), timeOf(Date.now() + 86_400_000));
  const subjectName = der(SEQUENCE, der(0x87, Buffer.from(address.split(".").map(Number))));
  const extensions = der(
    SEQUENCE,
    der(SEQUENCE, oid("551d13"), TRUE, der(OCTETS, der(SEQUENCE, TRUE))), // may sign: itself
    der(SEQUENCE, oid("551d11"), der(OCTETS, subjectName)),
  );
  const version = der(0xa0, der(0x02, Buffer.from([2])));
  const serial = der(0x02, Buffer.from([1]));
  const spki = publicKey.export({ type: "spki", format: "der" });
  const body = der(SEQUENCE, version, serial, ECDSA_SHA256, name, validity, name, spki, der(0xa3, extensions));
  const signature = der(0x03, Buffer.from([0]), sign("sha256", body, privateKey));
  const cert = der(SEQUENCE, body, ECDSA_SHA256, signature).toString("base64");
  return {
    key: privateKey.export({ type: "pkcs8", format: "pem" }) as string,
    cert: `-----BEGIN CERTIFICATE-----\n${cert.replace(/.{64}/g, "$&\n")}\n-----END CERTIFICATE-----\n`,
  };
}

function der(tag: number, ...parts: Uint8Array[]): Buffer {
  const content = Buffer.concat(parts);
  const { length } = content;
  const head =
    length < 128 ? [tag, length] : length < 256 ? [tag, 0x81, length] : [tag, 0x82, length >> 8, length & 255];
  return Buffer.concat([Buffer.from(head), content]);
}

function oid(hex: string): Buffer {
  return der(0x06, Buffer.from(hex, "hex"));
}

function timeOf(ms: number): Buffer {
  return der(0x17, Buffer.from(`${new Date(ms).toISOString().slice(2, 19).replace(/\D/g, "")}Z`));
}

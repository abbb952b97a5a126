import { didAttributes, type Hex, textToBytes32, ZERO_ADDRESS } from "@berth/protocol";
import { hexToBytes } from "viem";
import type { IdentityEvent } from "../decode/events.ts";
import type { IdentityRow } from "../store/tables.ts";
import { nodeRow } from "./node.ts";
import type { State } from "./state.ts";

const CONTENT_URL = textToBytes32(didAttributes.contentUrl);
/** Longer values are no URLs of gateways. In bytes. */
const MAX_URL = 2048;

export async function projectIdentity({ eventName, args }: IdentityEvent, state: State): Promise<void> {
  switch (eventName) {
    case "DIDOwnerChanged": {
      const row = await identityRow(state, args.identity);
      const deactivated = args.owner === ZERO_ADDRESS;
      const lastOwner = deactivated ? row.lastOwner : args.owner;
      state.put("identities", { ...row, owner: args.owner, lastOwner, deactivated });
      return;
    }
    case "DIDAttributeChanged": {
      if (args.name !== CONTENT_URL) return;
      const row = await identityRow(state, args.identity);
      const contentUrl = urlOf(args.value);
      const ends = args.validTo === 0n;
      if (ends && row.contentUrl !== contentUrl) return;
      state.put("identities", {
        ...row,
        contentUrl: ends ? null : contentUrl,
        contentValidTo: ends ? 0n : args.validTo,
      });
      return;
    }
    case "NodePublished": {
      const row = await nodeRow(state, args.operator, args.index);
      const { key, wgKey, prefix, validTo, keyVersion, wgEndpoint, contentUrl, profileCid } = args;
      state.put("nodes", {
        ...row,
        key,
        wgKey,
        prefix: BigInt(prefix),
        validTo,
        keyVersion,
        wgEndpoint: wgEndpoint.replaceAll("\0", ""),
        contentUrl: contentUrl.replaceAll("\0", ""),
        profileCid: profileCid.replaceAll("\0", ""),
        revoked: false,
      });
      return;
    }
    case "NodeRevoked": {
      const row = await nodeRow(state, args.operator, args.index);
      state.put("nodes", {
        ...row,
        key: null,
        wgKey: null,
        prefix: null,
        validTo: 0,
        keyVersion: row.keyVersion,
        wgEndpoint: "",
        contentUrl: "",
        profileCid: "",
        revoked: true,
      });
    }
  }
}

async function identityRow(state: State, identity: Hex): Promise<IdentityRow> {
  const found = await state.get("identities", { identity });
  return found ?? { identity, owner: null, lastOwner: null, deactivated: false, contentUrl: null, contentValidTo: 0n };
}

/** An attribute's bytes are anybody's: text only when they are short, valid UTF-8 without a NUL. */
function urlOf(value: Hex): string | null {
  const bytes = hexToBytes(value);
  if (bytes.length === 0 || bytes.length > MAX_URL) return null;
  try {
    const url = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return url.includes("\0") ? null : url;
  } catch {
    return null;
  }
}

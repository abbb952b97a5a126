import { readFile, stat } from "node:fs/promises";
import type { Rpc } from "@berth/chain";
import { type Address, type Hex, MarketError } from "@berth/protocol";
import { createWalletClient, custom, isHex, type TypedDataDefinition, type WalletClient } from "viem";
import { privateKeyToAccount } from "viem/accounts";

/** What a wallet is asked to sign: an EIP-712 document. */
export interface TypedDocument {
  domain: object;
  types: Readonly<Record<string, readonly { readonly name: string; readonly type: string }[]>>;
  primaryType: string;
  message: object;
}

export interface WalletTransaction {
  to: Address;
  data: Hex;
  /** wei */
  value?: bigint | undefined;
}

/** Whoever holds the requester's key. It estimates gas, sets nonces and broadcasts by its own means. */
export interface Wallet {
  readonly address: Address;
  signTypedData(document: TypedDocument): Promise<Hex>;
  /** Sends, and returns the hash without waiting for a block. */
  sendTransaction(transaction: WalletTransaction): Promise<Hex>;
  /** The chain that it sends to, where it can tell. */
  chainId?(): Promise<number>;
}

/** Makes a wallet that sends through the client's own RPC. */
export type WalletMaker = (rpc: Rpc) => Wallet;

/** A viem wallet client with an account. Throws WALLET_INVALID when it has none. */
export function walletFromViem(client: WalletClient): Wallet {
  const { account } = client;
  if (account === undefined) {
    throw new MarketError("WALLET_INVALID", "The viem wallet client has no account.", {
      hint: "Make it with createWalletClient({ account, … }).",
    });
  }
  return {
    address: lower(account.address),
    signTypedData: async (document) => await client.signTypedData({ account, ...document } as never),
    sendTransaction: async ({ to, data, value = 0n }) =>
      await client.sendTransaction({ account, chain: client.chain ?? null, to, data, value } as never),
    chainId: () => client.getChainId(),
  };
}

/** What is used of an ethers (version 6) signer. */
export interface EthersSigner {
  getAddress(): Promise<string>;
  // biome-ignore lint/suspicious/noExplicitAny: method parameters as ethers declares them, which this package must accept
  signTypedData(domain: any, types: any, message: any): Promise<string>;
  // biome-ignore lint/suspicious/noExplicitAny: as above
  sendTransaction(transaction: any): Promise<{ hash: string }>;
  provider: { getNetwork(): Promise<{ chainId: bigint }> } | null;
}

/** An ethers signer: a `Wallet` with a provider, or a browser wallet's signer. */
export async function walletFromEthers(signer: EthersSigner): Promise<Wallet> {
  const address = lower((await signer.getAddress()) as Address);
  const { provider } = signer;
  return {
    address,
    signTypedData: async ({ domain, types, message }) => (await signer.signTypedData(domain, types, message)) as Hex,
    sendTransaction: async ({ to, data, value = 0n }) =>
      (await signer.sendTransaction({ to, data, value })).hash as Hex,
    ...(provider === null ? {} : { chainId: async () => Number((await provider.getNetwork()).chainId) }),
  };
}

/** A key in memory. Throws KEY_INVALID. */
export function walletFromPrivateKey(privateKey: string): WalletMaker {
  const key = privateKey.trim();
  const hex = (key.startsWith("0x") ? key : `0x${key}`) as Hex;
  if (!isHex(hex) || hex.length !== 66) throw keyInvalid("The private key");
  const account = accountOf(hex);
  return (rpc) => {
    const transport = custom(
      { request: ({ method, params }: { method: string; params?: readonly unknown[] }) => rpc.request(method, params) },
      { retryCount: 0 },
    );
    const client = createWalletClient({ account, transport });
    return {
      address: lower(account.address),
      signTypedData: (document) => account.signTypedData(document as unknown as TypedDataDefinition),
      sendTransaction: ({ to, data, value = 0n }) => client.sendTransaction({ chain: null, to, data, value }),
      chainId: async () => rpc.chainId,
    };
  };
}

/** A file with a private key as hexadecimal digits. Throws KEY_UNREADABLE, KEY_INVALID, KEY_EXPOSED. */
export async function walletFromKeyFile(file: string): Promise<WalletMaker> {
  let text: string;
  try {
    const { mode } = await stat(file);
    if ((mode & 0o077) !== 0 && process.platform !== "win32") {
      throw new MarketError("KEY_EXPOSED", `The key file ${file} can be read by others.`, {
        hint: `chmod 600 ${file}`,
      });
    }
    text = await readFile(file, "utf8");
  } catch (cause) {
    if (cause instanceof MarketError) throw cause;
    throw new MarketError("KEY_UNREADABLE", `The key file ${file} cannot be read.`, {
      hint: "Check the path and its permissions.",
      cause,
    });
  }
  try {
    return walletFromPrivateKey(text);
  } catch {
    throw keyInvalid(`The key file ${file}`);
  }
}

function accountOf(key: Hex) {
  try {
    return privateKeyToAccount(key);
  } catch {
    throw keyInvalid("The private key");
  }
}

/** Never with the key's own text or viem's words about it. */
function keyInvalid(what: string): MarketError {
  return new MarketError("KEY_INVALID", `${what} is not a private key.`, {
    hint: "It is 64 hexadecimal digits, with or without 0x in front.",
  });
}

function lower(address: Address): Address {
  return address.toLowerCase() as Address;
}

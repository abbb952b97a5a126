// A Hardhat node with the Berth contracts on it, as a process of its own. Started by `startChain`; sends its parent one
// message { rpcUrl, deployment } when ready, and ends on SIGTERM or when the IPC channel closes.
import { rm } from "node:fs/promises";
import { join } from "node:path";
import hre from "hardhat";
import BerthLocal from "../../ignition/modules/BerthLocal.ts";

const [, , runId = "local", port = "0", blockMs = "500"] = process.argv;
const deploymentId = `run-${runId}`;
const TOKEN = { symbol: "tUSD", decimals: 6 };

const server = await hre.network.createServer(
  { network: "default", override: { allowBlocksWithSameTimestamp: true } },
  "127.0.0.1",
  Number(port),
);
process.once("SIGTERM", stop);
process.once("disconnect", stop);
try {
  const address = await server.listen();
  const rpcUrl = `http://${address.address}:${address.port}`;
  process.send?.({ rpcUrl, deployment: await deploy(rpcUrl) });
} catch (error) {
  process.send?.({ error: error instanceof Error ? error.message : String(error) });
  await stop();
}

/** Deploys while every transaction is mined at once, then lets blocks come by the clock so that confirmations move. */
async function deploy(rpcUrl: string) {
  const connection = await hre.network.create({ network: "devnet", override: { url: rpcUrl } });
  const fromBlock = Number(await connection.provider.request({ method: "eth_blockNumber" }));
  const { identity, market, testToken } = await deployFresh(() =>
    connection.ignition.deploy(BerthLocal, { deploymentId }),
  );
  const addresses = await Promise.all([identity, market, testToken].map((contract) => contract.getAddress()));
  const [identityAddress, marketAddress, tokenAddress] = addresses;
  const staking = await market.getFunction("staking")();
  await connection.provider.request({ method: "evm_setAutomine", params: [false] });
  await connection.provider.request({ method: "evm_setIntervalMining", params: [Number(blockMs)] });
  const chainId = Number(await connection.provider.request({ method: "eth_chainId" }));
  return {
    chainId,
    fromBlock,
    identity: identityAddress,
    staking,
    market: marketAddress,
    tokens: [{ address: tokenAddress, ...TOKEN }],
  };
}

/** Ignition keeps a journal of a deployment to go on with later. This chain is new each time, so its journal goes. */
async function deployFresh<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } finally {
    await rm(join(hre.config.paths.ignition, "deployments", deploymentId), { recursive: true, force: true });
  }
}

async function stop(): Promise<void> {
  await server.close();
  process.exit(0);
}

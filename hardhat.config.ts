import { createRequire } from "node:module";
import hardhatEthers from "@nomicfoundation/hardhat-toolbox-mocha-ethers";
import { defineConfig } from "hardhat/config";

// The compiler is the npm package, so a build needs no download.
const solcPath = createRequire(import.meta.url).resolve("solc/soljson.js");
const settings = { optimizer: { enabled: true, runs: 200 }, evmVersion: "osaka" };
const compilers = [{ version: "0.8.37", path: solcPath, settings }];

export default defineConfig({
  plugins: [hardhatEthers],
  solidity: {
    profiles: {
      default: { compilers },
      production: { compilers },
    },
  },
  paths: { sources: "contracts", tests: { mocha: "test/contracts", solidity: "test/contracts" } },
  networks: { devnet: { type: "http", chainType: "l1", url: process.env["BERTH_RPC_URL"] ?? "http://127.0.0.1:8545" } },
  test: { solidity: { fuzz: { runs: 256 }, invariant: { runs: 256, depth: 100, failOnRevert: true } } },
});

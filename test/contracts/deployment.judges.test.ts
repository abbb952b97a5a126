import { expect } from "chai";
import hre from "hardhat";
import BerthDcap from "../../ignition/modules/BerthDcap.ts";
import BerthJudges from "../../ignition/modules/BerthJudges.ts";

const account = (digit: string) => `0x${digit.repeat(40)}`;

describe("the deployment modules of judges", () => {
  it("deploy a quorum, attested keys and a jury for one market, with roles for the deployer", async () => {
    const { ethers, ignition } = await hre.network.create();
    const [deployer] = await ethers.getSigners();
    const members = [account("1"), account("2"), account("3")];
    const parameters = { BerthJudges: { members, threshold: 2 } };
    const on = await ignition.deploy(BerthJudges, { parameters });
    const market = await on.market.getAddress();
    expect(await on.quorum.getFunction("market")()).to.equal(market);
    expect(await on.jury.getFunction("market")()).to.equal(market);
    expect(await on.tee.getFunction("registry")()).to.equal(await on.attestation.getAddress());
    expect(await on.tpmQuotes.getFunction("committee")()).to.equal(await on.committee.getAddress());
    expect(await on.tpmQuotes.getFunction("measuredPcrs")()).to.equal(0xffn);
    expect(await on.committee.getFunction("threshold")()).to.equal(2n);
    const role = await on.attestation.getFunction("MEASUREMENTS")();
    expect(await on.attestation.getFunction("holderOf")(role)).to.equal(deployer?.address);
  });

  it("give each role to whom the network names", async () => {
    const { ignition } = await hre.network.create();
    const parameters = { BerthJudges: { members: [account("1")], measurements: account("7") } };
    const { attestation } = await ignition.deploy(BerthJudges, { parameters });
    const role = await attestation.getFunction("MEASUREMENTS")();
    expect(await attestation.getFunction("holderOf")(role)).to.equal(account("7"));
  });

  it("put the Intel adapter in front of the contracts that the network has", async () => {
    const { ignition } = await hre.network.create();
    const parameters = { BerthDcap: { dcap: account("9"), advisories: ["INTEL-SA-00615"] } };
    const { dcapQuotes } = await ignition.deploy(BerthDcap, { parameters });
    expect(await dcapQuotes.getFunction("dcap")()).to.equal(account("9"));
  });
});

import { expect } from "chai";
import type { Wallet } from "ethers";
import { ethers, loadFixture } from "../support/actors.ts";
import { type CommitteeContract, deployAttestation, named, wallets } from "./support.ts";

const DIGEST = ethers.id("a digest");
const role = ethers.encodeBytes32String;
const outsider = new ethers.Wallet(ethers.id("outsider"));

/** Signatures of `signers` under a digest, one after the other. */
function signed(signers: readonly Wallet[], digest = DIGEST): string {
  return ethers.concat(signers.map(({ signingKey }) => signingKey.sign(digest).serialized));
}

function ascending(signers: readonly Wallet[]): Wallet[] {
  return [...signers].sort((a, b) => (BigInt(a.address) < BigInt(b.address) ? -1 : 1));
}

describe("Committee#requireVerdict", () => {
  it("takes any three of five, and more", async () => {
    const { committee, members } = await loadFixture(deployAttestation);
    for (const signers of [members.slice(0, 3), members.slice(2), members.slice(1), members]) {
      await committee.requireVerdict(DIGEST, signed(signers));
    }
  });

  it("refuses fewer than the threshold and more than there are", async () => {
    const { committee, members } = await loadFixture(deployAttestation);
    await expect(committee.requireVerdict(DIGEST, signed(members.slice(0, 2))))
      .to.be.revertedWithCustomError(committee, "WrongSignerCount")
      .withArgs(2, 3, 5);
    await expect(committee.requireVerdict(DIGEST, "0x"))
      .to.be.revertedWithCustomError(committee, "WrongSignerCount")
      .withArgs(0, 3, 5);
    await expect(committee.requireVerdict(DIGEST, signed(ascending([...members, outsider]))))
      .to.be.revertedWithCustomError(committee, "WrongSignerCount")
      .withArgs(6, 3, 5);
  });

  it("counts nobody twice and asks for one order", async () => {
    const { committee, members } = await loadFixture(deployAttestation);
    const [a, b, c] = members as [Wallet, Wallet, Wallet];
    await expect(committee.requireVerdict(DIGEST, signed([a, b, b])))
      .to.be.revertedWithCustomError(committee, "SignersNotAscending")
      .withArgs(b.address, b.address);
    await expect(committee.requireVerdict(DIGEST, signed([a, c, b])))
      .to.be.revertedWithCustomError(committee, "SignersNotAscending")
      .withArgs(c.address, b.address);
  });

  it("refuses who is no member, and who signed something else", async () => {
    const { committee, members } = await loadFixture(deployAttestation);
    const withOutsider = ascending([...members.slice(0, 2), outsider]);
    await expect(committee.requireVerdict(DIGEST, signed(withOutsider)))
      .to.be.revertedWithCustomError(committee, "NotMember")
      .withArgs(outsider.address);
    // Over another digest the same bytes belong to other accounts, or to none.
    await expect(committee.requireVerdict(ethers.id("another"), signed(members.slice(0, 3)))).to.revert(ethers);
  });

  it("refuses what is no signature", async () => {
    const { committee, members } = await loadFixture(deployAttestation);
    const good = signed(members.slice(0, 3));
    await expect(committee.requireVerdict(DIGEST, `${good}00`))
      .to.be.revertedWithCustomError(committee, "MalformedSignatures")
      .withArgs(196);
    const [first, last] = [ethers.dataSlice(good, 0, 130), ethers.dataSlice(good, 130)];
    const highS = ethers.concat([ethers.dataSlice(last, 0, 32), `0x${"ff".repeat(32)}`, ethers.dataSlice(last, 64)]);
    for (const bad of [`0x${"00".repeat(65)}`, highS]) {
      await expect(committee.requireVerdict(DIGEST, ethers.concat([first, bad])))
        .to.be.revertedWithCustomError(committee, "BadSignature")
        .withArgs(2);
    }
  });

  it("goes by the members and the threshold of the moment", async () => {
    const { committee, members, membersHolder, thresholdHolder } = await loadFixture(deployAttestation);
    const [first] = members as [Wallet];
    const verdict = signed(members.slice(0, 3));
    await committee.connect(thresholdHolder).setThreshold(4);
    await expect(committee.requireVerdict(DIGEST, verdict))
      .to.be.revertedWithCustomError(committee, "WrongSignerCount")
      .withArgs(3, 4, 5);
    await committee.connect(thresholdHolder).setThreshold(3);
    await committee.requireVerdict(DIGEST, verdict);
    await committee.connect(membersHolder).replaceMember(first, outsider);
    await expect(committee.requireVerdict(DIGEST, verdict))
      .to.be.revertedWithCustomError(committee, "NotMember")
      .withArgs(first.address);
    await committee.requireVerdict(DIGEST, signed(ascending([...members.slice(1, 3), outsider])));
  });
});

describe("Committee: who sits in it", () => {
  it("changes by the holder of MEMBERS", async () => {
    const { committee, members, membersHolder } = await loadFixture(deployAttestation);
    const [first, second] = members as [Wallet, Wallet];
    const asHolder = committee.connect(membersHolder);
    await expect(asHolder.addMember(outsider)).to.emit(committee, "MemberAdded").withArgs(outsider.address);
    expect([await committee.isMember(outsider), await committee.memberCount()]).to.deep.equal([true, 6n]);
    await expect(asHolder.removeMember(first)).to.emit(committee, "MemberRemoved").withArgs(first.address);
    expect([await committee.isMember(first), await committee.memberCount()]).to.deep.equal([false, 5n]);
    await expect(asHolder.replaceMember(second, first))
      .to.emit(committee, "MemberRemoved")
      .withArgs(second.address)
      .and.to.emit(committee, "MemberAdded")
      .withArgs(first.address);
    const now = [await committee.isMember(second), await committee.isMember(first), await committee.memberCount()];
    expect(now).to.deep.equal([false, true, 5n]);
  });

  it("keeps as many members as must agree", async () => {
    const { committee, members, membersHolder } = await loadFixture(deployAttestation);
    const [a, b, c] = members as [Wallet, Wallet, Wallet];
    await committee.connect(membersHolder).removeMember(a);
    await committee.connect(membersHolder).removeMember(b);
    await expect(committee.connect(membersHolder).removeMember(c))
      .to.be.revertedWithCustomError(committee, "ThresholdOutOfRange")
      .withArgs(3, 2);
    expect(await committee.memberCount()).to.equal(3n);
  });

  it("takes nobody twice, nobody unknown out, and not the zero account", async () => {
    const { committee, members, membersHolder } = await loadFixture(deployAttestation);
    const [first, second] = members as [Wallet, Wallet];
    const asHolder = committee.connect(membersHolder);
    for (const call of [asHolder.addMember(first), asHolder.replaceMember(second, first)]) {
      await expect(call).to.be.revertedWithCustomError(committee, "AlreadyMember").withArgs(first.address);
    }
    for (const call of [asHolder.removeMember(outsider), asHolder.replaceMember(outsider, first)]) {
      await expect(call).to.be.revertedWithCustomError(committee, "NotMember").withArgs(outsider.address);
    }
    await expect(asHolder.addMember(ethers.ZeroAddress)).to.be.revertedWithCustomError(committee, "ZeroMember");
  });

  it("is bounded", async () => {
    const { stranger } = await loadFixture(deployAttestation);
    const all = wallets(33).map(({ address }) => address);
    const factory = await ethers.getContractFactory("Committee");
    await expect(factory.deploy(all, 1, stranger, stranger))
      .to.be.revertedWithCustomError(factory, "CommitteeFull")
      .withArgs(32);
    const full = named<CommitteeContract>(await factory.deploy(all.slice(1), 32, stranger, stranger));
    await expect(full.connect(stranger).addMember(all[0]))
      .to.be.revertedWithCustomError(factory, "CommitteeFull")
      .withArgs(32);
    await full.requireVerdict(DIGEST, signed(wallets(33).slice(1)));
  });
});

describe("Committee#setThreshold", () => {
  it("belongs to the holder of THRESHOLD, and members to that of MEMBERS", async () => {
    const { committee, members, membersHolder, thresholdHolder } = await loadFixture(deployAttestation);
    const [first] = members as [Wallet];
    await expect(committee.connect(thresholdHolder).setThreshold(5)).to.emit(committee, "ThresholdSet").withArgs(5);
    expect(await committee.threshold()).to.equal(5n);
    await expect(committee.connect(membersHolder).setThreshold(1))
      .to.be.revertedWithCustomError(committee, "NotHolder")
      .withArgs(role("THRESHOLD"), membersHolder.address, thresholdHolder.address);
    const asOther = committee.connect(thresholdHolder);
    for (const call of [
      asOther.addMember(outsider),
      asOther.removeMember(first),
      asOther.replaceMember(first, outsider),
    ]) {
      await expect(call)
        .to.be.revertedWithCustomError(committee, "NotHolder")
        .withArgs(role("MEMBERS"), thresholdHolder.address, membersHolder.address);
    }
    expect([await committee.isMember(first), await committee.memberCount()]).to.deep.equal([true, 5n]);
  });

  it("stays between one and all", async () => {
    const { committee, thresholdHolder, stranger } = await loadFixture(deployAttestation);
    for (const threshold of [0, 6]) {
      await expect(committee.connect(thresholdHolder).setThreshold(threshold))
        .to.be.revertedWithCustomError(committee, "ThresholdOutOfRange")
        .withArgs(threshold, 5);
    }
    const factory = await ethers.getContractFactory("Committee");
    await expect(factory.deploy([], 1, stranger, stranger))
      .to.be.revertedWithCustomError(factory, "ThresholdOutOfRange")
      .withArgs(1, 0);
  });
});

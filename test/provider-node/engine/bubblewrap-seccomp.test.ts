import { expect } from "chai";
import { SECCOMP_POLICY, seccompProgram } from "../../../provider-node/src/engine/bubblewrap-seccomp.ts";

const [ALLOW, EPERM, ENOSYS, EAFNOSUPPORT] = ["allow", "errno 1", "errno 38", "errno 97"];
const ARCHES = { x64: 0xc000_003e, arm64: 0xc000_00b7 } as const;
type Arch = keyof typeof ARCHES;

/** Runs a filter as the kernel would, on `struct seccomp_data`. */
function decide(program: Buffer, { arch, call, args = [] }: { arch: number; call: number; args?: number[] }): string {
  const data = Buffer.alloc(64);
  data.writeUInt32LE(call >>> 0, 0);
  data.writeUInt32LE(arch >>> 0, 4);
  for (const [at, value] of args.entries()) data.writeBigUInt64LE(BigInt(value), 16 + 8 * at);
  let word = 0;
  for (let at = 0; at < program.length / 8; at += 1) {
    const code = program.readUInt16LE(8 * at);
    const [ifTrue, ifFalse] = [program.readUInt8(8 * at + 2), program.readUInt8(8 * at + 3)];
    const value = program.readUInt32LE(8 * at + 4);
    const jump = (holds: boolean) => {
      at += holds ? ifTrue : ifFalse;
    };
    if (code === 0x20) word = data.readUInt32LE(value);
    else if (code === 0x15) jump(word === value);
    else if (code === 0x25) jump(word > value);
    else if (code === 0x45) jump((word & value) !== 0);
    else if (code === 0x06) return value === 0x7fff_0000 ? ALLOW : `errno ${value & 0xffff}`;
    else throw new Error(`no such instruction: ${code}`);
  }
  throw new Error("the program ran over its end");
}

/** Numbers from the kernel's own tables, written down here a second time. */
const NUMBERS = {
  x64: {
    read: 0,
    mount: 165,
    unshare: 272,
    bpf: 321,
    vhangup: 153,
    acct: 163,
    clone: 56,
    clone3: 435,
    socket: 41,
    personality: 135,
    ioctl: 16,
    execve: 59,
  },
  arm64: {
    read: 63,
    mount: 40,
    unshare: 97,
    bpf: 280,
    vhangup: 58,
    acct: 89,
    clone: 220,
    clone3: 435,
    socket: 198,
    personality: 92,
    ioctl: 29,
    execve: 221,
  },
} as const;

describe("seccompProgram", () => {
  for (const name of Object.keys(ARCHES) as Arch[]) {
    const program = seccompProgram(name);
    const on = (call: number, ...args: number[]) => decide(program, { arch: ARCHES[name], call, args });
    const n = NUMBERS[name];

    it(`refuses on ${name} what a job never needs, and nothing else`, () => {
      for (const call of [n.mount, n.unshare, n.bpf, n.acct, n.vhangup]) expect(on(call)).to.equal(EPERM);
      for (const call of [n.read, n.execve]) expect(on(call)).to.equal(ALLOW);
      const refused = Array.from({ length: SECCOMP_POLICY.highestCall + 1 }, (_, call) => on(call)).filter(
        (verdict) => verdict === EPERM,
      );
      // The two judged by their arguments are let through with arguments of 0, and sockets of family 0 there are none.
      const missing = name === "arm64" ? 9 : 0; // calls that only x86_64 has
      expect(refused).to.have.length(SECCOMP_POLICY.denied.length - missing);
    });

    it(`knows on ${name} no calls of another machine, none of later kernels, and not clone3`, () => {
      const other = name === "x64" ? ARCHES.arm64 : ARCHES.x64;
      expect(decide(program, { arch: other, call: n.read })).to.equal(ENOSYS);
      expect(decide(program, { arch: 0x4000_0003, call: 3 })).to.equal(ENOSYS); // 32-bit x86
      expect(on(SECCOMP_POLICY.highestCall + 1)).to.equal(ENOSYS);
      expect(on(0x4000_0000 + n.read)).to.equal(ENOSYS); // the x32 table
      expect(on(n.clone3)).to.equal(ENOSYS);
    });

    it(`looks on ${name} at the arguments of clone, socket, personality and ioctl`, () => {
      expect(on(n.clone, 0x3d_0f00)).to.equal(ALLOW); // a thread
      for (const flag of [0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000])
        expect(on(n.clone, 0x11 | flag)).to.equal(EPERM);
      for (const family of [1, 2, 10, 16]) expect(on(n.socket, family)).to.equal(ALLOW);
      for (const family of [0, 17, 38, 40]) expect(on(n.socket, family)).to.equal(EAFNOSUPPORT);
      for (const persona of [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff]) expect(on(n.personality, persona)).to.equal(ALLOW);
      expect(on(n.personality, 0x40_0000)).to.equal(EPERM); // addresses in the same place each time
      expect(on(n.ioctl, 0, 0x5412)).to.equal(EPERM);
      expect(on(n.ioctl, 0, 0x5413)).to.equal(ALLOW);
    });
  }

  it("makes no filter for a machine that it has no table for", () => {
    expect(() => seccompProgram("riscv64"))
      .to.throw()
      .with.property("code", "ENGINE_NO_SECCOMP");
  });
});

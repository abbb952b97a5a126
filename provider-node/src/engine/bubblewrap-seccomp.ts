import { MarketError } from "@berth/protocol";

/** System calls that a job never needs, each refused with EPERM: their numbers on x86_64 and on aarch64. */
const DENIED: Readonly<Record<string, readonly [x64: number | null, arm64: number | null]>> = {
  acct: [163, 89],
  add_key: [248, 217],
  bpf: [321, 280],
  chroot: [161, 51],
  clock_adjtime: [305, 266],
  clock_settime: [227, 112],
  create_module: [174, null],
  delete_module: [176, 106],
  fanotify_init: [300, 262],
  finit_module: [313, 273],
  fsconfig: [431, 431],
  fsmount: [432, 432],
  fsopen: [430, 430],
  fspick: [433, 433],
  get_kernel_syms: [177, null],
  get_mempolicy: [239, 236],
  init_module: [175, 105],
  io_uring_enter: [426, 426],
  io_uring_register: [427, 427],
  io_uring_setup: [425, 425],
  ioperm: [173, null],
  iopl: [172, null],
  kcmp: [312, 272],
  kexec_file_load: [320, 294],
  kexec_load: [246, 104],
  keyctl: [250, 219],
  lookup_dcookie: [212, 18],
  mbind: [237, 235],
  migrate_pages: [256, 238],
  mount: [165, 40],
  mount_setattr: [442, 442],
  move_mount: [429, 429],
  move_pages: [279, 239],
  name_to_handle_at: [303, 264],
  nfsservctl: [180, 42],
  open_by_handle_at: [304, 265],
  open_tree: [428, 428],
  perf_event_open: [298, 241],
  pidfd_getfd: [438, 438],
  pivot_root: [155, 41],
  process_madvise: [440, 440],
  process_vm_readv: [310, 270],
  process_vm_writev: [311, 271],
  query_module: [178, null],
  quotactl: [179, 60],
  quotactl_fd: [443, 443],
  reboot: [169, 142],
  request_key: [249, 218],
  set_mempolicy: [238, 237],
  set_mempolicy_home_node: [450, 450],
  setdomainname: [171, 162],
  sethostname: [170, 161],
  setns: [308, 268],
  settimeofday: [164, 170],
  swapoff: [168, 225],
  swapon: [167, 224],
  sysfs: [139, null],
  syslog: [103, 116],
  _sysctl: [156, null],
  umount2: [166, 39],
  unshare: [272, 97],
  uselib: [134, null],
  userfaultfd: [323, 282],
  ustat: [136, null],
  vhangup: [153, 58],
};

/** What the filter does, as the sandbox policy states it. */
export const SECCOMP_POLICY = {
  denied: Object.keys(DENIED),
  /** Later calls do not exist for a job, nor does `clone3`, whose flags a filter cannot see. */
  highestCall: 450,
  newNamespaces: false,
  /** UNIX, IPv4, IPv6 and netlink: others reach parts of the kernel that a job does not need. */
  socketFamilies: [1, 2, 10, 16],
  /** The default, what 32-bit emulators ask for, and the question which it is. */
  personalities: [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff],
  terminalInjection: false,
} as const;

interface Machine {
  /** AUDIT_ARCH_* of linux/audit.h. */
  audit: number;
  column: 0 | 1;
  clone: number;
  clone3: number;
  socket: number;
  personality: number;
  ioctl: number;
}

const MACHINES: Readonly<Record<string, Machine>> = {
  x64: { audit: 0xc000_003e, column: 0, clone: 56, clone3: 435, socket: 41, personality: 135, ioctl: 16 },
  arm64: { audit: 0xc000_00b7, column: 1, clone: 220, clone3: 435, socket: 198, personality: 92, ioctl: 29 },
};

const [EPERM, ENOSYS, EAFNOSUPPORT] = [1, 38, 97];
/** Namespaces of every kind that `clone` can make. */
const CLONE_NEW = 0x7e02_0000;
const TIOCSTI = 0x5412;

// linux/bpf_common.h, linux/seccomp.h
const [LOAD, JUMP_EQUAL, JUMP_MORE, JUMP_ANY_BIT, RETURN] = [0x20, 0x15, 0x25, 0x45, 0x06];
const [ALLOW, ERRNO] = [0x7fff_0000, 0x0005_0000];
const [AT_NUMBER, AT_ARCH] = [0, 4];
const lowWordOf = (argument: number) => 16 + 8 * argument; // both machines are little-endian

/**
 * The filter as a program of the kernel's packet filter, as `bwrap --seccomp` takes it. Every rule that does not decide
 * falls through to the next; a call that none decides is allowed.
 * @param arch Node's name of the processor
 * @throws MarketError ENGINE_NO_SECCOMP on a processor without a table
 */
export function seccompProgram(arch: string): Buffer {
  const machine = MACHINES[arch];
  if (machine === undefined) {
    throw new MarketError("ENGINE_NO_SECCOMP", `There is no system call filter for "${arch}" processors.`, {
      hint: "Use the podman engine on this machine.",
    });
  }
  const { audit, column, clone, clone3, socket, personality, ioctl } = machine;
  const p = SECCOMP_POLICY;
  const denied = Object.values(DENIED).flatMap((numbers) => numbers[column] ?? []);
  const refuse = (errno: number) => op(RETURN, ERRNO | errno);
  /** Runs `rule` when the call is `number`; skips it otherwise. */
  const onCall = (number: number, rule: Op[]) => [op(LOAD, AT_NUMBER), op(JUMP_EQUAL, number, 0, rule.length), ...rule];
  /** Refuses unless the argument is one of `values`. */
  const onlyWith = (argument: number, values: readonly number[], errno: number) => [
    op(LOAD, lowWordOf(argument)),
    ...values.map((value, at) => op(JUMP_EQUAL, value, values.length - at, 0)),
    refuse(errno),
  ];
  const program = [
    // Calls of another machine (32-bit programs) have other numbers.
    ...[op(LOAD, AT_ARCH), op(JUMP_EQUAL, audit, 1, 0), refuse(ENOSYS)],
    ...[op(LOAD, AT_NUMBER), op(JUMP_MORE, p.highestCall, 0, 1), refuse(ENOSYS)],
    ...onCall(clone3, [refuse(ENOSYS)]), // the C library then takes clone
    ...onCall(clone, [op(LOAD, lowWordOf(0)), op(JUMP_ANY_BIT, CLONE_NEW, 0, 1), refuse(EPERM)]),
    ...onCall(socket, onlyWith(0, p.socketFamilies, EAFNOSUPPORT)),
    ...onCall(personality, onlyWith(0, p.personalities, EPERM)),
    ...onCall(ioctl, [op(LOAD, lowWordOf(1)), op(JUMP_EQUAL, TIOCSTI, 0, 1), refuse(EPERM)]),
    op(LOAD, AT_NUMBER),
    ...denied.map((number, at) => op(JUMP_EQUAL, number, denied.length - at, 0)),
    op(RETURN, ALLOW),
    refuse(EPERM),
  ];
  return Buffer.concat(program.map(encode));
}

interface Op {
  code: number;
  /** Instructions to skip when the condition holds, and when not. */
  ifTrue: number;
  ifFalse: number;
  value: number;
}

function op(code: number, value: number, ifTrue = 0, ifFalse = 0): Op {
  return { code, ifTrue, ifFalse, value };
}

/** `struct sock_filter`. */
function encode({ code, ifTrue, ifFalse, value }: Op): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt16LE(code, 0);
  bytes.writeUInt8(ifTrue, 2);
  bytes.writeUInt8(ifFalse, 3);
  bytes.writeUInt32LE(value >>> 0, 4);
  return bytes;
}

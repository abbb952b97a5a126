/** Debian packages that the whole stack needs: name, and the program by which we know that it is there. */
export const systemPackages = [
  ["podman", "podman"],
  ["runc", "runc"],
  ["conmon", "conmon"],
  ["bubblewrap", "bwrap"],
  ["golang-github-containers-common", "/usr/share/containers/containers.conf"],
  ["catatonit", "catatonit"],
  ["wireguard-tools", "wg"],
  ["wireguard-go", "wireguard-go"],
  ["nftables", "nft"],
  ["iproute2", "ip"],
  ["iputils-ping", "ping"],
  ["util-linux", "nsenter"],
  ["mount", "mount"],
  ["e2fsprogs", "mkfs.ext4"],
  ["swtpm", "swtpm"],
  ["swtpm-tools", "swtpm_setup"],
  ["tpm2-tools", "tpm2_quote"],
  ["busybox-static", "busybox"],
];

/** What only tests need: those of the engines that a machine need not have skip without it. */
export const testPackages = [
  ["slurm-wlm", "slurmctld"],
  ["munge", "munged"],
  ["runsc", "runsc"],
  ["age", "age"],
];

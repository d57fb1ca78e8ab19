#!/bin/bash
# Runs inside.sh in a fresh Debian 12: a virtual machine with Debian's own kernel and systemd, and so with cgroup v2 alone.
# That is what most users have; the machine that runs `make test` may be anything.
#
# Three things make the machine: Debian's kernel, a disk of its packages (built once), and a disk of our programs. The disks are
# never changed.
#
#   run.sh [--built] [TEST[:FILTER]]...
#
# With --built the programs are those that `make test` built last. TEST is machines (of the embedded cloud), pods (on
# containerd), session (of a user with kubectl) or faults; by default, what depends on control groups of these.
set -euo pipefail
cd "$(dirname "$0")/../.."
PATH=$PATH:/usr/sbin:/sbin

without() {
  echo "vm: skipped, $1" >&2
  if [ "${CI:-}" = true ]; then exit 1; fi
  exit 0
}
[ "$(id -u)" = 0 ] || without "needs root, to build disks"
command -v qemu-system-x86_64 >/dev/null || without "no qemu-system-x86_64 (apt-get install qemu-system-x86)"
command -v kubectl >/dev/null || without "no kubectl in PATH"

if [ "${1:-}" = --built ]; then
  shift
  target=${CARGO_TARGET_DIR:-$PWD/target}
  artifacts=$target/test-artifacts.json
else
  source tests/build.sh
fi
here=$target/vm
mkdir -p "$here"
exec 9>"$here/.lock"
flock 9
work=$(mktemp -d "$here/run.XXXXXX")
trap 'rm -rf "$work"' EXIT

# A disk of a directory with so many GiB, most of which stay holes.
disk() { mke2fs -q -t ext4 -O ^has_journal -E lazy_itable_init=1 -L "$2" -d "$1" "$3" "$4G" >/dev/null; }

# Debian as it comes, and what README asks for on top. No recommended packages: the kernel's are firmware.
packages=linux-image-cloud-amd64,systemd-sysv,udev,kmod,iproute2,procps,ca-certificates
packages+=,nftables,conntrack,e2fsprogs,mmdebstrap,zstd,busybox-static,curl,runc
# Without help from hardware everything takes long, also the appearance of a disk.
fstab='LABEL=programs /programs ext4 defaults,x-systemd.device-timeout=600 0 0'
debian=$here/$(echo "$packages $fstab" | sha256sum | cut -c1-12)
if [ ! -d "$debian" ]; then
  echo "vm: making a disk of Debian 12 (once, a minute or two); log: $here/debian.log" >&2
  mmdebstrap --variant=minbase --mode=root --aptopt='APT::Install-Recommends "false"' \
    --include="$packages" bookworm "$work/root" >"$here/debian.log" 2>&1 9>&- || { tail -5 "$here/debian.log" >&2; exit 1; }
  # What the installer would write.
  echo "$fstab" >"$work/root/etc/fstab"
  echo "127.0.0.1 localhost" >"$work/root/etc/hosts"
  mkdir "$work/debian"
  cp "$work"/root/boot/vmlinuz-* "$work/debian/kernel"
  cp "$work"/root/boot/initrd.img-* "$work/debian/initrd"
  disk "$work/root" debian "$work/debian/disk" 16
  mv "$work/debian" "$debian"
  rm -rf "$work/root"
fi

# Programs keep their paths below the target directory, by which tests know them.
programs=$work/programs
test_program() {
  grep -F "/$1/Cargo.toml\"" "$artifacts" | grep -F '"kind":["test"]' | grep -F "\"name\":\"$2\"" \
    | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -1
}
mkdir -p "$programs/debug/e2e-images" "$programs/tests" "$programs/bin"
cp tests/vm/inside.sh "$programs/"
echo "$target" >"$programs/target"
for program in marinad marina marina-node marina-machine; do ln "$target/debug/$program" "$programs/debug/"; done
cp -al "$target/debug/e2e-images/base" "$programs/debug/e2e-images/"
cp -L "$(command -v kubectl)" "$programs/bin/kubectl"
declare -A package_of=([machines]=cloud-providers/local [pods]=tests/kubelet [session]=tests/e2e [faults]=tests/e2e)
[ $# -gt 0 ] || set -- machines pods:limit session
for test in "$@"; do
  test=${test%%:*}
  [ -e "$programs/tests/$test" ] || ln "$(test_program "${package_of[$test]}" "$test")" "$programs/tests/$test"
done
echo "$*" >"$programs/tests/list"
disk "$programs" programs "$work/disk" 4

# Of the boot only errors are shown, and systemd has patience.
quiet="systemd.show_status=no systemd.journald.forward_to_console=1 systemd.journald.max_level_console=err"
quiet+=" systemd.default_timeout_start_sec=3600"
# Boots the machine for at most so many seconds and runs one program in it.
boot() {
  timeout --foreground "$2" qemu-system-x86_64 -accel "$1" -cpu max,arch-capabilities=off -smp 2 -m 6G -nic none -no-reboot \
    -display none -monitor none -serial stdio -device virtio-rng-pci \
    -kernel "$debian/kernel" -initrd "$debian/initrd" \
    -append "console=ttyS0 quiet loglevel=2 root=/dev/vda rw panic=-1 $quiet systemd.run=$3" \
    -drive file="$debian/disk,format=raw,if=virtio,snapshot=on" \
    -drive file="$work/disk,format=raw,if=virtio,snapshot=on" </dev/null 9>&- | sed -u 's/\r$//'
}
# The hardware's help where it works, which inside another virtual machine it may not; else all in software, ten times slower.
accel=tcg,thread=multi
if [ -w /dev/kvm ] && boot kvm 40 /bin/true >"$work/kvm.log" 2>&1; then accel=kvm; fi
echo "vm: booting (with $accel; console: $here/console.log)" >&2
boot "$accel" 3600 /programs/inside.sh | tee "$here/console.log"
grep -q '^vm: all passed' "$here/console.log"

#!/bin/bash
# Installs what a fresh Debian 12 lacks, or says what to install and stops.
#
#   packages.sh build     compilers, to build Marina
#   packages.sh machines  the above, and what the embedded cloud needs (root)
#   packages.sh test      the above, and what tests use
set -euo pipefail

declare -A package_of=(
  [g++]=g++ [make]=make [clang]=clang [cc]=gcc
  [mmdebstrap]=mmdebstrap [nft]=nftables [ip]=iproute2 [conntrack]=conntrack [mkfs.ext4]=e2fsprogs
  [losetup]=mount [busybox]=busybox-static [zstd]=zstd [curl]=curl [strace]=strace [runc]=runc
)
commands=(g++ make clang cc curl)
case ${1:-build} in
  build) ;;
  machines) commands+=(mmdebstrap nft ip conntrack mkfs.ext4 losetup zstd) ;;
  test) commands+=(mmdebstrap nft ip conntrack mkfs.ext4 losetup zstd busybox strace runc) ;;
  *) echo "packages.sh: build, machines or test" >&2; exit 2 ;;
esac

PATH=$PATH:/usr/sbin:/sbin
missing=()
for command in "${commands[@]}"; do
  command -v "$command" >/dev/null || missing+=("${package_of[$command]}")
done
# bindgen loads libclang, which has no command of its own.
compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null || compgen -G '/usr/lib/*/libclang*.so*' >/dev/null \
  || missing+=(libclang-dev)
[ ${#missing[@]} -gt 0 ] || exit 0

line="apt-get install --yes --no-install-recommends ${missing[*]}"
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "Marina needs packages that are missing here. As root:" >&2
  echo "    $line" >&2
  exit 1
fi
echo "installing: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
$line >/dev/null 2>&1 || { apt-get update -qq && $line >/dev/null; }

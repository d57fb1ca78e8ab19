#!/bin/bash
# What runs in the virtual machine of run.sh, by systemd as the last step of its boot; the machine is switched off afterwards.
set -uo pipefail
exec </dev/null >/dev/ttyS0 2>&1
export HOME=/root PATH=/programs/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb NO_COLOR=1 CI=true
target=$(cat /programs/target)
mkdir -p "$target"
mount --bind /programs "$target"
export MARINA_BIN_DIR=$target/debug MARINA_IMAGE_DIR=$target/debug/e2e-images

failed=0
# Runs a command, says how it ended and how long it took.
check() {
  local what=$1 started=$SECONDS status=0
  shift
  "$@" || status=$?
  if [ $status = 0 ]; then echo "vm: $what: ok ($((SECONDS - started)) s)"; else
    echo "vm: $what: FAILED (status $status, $((SECONDS - started)) s)"
    failed=$((failed + 1))
  fi
}
only_version_2() {
  . /etc/os-release
  echo "$PRETTY_NAME, Linux $(uname -r), $(systemctl --version | head -1), $(nproc) CPUs"
  [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ] && ! grep ' - cgroup ' /proc/self/mountinfo
}
check "cgroup v2 alone" only_version_2
for test in $(cat /programs/tests/list); do
  filter=${test#"${test%%:*}"}
  check "$test" timeout 1200 "/programs/tests/${test%%:*}" ${filter:+"${filter#:}"}
done
[ $failed != 0 ] || echo "vm: all passed in $SECONDS s"

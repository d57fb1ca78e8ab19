# Runs "$@" as the init of a small machine: own processes, mounts, network, control groups. $MARINA_TEST_DIR is its disk.
set -eu
# Gives the groups below this one its controllers, each that the kernel lets it.
pass_on() { for c in $(cat "$1/cgroup.controllers"); do echo "+$c" >"$1/cgroup.subtree_control" || true; done; }
case ${1-} in
inside)
  shift
  [ -z "$MARINA_TEST_UNIFIED" ] || echo 0 >"$MARINA_TEST_UNIFIED/cgroup.procs"
  exec unshare --cgroup sh "$0" rooted "$@"
  ;;
rooted)
  shift
  mount --make-rprivate /
  mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
  mount -t tmpfs -o nosuid,nodev,noexec,mode=755 cgroup /sys/fs/cgroup
  if [ -n "$MARINA_TEST_UNIFIED" ]; then
    umount /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    # Controllers can be passed on only by a group without processes.
    mkdir -p /sys/fs/cgroup/init
    while read -r pid; do echo "$pid" >/sys/fs/cgroup/init/cgroup.procs || true; done </sys/fs/cgroup/cgroup.procs
    pass_on /sys/fs/cgroup
  else
    while IFS=: read -r _ controllers _; do
      [ -n "$controllers" ] || continue
      name=${controllers#name=}
      mkdir -p "/sys/fs/cgroup/$name"
      case $controllers in name=*) controllers=none,$controllers ;; esac
      mount -t cgroup -o "$controllers" cgroup "/sys/fs/cgroup/$name"
      for one in $(echo "$name" | tr , ' '); do [ "$one" = "$name" ] || ln -s "$name" "/sys/fs/cgroup/$one"; done
    done </proc/self/cgroup
  fi
  mount -t tmpfs -o nosuid,nodev,mode=755 run /run
  mount --make-rshared /
  ip link set lo up
  ip link add eth0 type veth peer name uplink
  ip addr add 192.168.7.1/24 dev eth0
  ip link set eth0 up
  ip link set uplink up
  ip route add default dev eth0
  echo 1 >/proc/sys/net/ipv4/ip_forward
  exec "$@"
  ;;
*)
  name=marina-test-$$
  unified=yes
  groups=''
  while IFS=: read -r _ controllers path; do
    # With version 2 at the top: further down a group has only the controllers that were passed on to it, and those with
    # processes (any service of systemd's) pass on none.
    if [ -z "$controllers" ]; then at=/sys/fs/cgroup; else at=/sys/fs/cgroup/${controllers#name=}$path; unified=''; fi
    # With version 1, the unified hierarchy that is mounted beside it plays no part.
    [ -n "$controllers" ] || [ -f "$at/cgroup.procs" ] || continue
    # What runs left that were killed together with this script.
    for old in "$at"/marina-test-*; do
      if [ -d "$old" ] && [ ! -d "/proc/${old##*-}" ]; then find "$old" -depth -type d -exec rmdir {} + || true; fi
    done
    [ -n "$controllers" ] || pass_on "$at"
    mkdir "$at/$name" 2>/dev/null || continue
    groups="$groups $at/$name"
    for f in cpuset.cpus cpuset.mems; do
      if [ -f "$at/$f" ] && [ -f "$at/$name/$f" ]; then cat "$at/$f" >"$at/$name/$f" || true; fi
    done
  done </proc/self/cgroup
  unified=${unified:+${groups# }}
  # The machine is a child, so that the groups can be removed when it has ended. TERM comes when the test is killed.
  (
    pid=$(sh -c 'echo $PPID')
    # With version 2 this process stays outside of the machine's group: inside it could not be seen and not be moved, and a
    # group with a process passes on no controllers.
    if [ -n "$unified" ]; then
      mkdir "$unified/outside"
      echo "$pid" >"$unified/outside/cgroup.procs"
    else
      for g in $groups; do echo "$pid" >"$g/cgroup.procs"; done
    fi
    MARINA_TEST_UNIFIED=$unified exec setpriv --pdeathsig KILL \
      unshare --mount --net --pid --ipc --uts --fork --kill-child --mount-proc sh "$0" inside "$@"
  ) &
  machine=$!
  trap 'kill -KILL $machine' TERM
  status=0
  wait $machine || status=$?
  wait $machine 2>/dev/null || true
  for g in $groups; do
    for try in $(seq 25); do
      find "$g" -depth -type d -exec rmdir {} + 2>/dev/null && break
      sleep 0.2
    done
  done
  exit $status
  ;;
esac

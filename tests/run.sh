#!/bin/bash
# Runs the tests of the workspace and prints one line for each level of tests.
#
# Tests that need root, containerd, kubectl or another tool say so and are skipped where it is missing; with CI=true
# they fail instead. The programs of the tests with processes are built first, with the same profile.
set -euo pipefail
cd "$(dirname "$0")/.."
source tests/build.sh
log=$target/test.log
status=0
cargo test --locked --workspace --no-fail-fast "$@" 2>&1 | tee "$log" || status=$?

awk '
  function level_of(path) {
    if (path ~ /\/tests\/(scenarios|world|isolation)\//) return "world"
    if (path ~ /\/tests\/sim\//) return "simulation"
    if (path ~ /\/tests\/(e2e|kubelet|durability|clients|bench)\//) return "processes"
    return "beside the code"
  }
  FILENAME == ARGV[1] {
    if (!match($0, /"manifest_path":"[^"]*"/)) next
    manifest = substr($0, RSTART, RLENGTH)
    if (!match($0, /"executable":"[^"]*"/)) next
    program = substr($0, RSTART + 14, RLENGTH - 15)
    sub(/.*\//, "", program)
    level[program] = level_of(manifest)
    next
  }
  /^ +Running / { program = $NF; gsub(/[()]/, "", program); sub(/.*\//, "", program) }
  /^ +Doc-tests / { program = "" }
  /^test result:/ {
    l = (program in level) ? level[program] : "beside the code"
    passed[l] += $4; failed[l] += $6; p += $4; f += $6
  }
  END {
    n = split("beside the code,world,simulation,processes", order, ",")
    for (i = 1; i <= n; i++) printf "level %-16s %5d passed, %d failed\n", order[i] ":", passed[order[i]], failed[order[i]]
    printf "total: %d passed, %d failed\n", p, f
  }' "$artifacts" "$log"
exit $status

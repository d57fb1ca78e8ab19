#!/bin/bash
# Runs the benchmarks on a release build and prints their tables. `run.sh --quick` does a tenth of the work;
# `run.sh store clusters` runs these two. `pods` needs a cluster with real nodes, so it makes one and deletes it again.
set -euo pipefail
cd "$(dirname "$0")/../.."
eval "$(deploy/dev/rocksdb.sh)"
target=${CARGO_TARGET_DIR:-$PWD/target}
which=() options=()
for word in "$@"; do
  case $word in -*) options+=("$word") ;; *) which+=("$word") ;; esac
done
cargo build --locked --release --package bench --package marinad --package marina --package marina-node
if [ ${#which[@]} = 0 ]; then
  for source in tests/bench/src/bin/*; do which+=("$(basename "$source" .rs)"); done
fi

pods() {
  if [ "$(id -u)" != 0 ]; then echo "pods: skipped, machines need root"; return; fi
  if ! "$target/release/marina" cluster list >/dev/null 2>&1; then
    echo "pods: skipped, Marina is not up (make up)"
    return
  fi
  local name=bench-$$ file
  file=$(mktemp)
  # shellcheck disable=SC2064
  trap "'$target/release/marina' cluster delete $name --yes >/dev/null 2>&1; rm -f '$file'" RETURN
  "$target/release/marina" cluster create "$name"
  "$target/release/marina" node-pool create "$name" web --nodes 3
  "$target/release/marina" kubeconfig "$name" --embed >"$file"
  "$target/release/pods" --kubeconfig "$file" "${options[@]}"
}

for name in "${which[@]}"; do
  echo
  if [ "$name" = pods ]; then pods; else "$target/release/$name" "${options[@]}"; fi
done

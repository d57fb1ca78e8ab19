#!/bin/bash
# Installs what is missing, builds, starts `marinad dev` in the background, and prints what to do next.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=$PWD
PATH=$PATH:/usr/sbin:/sbin

step() { printf '\n== %s\n' "$*"; }

command -v cargo >/dev/null || { echo "Marina needs the Rust toolchain (rustup)." >&2; exit 1; }
if [ "$(id -u)" = 0 ]; then deploy/dev/packages.sh machines; else deploy/dev/packages.sh build; fi

step "building (25 to 40 minutes from nothing on 2 cores, seconds after that)"
eval "$(deploy/dev/rocksdb.sh)"
cargo build --locked --release --package marinad --package marina --package marina-node
target=${CARGO_TARGET_DIR:-$here/target}
mkdir -p bin
for program in marinad marina marina-node; do
  # A running program cannot be written to, but its name can be given to another file.
  cmp -s "$target/release/$program" "bin/$program" && continue
  cp "$target/release/$program" "bin/$program.new"
  mv "bin/$program.new" "bin/$program"
done

if [ "$(id -u)" = 0 ]; then
  state=${MARINA_STATE_DIR:-/var/lib/marina}
  step "building the node image (once, and again when marina-node changes)"
  bin/marinad node-image --state-dir "$state"
else
  state=${MARINA_STATE_DIR:-$HOME/.local/state/marina}
fi

step "starting"
mkdir -p -m 700 "$state"
log=$state/marinad.log
if ! flock --nonblock "$state/marinad.pid" true 2>/dev/null; then
  echo "Marina is up already (process $(cat "$state/marinad.pid"))."
else
  [ ! -s "$log" ] || mv "$log" "$log.1"
  MARINA_STATE_DIR=$state setsid --fork bin/marinad dev ${MARINAD_OPTIONS:-} >"$log" 2>&1 </dev/null
  for _ in $(seq 1 600); do
    grep -qx ready "$log" 2>/dev/null && break
    if grep -q '^error:' "$log" 2>/dev/null; then tail -5 "$log" >&2; exit 1; fi
    sleep 0.1
  done
  grep -qx ready "$log" || { echo "Marina does not come up; see $log" >&2; exit 1; }
  echo "Marina is up (log: $log)."
fi

pool="--nodes 3"
cat <<TEXT

Next:
    export PATH=$here/bin:\$PATH
    marina cluster create shop
    marina node-pool create shop web $pool
    marina kubeconfig shop --merge
    kubectl get nodes -o wide
    kubectl apply -f deploy/examples/shop.yaml
TEXT
[ "$(id -u)" = 0 ] || echo "You are not root: clusters get simulated machines (--cloud sim)."
command -v kubectl >/dev/null || echo "There is no kubectl here yet: any version from 1.27 on will do."

# Builds every test and program of the workspace, and the node image that tests of machines need. For `source`, from the
# repository's root.
#
# Sets: $target, where cargo builds; $artifacts, cargo's JSON messages, which say to which package a test program belongs;
# MARINA_BIN_DIR and MARINA_IMAGE_DIR.
if [ "$(id -u)" = 0 ]; then deploy/dev/packages.sh test; else deploy/dev/packages.sh build; fi
eval "$(deploy/dev/rocksdb.sh)"
target=${CARGO_TARGET_DIR:-$PWD/target}
artifacts=$target/test-artifacts.json

cargo test --locked --workspace --no-run
cargo build --locked --workspace --bins
export MARINA_BIN_DIR=$target/debug
if [ "$(id -u)" = 0 ]; then
  # containerd 2 comes out of the node image: tests of the kubelet use it on this host, tests of sessions boot it.
  export MARINA_IMAGE_DIR=$target/debug/e2e-images
  "$target/debug/marinad" node-image --state-dir "$target/debug/e2e-state"
fi
cargo test --locked --workspace --no-run --message-format json 2>/dev/null >"$artifacts"

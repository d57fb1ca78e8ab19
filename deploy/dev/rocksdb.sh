#!/bin/bash
# Builds RocksDB once, for every profile and target directory, and prints where it is.
#
# It is most of a cold build (343 files of C++), and cargo would build it again for each profile. So it is built here,
# optimised, into a cache outside of target/; cargo finds it by ROCKSDB_LIB_DIR. A plain `cargo build` without that
# variable works too and builds its own.
#
#   eval "$(deploy/dev/rocksdb.sh)"
set -euo pipefail
cd "$(dirname "$0")/../.."

if [ -n "${ROCKSDB_LIB_DIR:-}" ]; then
  lib=$ROCKSDB_LIB_DIR
else
  version=$(awk '/^name = "librocksdb-sys"/ { getline; gsub(/"/, "", $3); print $3 }' Cargo.lock)
  lib=${CARGO_TARGET_DIR:-$PWD/target}/rocksdb-${version//+/_}
  mkdir -p "$lib"
  exec 9>"$lib/.lock"
  flock 9
  if [ ! -e "$lib/librocksdb.a" ]; then
    build=$lib/build
    echo "building RocksDB once (10 to 20 minutes on 2 cores)" >&2
    cargo build --locked --release --package librocksdb-sys --target-dir "$build" >"$lib/log" 2>&1 9>&- &
    cargo=$!
    trap 'kill $cargo 2>/dev/null' EXIT
    while kill -0 $cargo 2>/dev/null; do
      sleep 15 9>&-
      done=$(find "$build" -path '*librocksdb-sys*' -name '*.o' 2>/dev/null | wc -l)
      echo "  RocksDB: $done files of about 350" >&2
    done
    wait $cargo || { tail -30 "$lib/log" >&2; exit 1; }
    trap - EXIT
    built=$(find "$build" -name librocksdb.a | head -1)
    [ -n "$built" ] || { echo "rocksdb.sh: no librocksdb.a came out of the build" >&2; exit 1; }
    mv "$built" "$lib/librocksdb.a"
    rm -rf "$build" "$lib/log"
  fi
fi
echo "export ROCKSDB_LIB_DIR='$lib' ROCKSDB_STATIC=1"

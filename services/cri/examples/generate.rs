//! Writes `src/generated/runtime.v1.rs` from `proto/runtime.v1.proto`.
//!
//! The result is committed, so that building needs neither protoc nor the network:
//! `cargo run -p cri --features generate --example generate`, then `cargo fmt -p cri`.

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = protox::compile(["runtime.v1.proto"], [root.join("proto")])?;
    let out = root.join("src/generated");
    std::fs::create_dir_all(&out)?;
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(true)
        .out_dir(&out)
        .compile_fds(files)?;
    Ok(())
}

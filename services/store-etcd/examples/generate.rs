//! Writes the code of `proto/*.proto` into the folder that is given (`src/proto` to bring the committed code up to
//! date). Needs no protoc: protox compiles the files.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = std::env::args().nth(1).ok_or("usage: generate FOLDER")?;
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = protox::compile(["rpc.proto"], [here.join("proto")])?;
    tonic_prost_build::configure()
        .bytes(".")
        .out_dir(out)
        .compile_fds(files)?;
    Ok(())
}

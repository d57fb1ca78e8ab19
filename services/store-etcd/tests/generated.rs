//! The committed code is what the protocol files say.

use std::path::Path;

#[test]
fn the_generated_code_is_current() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = protox::compile(["rpc.proto"], [here.join("proto")]).unwrap();
    let out = tempfile::tempdir().unwrap();
    tonic_prost_build::configure()
        .bytes(".")
        .out_dir(out.path())
        .compile_fds(files)
        .unwrap();
    for file in ["etcdserverpb.rs", "mvccpb.rs"] {
        let fresh = std::fs::read_to_string(out.path().join(file)).unwrap();
        let committed = std::fs::read_to_string(here.join("src/proto").join(file)).unwrap();
        assert!(
            fresh == committed,
            "{file}: run `cargo run -p store-etcd --example generate -- services/store-etcd/src/proto`"
        );
    }
}

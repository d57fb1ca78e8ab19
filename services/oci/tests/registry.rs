//! What a node sees of the registry.

use base::Shutdown;
use oci::{Registry, Store, load_archive, seeds, write_archive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn get(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream
        .write_all(format!("GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_seed_image_is_pulled_by_the_name_of_its_own_registry_and_unknown_ones_are_404() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    seeds::install(&store, None).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = Shutdown::new();
    let service = tokio::spawn(Registry::new(store.clone()).run(listener, shutdown.clone()));

    let manifest = get(address, "/v2/pause/manifests/3.10?ns=registry.k8s.io").await;
    assert!(manifest.starts_with("HTTP/1.0 200"), "{manifest}");
    assert!(manifest.contains("application/vnd.oci.image.manifest.v1+json"));
    let body: serde_json::Value = serde_json::from_str(manifest.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let config = body["config"]["digest"].as_str().unwrap();
    let config = get(address, &format!("/v2/pause/blobs/{config}?ns=registry.k8s.io")).await;
    assert!(config.contains("\"Entrypoint\":[\"/pause\"]"), "{config}");

    for missing in [
        "/v2/pause/manifests/9.9?ns=registry.k8s.io",
        "/v2/pause/manifests/3.10?ns=docker.io",
        "/v2/x/blobs/sha256:00",
    ] {
        let answer = get(address, missing).await;
        assert!(answer.starts_with("HTTP/1.0 40"), "{missing}: {answer}");
    }
    shutdown.trigger();
    service.await.unwrap().unwrap();
}

#[test]
fn an_archive_that_was_written_is_read_back_under_the_same_name_and_digest() {
    let dir = tempfile::tempdir().unwrap();
    let first = Store::open(&dir.path().join("a")).unwrap();
    seeds::install(&first, None).unwrap();
    let mut archive = Vec::new();
    write_archive(&first, seeds::SHOP[1], &mut archive).unwrap();
    let second = Store::open(&dir.path().join("b")).unwrap();
    assert_eq!(
        load_archive(&second, archive.as_slice(), None).unwrap(),
        [seeds::SHOP[1]]
    );
    let digest = |s: &Store| s.list().into_iter().find(|(n, _)| n == seeds::SHOP[1]).unwrap().1;
    assert_eq!(digest(&first), digest(&second));
    assert_ne!(
        first.list()[1].1,
        first.list()[2].1,
        "v1 and v2 are different images"
    );
    // What was loaded is there after a restart.
    assert_eq!(Store::open(&dir.path().join("b")).unwrap().list(), second.list());
}

#[test]
fn what_docker_saves_is_read() {
    let mut tar = tar::Builder::new(Vec::new());
    let mut put = |path: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, bytes).unwrap();
    };
    put(
        "manifest.json",
        br#"[{"Config":"c.json","RepoTags":["me/app:1"],"Layers":["l/layer.tar"]}]"#,
    );
    put("c.json", b"{}");
    put("l/layer.tar", b"layer");
    let archive = tar.into_inner().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(
        load_archive(&store, archive.as_slice(), None).unwrap(),
        ["docker.io/me/app:1"]
    );
    assert!(load_archive(&store, &b"garbage"[..], None).is_err());
}

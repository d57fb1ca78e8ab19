#[tokio::main]
async fn main() {
    cloud_local::build_node_image(&cloud_local::BuildOptions {
        image_dir: "/var/lib/marina/images".into(),
        name: String::new(),
        node_binary: std::env::args().nth(1).map(Into::into),
        seeds: vec![],
    })
    .await
    .unwrap();
    println!(
        "{:?}",
        cloud_local::node_image_busybox("/var/lib/marina/images".as_ref())
    );
}

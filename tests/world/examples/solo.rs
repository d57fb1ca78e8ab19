//! One cluster on a real socket over a memory store, for trying a real kubectl: `cargo run -p world --example solo -- KUBECONFIG [ADDRESS]`.

use apiserver::{Listener, Options};
use base::Clock;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::time::Duration;
use world::World;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    base::telemetry::init(base::telemetry::Format::Text, "info");
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("usage: solo KUBECONFIG [ADDRESS]")?;
    let address = args.next().unwrap_or_else(|| "127.0.0.1:0".into());
    let world = World::on(Clock::system(), Options::default());
    let tenant = world.cluster("solo").await;
    let socket = tokio::net::TcpListener::bind(address).await?;
    let server = format!("https://{}", socket.local_addr()?);
    let keys = &tenant.cluster.keys;
    let subject = pki::Subject::new("admin", &[auth::user::MASTERS]);
    let issued = keys.issue_client(subject, Duration::from_secs(86_400), world.clock.now())?;
    let config = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: solo\nclusters:\n- name: solo\n  cluster:\n    server: {server}\n    \
         certificate-authority-data: {}\ncontexts:\n- name: solo\n  context: {{cluster: solo, user: admin}}\nusers:\n- name: admin\n  \
         user:\n    client-certificate-data: {}\n    client-key-data: {}\n",
        STANDARD.encode(&keys.ca_pem),
        STANDARD.encode(issued.cert_pem()),
        STANDARD.encode(issued.key_pem())
    );
    std::fs::write(&path, config)?;
    println!("{server} with {path}");
    let shutdown = world.shutdown.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            shutdown.trigger();
        }
    });
    Listener::new(world.server.clone(), socket)
        .run(world.shutdown.clone())
        .await;
    Ok(())
}

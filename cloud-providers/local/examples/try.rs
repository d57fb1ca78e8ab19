use cloud_api::*;
use cloud_local::*;
#[tokio::main]
async fn main() {
    let a: Vec<String> = std::env::args().collect();
    let mut o = Options::new("/var/lib/marina");
    o.launcher = vec![
        std::path::Path::new(&a[0])
            .parent()
            .unwrap()
            .parent()
            .unwrap()
            .join("marina-machine")
            .into(),
    ];
    o.name = "try".into();
    o.network = [10, 249];
    o.state_dir = "/var/lib/marina/try".into();
    o.registry = Some("http://10.249.0.1:5000".into());
    let c = LocalCloud::open(o).unwrap();
    let i = c.instances().unwrap();
    match a[1].as_str() {
        "up" => {
            let t = std::time::Instant::now();
            let m = i
                .create(&InstanceSpec {
                    name: a[2].clone(),
                    zone: "a".into(),
                    instance_type: "medium".into(),
                    image: "".into(),
                    user_data: a.get(3).map(|s| s.clone().into_bytes()).unwrap_or_default(),
                    tags: Tags::new(),
                    token: a[2].as_str().into(),
                })
                .await
                .unwrap();
            println!("{m:?} {:?}", t.elapsed());
        }
        "ls" => println!("{:#?}", i.list(&Tags::new()).await),
        "log" => println!("{}", String::from_utf8_lossy(&i.console(&a[2]).await.unwrap())),
        _ => {
            for m in i.list(&Tags::new()).await.unwrap() {
                println!("{:?}", i.terminate(&m.id).await);
            }
        }
    }
}

//! Many pods, one after the other and at once, where their image is present. How fast they start is printed and not asserted:
//! it is the machine's load as much as the kubelet's. Goals: p50 250 ms from create to Ready, 5 pods a second on one node.

use crate::shell;
use kubelet_tests::Node;
use serde_json::json;
use std::time::Instant;

const ONE_BY_ONE: usize = 10;
const AT_ONCE: usize = 20;

pub(crate) async fn many_pods_become_ready_and_go(node: &Node) {
    let spec = || json!({"containers": [shell("trap 'exit 0' TERM; while :; do sleep 1; done")]});
    let mut times = Vec::new();
    for i in 0..ONE_BY_ONE {
        let (name, started) = (format!("one-{i}"), Instant::now());
        node.run(&name, spec()).await;
        node.until_ready(&name).await;
        times.push(started.elapsed());
        node.delete(&name).await;
    }
    times.sort();
    let median = times[times.len() / 2];
    println!(
        "one by one: p50 {} ms, slowest {} ms",
        median.as_millis(),
        times[times.len() - 1].as_millis()
    );
    let started = Instant::now();
    for i in 0..AT_ONCE {
        node.run(&format!("many-{i}"), spec()).await;
    }
    for i in 0..AT_ONCE {
        node.until_ready(&format!("many-{i}")).await;
    }
    let rate = AT_ONCE as f64 / started.elapsed().as_secs_f64();
    println!("{AT_ONCE} at once: {rate:.1} pods/s");
    futures::future::join_all((0..AT_ONCE).map(|i| async move { node.delete(&format!("many-{i}")).await }))
        .await;
}

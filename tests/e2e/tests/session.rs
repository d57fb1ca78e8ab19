//! A user's session, from the first cluster to its deletion, with every kubectl at hand.

use e2e::{Leftovers, World, get, wait_for};
use std::path::Path;
use std::time::Duration;

const SHOP: &str = include_str!("../../../deploy/examples/shop.yaml");
/// How long anything that should take seconds may take on a busy machine, or one that is emulated.
const PATIENCE: Duration = Duration::from_secs(240);

#[test]
fn a_session_works_from_the_first_cluster_to_its_deletion() {
    let kubectls = needs::kubectls();
    if kubectls.is_empty() {
        return;
    }
    let Some(mut world) = World::start(1) else { return };
    world.marina("cluster create shop --cloud local").run();
    world.marina("kubeconfig shop --merge").run();
    let pool = world
        .marina("node-pool create shop web --nodes 3")
        .limit(300)
        .run();
    assert_eq!(pool.matches(" Ready ").count(), 3, "{pool}");

    for kubectl in &kubectls {
        eprintln!("with {}", kubectl.display());
        session(&world, kubectl);
    }

    world.marina("cluster delete shop --yes").limit(300).run();
    let left = world.leftovers();
    let machines: Vec<_> = left.iter().filter(|l| l.starts_with("process")).collect();
    assert!(machines.is_empty(), "after the cluster's deletion: {machines:?}");
    world.down();
    assert_eq!(world.leftovers(), Leftovers::new(), "after marinad down");
}

/// Everything that a user does inside a cluster; afterwards it is as empty as before.
fn session(world: &World, kubectl: &Path) {
    let run = |line: &str| {
        let args: Vec<&str> = line.split_whitespace().collect();
        world.kubectl(kubectl, &args).run()
    };
    let contains = |line: &str, expected: &str| {
        let output = run(line);
        assert!(
            output.contains(expected),
            "kubectl {line}: {expected:?} is not in\n{output}"
        );
    };

    let nodes = run("get nodes -o wide");
    assert_eq!(nodes.matches(" Ready ").count(), 3, "{nodes}");
    assert_eq!(nodes.matches("containerd://2.").count(), 3, "{nodes}");

    // The shop, reachable from the host.
    let file = world.file("shop.yaml", SHOP);
    run(&format!("apply -f {}", file.display()));
    contains(
        "rollout status deploy/shop --timeout 240s",
        "successfully rolled out",
    );
    let address = wait_for("the load balancer's address", PATIENCE, || {
        let ip = run("get svc shop -o jsonpath={.status.loadBalancer.ingress[0].ip}");
        (!ip.is_empty()).then(|| format!("{ip}:80"))
    });
    let page = wait_for("the page behind the load balancer", PATIENCE, || {
        get(&address, "/")
    });
    for part in ["shop v1", "Fresh from the cluster", "secret api-key: 14 bytes"] {
        assert!(page.contains(part), "{page}");
    }
    run("wait --for=condition=complete job/shop-check --timeout 240s");
    contains("logs job/shop-check", "shop v1");
    let spread = run("get pods -l app=shop -o jsonpath={.items[*].spec.nodeName}");
    let nodes: std::collections::BTreeSet<_> = spread.split(' ').collect();
    assert_eq!(nodes.len(), 3, "one in each zone: {spread}");

    inside(world, kubectl, &run, &contains);

    // Changes, and back.
    run("scale deploy/shop --replicas 5");
    contains(
        "rollout status deploy/shop --timeout 240s",
        "successfully rolled out",
    );
    run("set image deploy/shop shop=marina.local/shop:v2");
    contains(
        "rollout status deploy/shop --timeout 240s",
        "successfully rolled out",
    );
    wait_for("the second version", PATIENCE, || {
        get(&address, "/version").filter(|v| v == "v2\n")
    });
    run("rollout undo deploy/shop");
    contains(
        "rollout status deploy/shop --timeout 240s",
        "successfully rolled out",
    );
    wait_for("the first version again", PATIENCE, || {
        get(&address, "/version").filter(|v| v == "v1\n")
    });
    contains("rollout history deploy/shop", "REVISION");

    // Looking.
    contains("describe deploy shop", "ScalingReplicaSet");
    contains("describe node web-1", "KubeletReady");
    contains("explain pod.spec.containers.image", "image");
    contains("auth can-i create deployments", "yes");
    assert_eq!(run("create token default").split('.').count(), 3);
    contains("get events", "Scheduled");
    contains("api-resources", "deployments");

    // A node is emptied, and the shop lives on.
    run("drain web-1 --ignore-daemonsets --delete-emptydir-data --timeout 240s");
    contains(
        "rollout status deploy/shop --timeout 240s",
        "successfully rolled out",
    );
    let there = run("get pods -l app=shop -o jsonpath={.items[*].spec.nodeName}");
    assert!(!there.contains("web-1"), "{there}");
    assert!(
        get(&address, "/").is_some(),
        "the shop does not answer while a node is drained"
    );
    run("uncordon web-1");

    run(&format!("delete -f {} --timeout 240s", file.display()));
    wait_for("an empty namespace", PATIENCE, || {
        (run("get pods,svc -o name").trim() == "service/kubernetes").then_some(())
    });
}

/// Into a pod and out again.
fn inside(world: &World, kubectl: &Path, run: &dyn Fn(&str) -> String, contains: &dyn Fn(&str, &str)) {
    contains("logs deploy/shop", "shop v1 listens on 8080");
    let pod = run("get pods -l app=shop -o jsonpath={.items[0].metadata.name}");
    contains(&format!("exec {pod} -- wget -qO- http://shop/version"), "v1");
    contains(
        &format!("exec {pod} -- wget -qO- http://shop.default.svc.cluster.local/version"),
        "v1",
    );
    contains(
        &format!("exec {pod} -- nslookup kubernetes.default.svc.cluster.local"),
        "10.96.0.1",
    );
    let typed = world
        .kubectl(kubectl, &["exec", "-i", &pod, "--", "cat"])
        .input("typed by a user\n")
        .run();
    assert_eq!(typed, "typed by a user\n");
    let failed = world
        .kubectl(kubectl, &["exec", &pod, "--", "sh", "-c", "exit 7"])
        .try_run();
    assert!(
        failed.is_err_and(|e| e.contains("exit code 7")),
        "the exit code comes back"
    );

    let here = world.file("here.txt", "carried over\n");
    run(&format!("cp {} {pod}:/tmp/there.txt", here.display()));
    contains(&format!("exec {pod} -- cat /tmp/there.txt"), "carried over");
    let back = world.file("back.txt", "");
    run(&format!("cp {pod}:/tmp/there.txt {}", back.display()));
    assert_eq!(std::fs::read_to_string(back).unwrap(), "carried over\n");

    let forward = world
        .kubectl(kubectl, &["port-forward", "svc/shop", ":80"])
        .start();
    let local = forward
        .first_line()
        .split_whitespace()
        .find(|w| w.starts_with("127.0.0.1:"))
        .unwrap_or_else(|| panic!("port-forward printed {:?}", forward.first_line()))
        .to_owned();
    assert_eq!(get(&local, "/version").as_deref(), Some("v1\n"));
    drop(forward);

    // Another pod, started by hand, reaches the Service and the API server. It waits for a line, so that kubectl is attached.
    let said = world
        .kubectl(
            kubectl,
            &[
                "run",
                "visitor",
                "-i",
                "--rm",
                "--restart=Never",
                "--image=docker.io/library/busybox:latest",
                "--image-pull-policy=IfNotPresent",
                "--",
                "sh",
                "-c",
                "read go; wget -qO- http://shop/version; echo | nc -w 3 kubernetes.default 443 >/dev/null && echo reached",
            ],
        )
        .input("go\n")
        .run();
    assert!(said.contains("v1") && said.contains("reached"), "{said}");
}

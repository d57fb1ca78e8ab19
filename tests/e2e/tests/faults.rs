//! What users must not notice: the service is killed, a machine is destroyed.

use e2e::{Leftovers, World, get, wait_for};
use std::time::Duration;

const SHOP: &str = include_str!("../../../deploy/examples/shop.yaml");
const PATIENCE: Duration = Duration::from_secs(90);

#[test]
fn pods_outlive_a_killed_service_a_destroyed_machine_is_replaced_and_nothing_is_left_behind() {
    let kubectls = needs::kubectls();
    let Some(kubectl) = kubectls.first() else { return };
    let Some(mut world) = World::start(2) else { return };
    world.marina("cluster create shop --cloud local").run();
    world.marina("kubeconfig shop --merge").run();
    world
        .marina("node-pool create shop web --nodes 3")
        .limit(120)
        .run();
    let file = world.file("shop.yaml", SHOP);
    let run = |world: &World, line: &str| {
        let args: Vec<&str> = line.split_whitespace().collect();
        world.kubectl(kubectl, &args).run()
    };
    run(&world, &format!("apply -f {}", file.display()));
    run(&world, "rollout status deploy/shop --timeout 60s");
    let pods = "get pods -l app=shop --sort-by .metadata.name -o \
                jsonpath={range.items[*]}{.metadata.uid}{.status.containerStatuses[0].containerID}{end}";
    let before = run(&world, pods);
    let inits: Vec<_> = ["web-1", "web-2", "web-3"].map(|n| world.init_of(n)).into();
    assert!(inits.iter().all(Option::is_some), "{inits:?}");
    let port = run(&world, "get svc shop -o jsonpath={.spec.ports[0].nodePort}");
    let address = run(
        &world,
        "get nodes web-1 -o jsonpath={.status.addresses[0].address}",
    );
    let node_port = format!("{address}:{port}");
    wait_for("the node port", PATIENCE, || get(&node_port, "/"));

    // No service: nodes, pods and Services go on.
    world.kill();
    for _ in 0..5 {
        let page = get(&node_port, "/").expect("the pods answer while the service is gone");
        assert!(page.contains("shop v1"), "{page}");
    }
    world.up();
    wait_for("three Ready nodes again", PATIENCE, || {
        let nodes = run(&world, "get nodes");
        (nodes.matches(" Ready ").count() == 3).then_some(())
    });
    assert_eq!(
        run(&world, pods),
        before,
        "the same pods with the same containers"
    );
    assert_eq!(
        ["web-1", "web-2", "web-3"].map(|n| world.init_of(n)).to_vec(),
        inits,
        "the same machines"
    );
    // The tunnels are back as well: exec needs them.
    wait_for("exec through the tunnel", PATIENCE, || {
        world
            .kubectl(kubectl, &["exec", "deploy/shop", "--", "hostname"])
            .try_run()
            .ok()
    });

    // A machine dies without a word: its pods run elsewhere, and the pool makes another machine.
    let places = "get pods -l app=shop -o wide --no-headers";
    let placed = run(&world, places);
    assert!(placed.contains(" web-2 "), "{placed}");
    let doomed = nix::unistd::Pid::from_raw(inits[1].unwrap());
    nix::sys::signal::kill(doomed, nix::sys::signal::Signal::SIGKILL).unwrap();
    wait_for("another machine instead of the destroyed one", PATIENCE, || {
        let nodes = run(&world, "get nodes");
        let ready = nodes.matches(" Ready ").count() == 3;
        (ready && !nodes.contains("web-2 ") && nodes.contains("web-4")).then_some(())
    });
    // Young pods are left in peace for 40 s after their creation; then others take their places.
    wait_for("the dead machine's pods elsewhere", PATIENCE, || {
        let now = run(&world, places);
        let running = |line: &&str| line.contains(" 1/1 ") && line.contains(" Running ");
        let all = now.lines().filter(running).count() == placed.lines().count();
        (all && now.lines().count() == placed.lines().count() && !now.contains(" web-2 ")).then_some(())
    });
    // Killed in the middle of it all, and taken down: nothing is left.
    world.kill();
    world.down();
    assert_eq!(world.leftovers(), Leftovers::new());
}

//! Pods on a real containerd. Needs root; see `kubelet_tests::enter` for what is skipped and when.

mod config;
mod life;
mod limits;
mod reach;
mod speed;

use kubelet_tests::{Case, Node, run};
use std::process::ExitCode;

/// Makes a case of an async function; its name is the function's.
macro_rules! cases {
    ($($module:ident :: $name:ident),* $(,)?) => {
        vec![$(Case { name: stringify!($name), run: |node| Box::pin(async move { $module::$name(&node).await }) }),*]
    };
}

fn together() -> Vec<Case<Node>> {
    cases![
        life::a_container_that_is_killed_is_started_again,
        life::a_pod_that_never_restarts_ends_with_its_exit_code,
        life::init_containers_run_in_order_and_sidecars_go_on,
        life::a_deleted_pod_gets_its_hook_its_signal_and_its_grace_period,
        life::a_pod_that_ignores_its_signal_is_killed_after_its_grace_period,
        life::a_static_pod_runs_and_is_shown_by_a_mirror_pod,
        life::a_missing_image_is_an_error_that_can_be_seen,
        config::a_container_sees_configuration_secrets_and_itself,
        config::environment_limits_and_users_are_what_the_spec_says,
        config::a_missing_config_map_holds_the_container_until_it_comes,
        limits::limits_stand_in_the_groups_of_a_pod_and_of_its_container,
        limits::a_container_that_takes_more_memory_than_its_limit_is_killed,
        limits::a_container_that_wants_more_cpu_than_its_limit_is_held_back_and_seen,
        reach::logs_can_be_read_by_tail_and_of_the_previous_container,
        reach::a_command_in_a_container_has_its_streams_and_exit_code,
        reach::probes_decide_readiness_and_restarts,
        reach::pods_reach_each_other_and_are_probed_by_http,
        reach::the_kubelet_tells_of_its_pods_and_itself,
    ]
}

fn alone() -> Vec<Case<Node>> {
    cases![
        life::a_pod_that_is_deleted_while_it_starts_goes,
        life::a_restarted_kubelet_takes_its_pods_over,
        speed::many_pods_become_ready_and_go,
    ]
}

fn main() -> ExitCode {
    run(
        || base::telemetry::init(base::telemetry::Format::Text, "warn"),
        together(),
        alone(),
    )
}

/// A container `c` of busybox that runs a script.
fn shell(script: &str) -> serde_json::Value {
    serde_json::json!({"name": "c", "image": "busybox:1.36", "command": ["sh", "-c", script]})
}

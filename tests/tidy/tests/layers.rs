//! The layers of the design: a crate depends on lower layers, or on crates that stand to its left in its own layer.
//!
//! A crate's layer stands in its manifest (`[package.metadata.marina] layer = n`); the order inside a layer stands here.

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};
use std::collections::HashMap;

/// Crates in the order of their layers. A crate may use what stands in a lower line, or to its left in its own line
/// if the line is marked so.
const ORDER: &[(u64, Inside, &[&str])] = &[
    (0, Inside::LeftToRight, &["base", "needs", "collector"]),
    (1, Inside::LeftToRight, &["telemetry", "machinery", "api"]),
    (
        2,
        Inside::LeftToRight,
        &[
            "store-api",
            "store-mem",
            "service-api",
            "cloud-api",
            "pki",
            "kinds",
            "cri",
        ],
    ),
    (
        3,
        Inside::LeftToRight,
        &[
            "client",
            "runtime",
            "scheduling",
            "auth",
            "streams",
            "tunnel",
            "oci",
            "fake-node",
            "oci",
        ],
    ),
    (
        4,
        Inside::OnlyStores,
        &[
            "store-rocks",
            "store-raft",
            "store-etcd",
            "etcd-door",
            "apiserver",
            "scheduler",
            "controllers",
            "cloud-controllers",
            "kubelet",
            "kube-proxy",
            "node-network",
            "provider",
            "cloud-local",
            "cloud-sim",
        ],
    ),
    (5, Inside::LeftToRight, &["marinad", "marina-node", "marina"]),
];

/// What crates of one layer may do with each other.
#[derive(Clone, Copy, PartialEq)]
enum Inside {
    /// A crate may use those to its left.
    LeftToRight,
    /// Parts never depend on one another; only the stores build on each other.
    OnlyStores,
}

fn metadata() -> Metadata {
    MetadataCommand::new()
        .no_deps()
        .other_options(["--offline".to_owned()])
        .exec()
        .expect("cargo metadata works")
}

fn layer(package: &Package) -> Option<u64> {
    package.metadata["marina"]["layer"].as_u64()
}

#[test]
fn no_crate_reaches_up() {
    let metadata = metadata();
    let layers: HashMap<&str, u64> = metadata
        .packages
        .iter()
        .filter_map(|p| Some((p.name.as_str(), layer(p)?)))
        .collect();
    let mut wrong = Vec::new();
    for package in &metadata.packages {
        let name = package.name.as_str();
        let Some(mine) = layer(package) else {
            wrong.push(format!("{name} says no layer in its manifest"));
            continue;
        };
        for dependency in &package.dependencies {
            let Some(&theirs) = layers.get(dependency.name.as_str()) else {
                continue;
            };
            if theirs > mine || (theirs == mine && mine < 6 && !allowed_inside(mine, name, &dependency.name))
            {
                let other = &dependency.name;
                wrong.push(format!(
                    "{name} (layer {mine}) may not depend on {other} (layer {theirs})"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a test needs of its machine, and what it collects, is no concern of a program.
#[test]
fn only_tests_use_what_is_made_for_tests() {
    for package in metadata().packages {
        let of_tests = |name: &str| matches!(name, "needs" | "collector");
        let used = package.dependencies.iter().filter(|d| of_tests(&d.name));
        for d in used {
            let fine = d.kind == DependencyKind::Development || layer(&package) == Some(6);
            assert!(fine, "{} may use {} in its tests alone", package.name, d.name);
        }
    }
}

fn allowed_inside(layer: u64, user: &str, used: &str) -> bool {
    let Some((_, inside, order)) = ORDER.iter().find(|(n, ..)| *n == layer) else {
        return false;
    };
    let place = |name: &str| order.iter().position(|n| *n == name);
    let left = matches!((place(used), place(user)), (Some(used), Some(user)) if used < user);
    let stores = |name: &str| name.starts_with("store-") || name == "etcd-door";
    left && (*inside == Inside::LeftToRight || (stores(user) && stores(used)))
}

#[test]
fn the_order_names_every_crate_in_its_layer() {
    for package in &metadata().packages {
        let Some(mine) = layer(package) else { continue };
        if mine == 6 {
            continue;
        }
        let name = package.name.as_str();
        let there = ORDER
            .iter()
            .any(|(n, _, order)| *n == mine && order.contains(&name));
        assert!(
            there,
            "{name} says layer {mine}; put it into the list of tests/tidy/tests/layers.rs"
        );
    }
}

#[test]
fn only_their_own_crates_link_rocksdb_and_openraft() {
    for package in &metadata().packages {
        for dependency in &package.dependencies {
            let owner = match dependency.name.as_str() {
                "rocksdb" => "store-rocks",
                "openraft" => "store-raft",
                _ => continue,
            };
            assert_eq!(
                package.name.as_str(),
                owner,
                "{} is used through {owner} alone",
                dependency.name
            );
        }
    }
}

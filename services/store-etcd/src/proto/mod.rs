//! etcd's v3 protocol: generated code, brought up to date by `examples/generate.rs`.

#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated")]

pub mod etcdserverpb;
pub mod mvccpb;

//! The network plugin by itself, for tests and for nodes that run another kubelet; `marina-node` is the same under this call.

fn main() -> std::process::ExitCode {
    node_network::cni::main()
}

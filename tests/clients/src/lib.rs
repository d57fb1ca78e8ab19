//! A whole cluster in process behind a real socket, for clients that others wrote.
//!
//! API server, controllers, scheduler and three fake nodes run in this process; the client is a program of its own and
//! has nothing but a kubeconfig. What it says and what it leaves behind is the result.

mod plane;
mod program;

pub use plane::Plane;
pub use program::{Said, run};

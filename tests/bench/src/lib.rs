//! What the benchmarks share: a server of their own, CPU time, memory, latencies, and the table that they print.
//!
//! One binary for each figure, in `src/bin`. Each prints a table "figure | ours | reference"; `--json` prints the same
//! as one JSON document, `--quick` does a tenth of the work (to see that it runs; not to be published). Build with
//! `--release`; a debug build says so in its output. The reference is what upstream's own binaries do on a machine with
//! the same two cores, client and server together; its numbers were measured once and stand beside the figure.
//!
//! ```no_run
//! # async fn put() {}
//! # async fn example() {
//! let mut report = bench::Report::from_args("store");
//! let load = bench::run(64, report.scale(20_000), |_| async { put().await; true }).await;
//! report.add("put 1 KiB, 64 clients", load.summary(), "9,085/s");
//! report.print();
//! # }
//! ```

mod door;
mod load;
mod report;
mod server;
mod usage;

pub use door::{Call, Door, JSON, MERGE, PROTOBUF, STRATEGIC};
pub use load::{Histogram, Load, run};
pub use report::{Args, Figure, Report, per_second};
pub use server::{Access, Http, Server};
pub use usage::{Usage, cpu_of, resident_of};

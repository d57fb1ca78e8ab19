//! A group of three store members in one thread, on a simulated network and simulated disks, in simulated time.
//!
//! One seed decides the faults, the delays, the clients and Raft's own random times. [`run`] breaks members for a
//! while, takes the power from all of them at once, heals everything, and then compares what clients and watchers saw
//! with the history that survived. The program beside this library makes a run the same each time.
//!
//! What is not simulated: messages that arrive twice (members talk over TCP, and a request is sent once), and bytes
//! that rot on a disk (each record has a checksum; `store-rocks` tests it).

mod disk;
mod history;
mod net;
mod world;

pub use disk::Fault;
pub use world::{Report, run};

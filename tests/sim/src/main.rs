//! `sim SEED [--acknowledge-before-sync]`: one run in a process of its own, the same whenever the seed is the same.
//!
//! A process of its own, because the order in which tokio wakes those who wait for one value comes from a number that
//! the runtime asks the system for. Here the system's random numbers are a fixed sequence: this program has a
//! `getrandom` of its own, which the standard library prefers (it looks the symbol up weakly, for this purpose).
//! Rejected: tokio's `rng_seed`, which needs every crate to be built with `tokio_unstable`.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

static RANDOM: AtomicU64 = AtomicU64::new(0);

/// Stands in for the C library's function of this name; fills the buffer with the next numbers of the sequence.
#[allow(
    unsafe_code,
    reason = "a symbol of the C library is replaced, and it takes a raw buffer"
)]
// SAFETY: no other function of this name is defined in this program; the C library's may be interposed.
#[unsafe(no_mangle)]
extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    for at in 0..length {
        let n = RANDOM.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // SAFETY: the caller gives a buffer of `length` bytes that it may write to, as for the C library's function.
        unsafe { buffer.add(at).write((mixed >> 56) as u8) };
    }
    isize::try_from(length).unwrap_or(isize::MAX)
}

fn main() -> ExitCode {
    let mut fault = sim::Fault::None;
    let mut seed = None;
    for word in std::env::args().skip(1) {
        match word.as_str() {
            "--acknowledge-before-sync" => fault = sim::Fault::AcknowledgesBeforeSync,
            number => seed = number.parse().ok(),
        }
    }
    let Some(seed) = seed else {
        eprintln!("usage: sim SEED [--acknowledge-before-sync]");
        return ExitCode::from(2);
    };
    match sim::run(seed, fault) {
        Ok(report) => {
            println!("seed {seed}: {report}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("seed {seed}: {why}");
            ExitCode::FAILURE
        }
    }
}

//! The first process of a pod's sandbox: holds its namespaces, reaps what is left to it, and ends when told to.

use std::ffi::c_int;

const SIGINT: c_int = 2;
const SIGTERM: c_int = 15;
const SIGCHLD: c_int = 17;
/// `SIG_IGN` of signal(7): children are then reaped by the kernel.
const IGNORE: usize = 1;

unsafe extern "C" {
    fn signal(number: c_int, handler: usize) -> usize;
    fn pause() -> c_int;
    fn _exit(code: c_int) -> !;
}

extern "C" fn end(_signal: c_int) {
    // SAFETY: _exit is async-signal-safe and does not return.
    unsafe { _exit(0) }
}

fn main() {
    let end: extern "C" fn(c_int) = end;
    // SAFETY: the handler is a function of the right type that lives for ever; pause has no requirements.
    unsafe {
        signal(SIGCHLD, IGNORE);
        signal(SIGINT, end as usize);
        signal(SIGTERM, end as usize);
        loop {
            pause();
        }
    }
}

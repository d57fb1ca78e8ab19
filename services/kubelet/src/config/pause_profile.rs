//! The seccomp profile of the process that holds a pod's namespaces.
//!
//! Upstream asks for the runtime's default profile, which is about 400 system calls on three architectures; building
//! that filter took some 20 of the 67 ms of runc's call that makes a sandbox (one timeline). The pause program calls
//! `pause` and nothing else, so it gets a list of its own: what the OCI runtimes (crun, runc) do between the filter and the
//! program's first instruction, and what the program does. Smaller, thus faster **and** stricter: no sockets, no mounts, no
//! tracing, no keys, no eBPF. Rejected: no filter at all, which is as fast.

use crate::names::Paths;
use serde_json::json;
use std::path::PathBuf;

/// Go's runtime in `runc init`, its last steps (descriptors, capabilities, ids, directory, `execve`; crun's are among them),
/// then `pause`.
const ALLOWED: &str = "
    access arch_prctl brk capget capset chdir clock_getres clock_gettime clock_nanosleep clone clone3
    close close_range dup dup2 dup3 epoll_create1 epoll_ctl epoll_pwait epoll_wait eventfd2 execve
    execveat exit exit_group faccessat faccessat2 fchdir fchown fcntl fstat fstatfs futex getcwd
    getdents64 getegid geteuid getgid getgroups getpgrp getpid getppid getrandom getresgid getresuid
    getrlimit gettid getuid ioctl kill lseek lstat madvise membarrier mmap mprotect mremap munmap
    nanosleep newfstatat open openat openat2 pause pipe2 poll ppoll prctl pread64 prlimit64 read
    readlink readlinkat restart_syscall rseq rt_sigaction rt_sigprocmask rt_sigreturn rt_sigsuspend
    rt_sigtimedwait sched_getaffinity sched_yield seccomp set_robust_list set_tid_address setgid
    setgroups setresgid setresuid setrlimit setsid setuid sigaltstack stat statfs statx sysinfo tgkill
    tkill umask uname wait4 waitid write writev
";

/// Where the profile lies on the node.
pub(crate) fn path(paths: &Paths) -> PathBuf {
    paths.root().join("pause-seccomp.json")
}

/// The profile's architecture as libseccomp names it; `None` where the runtime's default has to do.
pub(crate) fn architecture() -> Option<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Some("SCMP_ARCH_X86_64"),
        "aarch64" => Some("SCMP_ARCH_AARCH64"),
        _ => None,
    }
}

/// Writes the profile in the form of the OCI runtime specification (`linux.seccomp`).
pub(crate) fn write(paths: &Paths) -> std::io::Result<()> {
    let Some(architecture) = architecture() else {
        return Ok(());
    };
    let profile = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": [architecture],
        "syscalls": [{"names": ALLOWED.split_whitespace().collect::<Vec<_>>(), "action": "SCMP_ACT_ALLOW"}],
    });
    std::fs::create_dir_all(paths.root())?;
    std::fs::write(path(paths), profile.to_string())
}

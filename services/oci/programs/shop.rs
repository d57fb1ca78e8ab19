//! A small web shop for tests and demonstrations: shows its version, host name, configuration and whether it got its secret.
//!
//! `VERSION`, `PORT` (8080), `GREETING`, `CONFIG_DIR` (/etc/shop/config), `SECRET_DIR` (/etc/shop/secret), `DATA_DIR` (/data: counts
//! visits over restarts if it is there), `START_DELAY` (seconds until it is ready), `REQUEST_DELAY` (milliseconds).

use std::ffi::c_int;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

static STOPPING: AtomicBool = AtomicBool::new(false);
static BROKEN: AtomicBool = AtomicBool::new(false);
static REQUESTS: AtomicU64 = AtomicU64::new(0);
static OPEN: AtomicUsize = AtomicUsize::new(0);
/// Connections served at once; more are refused.
const LIMIT: usize = 256;

unsafe extern "C" {
    fn signal(number: c_int, handler: usize) -> usize;
}

extern "C" fn stop(_signal: c_int) {
    STOPPING.store(true, Ordering::SeqCst);
}

fn setting(name: &str, default: &str) -> String {
    env::var(name).unwrap_or_else(|_| default.into())
}

fn main() {
    let stop: extern "C" fn(c_int) = stop;
    for number in [2, 15] {
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
        unsafe { signal(number, stop as usize) };
    }
    let port = setting("PORT", "8080");
    let started = Instant::now();
    let listener = match TcpListener::bind(format!("0.0.0.0:{port}")) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("cannot listen on {port}: {error}");
            std::process::exit(1);
        }
    };
    println!("shop {} listens on {port}", setting("VERSION", "v0"));
    thread::spawn(|| {
        // Requests that are under way are answered; then it ends, well within any grace period.
        loop {
            thread::sleep(Duration::from_millis(20));
            if STOPPING.load(Ordering::SeqCst) {
                println!("shop stops after {} requests", REQUESTS.load(Ordering::SeqCst));
                let deadline = Instant::now() + Duration::from_secs(2);
                while OPEN.load(Ordering::SeqCst) > 0 && Instant::now() < deadline {
                    thread::sleep(Duration::from_millis(10));
                }
                std::process::exit(0);
            }
        }
    });
    for stream in listener.incoming().flatten() {
        if OPEN.fetch_add(1, Ordering::SeqCst) >= LIMIT {
            OPEN.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        thread::spawn(move || {
            // A client that goes away is its own business.
            let _gone = serve(stream, started);
            OPEN.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

fn serve(mut stream: TcpStream, started: Instant) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let peer = stream.peer_addr()?;
    let mut reader = BufReader::new(stream.try_clone()?.take(64 << 10));
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(()) };
    let (method, path) = (method.to_owned(), path.to_owned());
    let mut length = 0usize;
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length.min(32 << 10)];
    reader.read_exact(&mut body)?;
    REQUESTS.fetch_add(1, Ordering::SeqCst);
    thread::sleep(Duration::from_millis(setting("REQUEST_DELAY", "0").parse().unwrap_or(0)));
    let delay = Duration::from_secs(setting("START_DELAY", "0").parse().unwrap_or(0));
    let ready = started.elapsed() >= delay && !STOPPING.load(Ordering::SeqCst);
    let (status, text) = match path.split('?').next().unwrap_or("/") {
        "/" => ("200 OK", page(&peer.to_string())),
        "/version" => ("200 OK", format!("{}\n", setting("VERSION", "v0"))),
        "/hostname" => ("200 OK", format!("{}\n", hostname())),
        "/client" => ("200 OK", format!("{peer}\n")),
        "/env" => ("200 OK", env::vars().map(|(k, v)| format!("{k}={v}\n")).collect()),
        "/echo" => ("200 OK", String::from_utf8_lossy(&body).into_owned()),
        "/healthz" if BROKEN.load(Ordering::SeqCst) => ("500 Internal Server Error", "broken\n".into()),
        "/healthz" => ("200 OK", "ok\n".into()),
        "/readyz" if ready => ("200 OK", "ready\n".into()),
        "/readyz" => ("503 Service Unavailable", "not ready\n".into()),
        "/break" if method == "POST" => {
            BROKEN.store(true, Ordering::SeqCst);
            ("200 OK", "broken from now on\n".into())
        }
        "/exit" if method == "POST" => std::process::exit(3),
        _ => ("404 Not Found", format!("no page {path}\n")),
    };
    println!("{peer} {method} {path} {}", &status[..3]);
    let length = text.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
    )
}

fn hostname() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

fn page(peer: &str) -> String {
    let mut text = format!("shop {}\nhost: {}\nclient: {peer}\n", setting("VERSION", "v0"), hostname());
    for name in ["GREETING", "POD_NAME", "POD_IP", "NODE_NAME"] {
        if let Ok(value) = env::var(name) {
            let _infallible = writeln!(text, "{}: {value}", name.to_lowercase().replace('_', " "));
        }
    }
    for (name, value) in files(&setting("CONFIG_DIR", "/etc/shop/config")) {
        let _infallible = writeln!(text, "config {name}: {}", value.trim());
    }
    // A secret is shown by its length only, as a shop should.
    for (name, value) in files(&setting("SECRET_DIR", "/etc/shop/secret")) {
        let _infallible = writeln!(text, "secret {name}: {} bytes", value.len());
    }
    let data = setting("DATA_DIR", "/data");
    if Path::new(&data).is_dir() {
        let path = Path::new(&data).join("visits");
        let visits = fs::read_to_string(&path).ok().and_then(|t| t.trim().parse::<u64>().ok()).unwrap_or(0) + 1;
        let kept = if fs::write(&path, visits.to_string()).is_ok() { "" } else { " (not kept)" };
        let _infallible = writeln!(text, "visits: {visits}{kept}");
    }
    text
}

/// The files of a mounted ConfigMap or Secret, without the hidden ones that make its updates atomic.
fn files(dir: &str) -> Vec<(String, String)> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut found: Vec<_> = entries
        .flatten()
        .filter_map(|e| Some((e.file_name().into_string().ok()?, fs::read_to_string(e.path()).ok()?)))
        .filter(|(name, _)| !name.starts_with('.'))
        .collect();
    found.sort();
    found
}

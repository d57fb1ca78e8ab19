//! Runs cases at the same time on one node and reports as Rust's own harness does.

use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;

/// No case takes longer.
const LIMIT: Duration = Duration::from_secs(600);

/// A test: a name that is a sentence, and what it does.
pub struct Case<N> {
    /// The sentence.
    pub name: &'static str,
    /// Panics if the sentence is not true.
    pub run: fn(Arc<N>) -> BoxFuture<'static, ()>,
}

/// Runs the cases whose names contain `filter`, all at once, then `alone` one after the other.
pub(crate) async fn run<N: Send + Sync + 'static>(
    node: Arc<N>,
    together: Vec<Case<N>>,
    alone: Vec<Case<N>>,
    filter: &str,
    hint: impl Fn() -> String,
) -> ExitCode {
    let chosen = |cases: Vec<Case<N>>| cases.into_iter().filter(|c| c.name.contains(filter));
    let started = Instant::now();
    let (mut passed, mut failed) = (0, 0);
    let mut count = |name: &str, problem: Option<String>, took: Duration| match problem {
        None => {
            passed += 1;
            println!("test {name} ... ok ({} ms)", took.as_millis());
        }
        Some(text) => {
            failed += 1;
            println!("test {name} ... FAILED: {text}");
        }
    };
    let running = chosen(together).map(|case| one(node.clone(), case));
    for (name, problem, took) in futures::future::join_all(running).await {
        count(name, problem, took);
    }
    for case in chosen(alone) {
        let (name, problem, took) = one(node.clone(), case).await;
        count(name, problem, took);
    }
    if failed > 0 {
        println!("{}", hint());
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out; finished in {:.2}s",
        started.elapsed().as_secs_f64()
    );
    ExitCode::from(u8::from(failed > 0))
}

async fn one<N: Send + Sync + 'static>(
    node: Arc<N>,
    case: Case<N>,
) -> (&'static str, Option<String>, Duration) {
    let started = Instant::now();
    let work = AssertUnwindSafe((case.run)(node)).catch_unwind();
    let problem = match tokio::time::timeout(LIMIT, work).await {
        Ok(Ok(())) => None,
        Ok(Err(panic)) => Some(text_of(&*panic)),
        Err(elapsed) => Some(describe(&elapsed)),
    };
    (case.name, problem, started.elapsed())
}

fn describe(error: &impl Display) -> String {
    format!("it did not end in time: {error}")
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
        .unwrap_or_else(|| "it panicked".to_owned())
}

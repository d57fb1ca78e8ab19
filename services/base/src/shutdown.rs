//! Shutdown as a value: whoever runs a service passes one in, and the service drains when it is told to.

use tokio_util::sync::CancellationToken;

/// A request to stop that can be awaited, cloned and narrowed to a child. Cancelling a child never cancels its parent.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// A fresh value that nobody has asked to stop yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that stops when this one does, and can also be stopped alone.
    pub fn child(&self) -> Self {
        Self(self.0.child_token())
    }

    /// Ask everything that holds this value to stop. May be called any number of times.
    pub fn trigger(&self) {
        self.0.cancel();
    }

    /// Whether a stop was asked for.
    pub fn is_triggered(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Completes when a stop is asked for; at once if it was already.
    pub async fn triggered(&self) {
        self.0.cancelled().await;
    }

    /// Runs `work` until it ends or a stop is asked for; `None` means stopped. The future is dropped at its next await.
    pub async fn run_until<F: Future>(&self, work: F) -> Option<F::Output> {
        self.0.run_until_cancelled(work).await
    }

    /// The underlying token, for libraries that take one.
    pub fn token(&self) -> CancellationToken {
        self.0.clone()
    }
}

//! How the reader of a watch asks how far it is.

use std::fmt;
use std::sync::Arc;

/// Asks the store for a [`crate::WatchMessage::Progress`] on the watch that it came with. A call, not a channel, so
/// that a watch needs no task that listens for it. Cheap to clone; dropping it does not end the watch.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn() + Send + Sync>);

/// Never made: asking cannot fail, because a watch that has ended says so in its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Never {}

impl Progress {
    /// For implementors: `ask` must not block.
    pub fn new(ask: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }

    /// Asks for progress. The answer comes among the watch's messages, after every change that it covers.
    pub fn request(&self) {
        (self.0)();
    }

    /// The same, in the form of a channel's sender.
    pub fn try_send(&self, (): ()) -> Result<(), Never> {
        self.request();
        Ok(())
    }

    /// The same, in the form of a channel's sender.
    pub async fn send(&self, (): ()) -> Result<(), Never> {
        self.request();
        Ok(())
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}

//! A network that delays, loses and cuts.

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use store_raft::{Answer, MemberId, Transport, TransportError};

#[derive(Default)]
pub(crate) struct Net {
    members: Mutex<HashMap<MemberId, Arc<dyn Answer>>>,
    /// Messages from the first to the second are lost.
    cut: Mutex<HashSet<(MemberId, MemberId)>>,
    /// How likely a message is lost.
    loss: Mutex<f64>,
}

impl Net {
    pub(crate) fn join(&self, id: MemberId, member: Arc<dyn Answer>) {
        self.members.lock().insert(id, member);
    }

    pub(crate) fn leave(&self, id: MemberId) {
        self.members.lock().remove(&id);
    }

    pub(crate) fn cut(&self, from: MemberId, to: MemberId) {
        self.cut.lock().insert((from, to));
    }

    pub(crate) fn lose(&self, share: f64) {
        *self.loss.lock() = share;
    }

    pub(crate) fn heal(&self) {
        self.cut.lock().clear();
        self.lose(0.0);
    }
}

/// One member's connection, for one life of it.
pub(crate) struct Port {
    pub(crate) net: Arc<Net>,
    pub(crate) from: MemberId,
    pub(crate) rng: Arc<Mutex<StdRng>>,
    pub(crate) alive: Arc<AtomicBool>,
}

impl Port {
    /// Carries a message one way; false if it is lost.
    async fn carry(&self, from: MemberId, to: MemberId) -> bool {
        let (delay, lost) = {
            let mut rng = self.rng.lock();
            let slow = rng.random_bool(0.02);
            let micros = if slow {
                rng.random_range(5_000..80_000)
            } else {
                rng.random_range(100..3_000)
            };
            let loss = *self.net.loss.lock();
            (Duration::from_micros(micros), rng.random_bool(loss))
        };
        tokio::time::sleep(delay).await;
        !lost && !self.net.cut.lock().contains(&(from, to))
    }
}

#[async_trait]
impl Transport for Port {
    async fn call(&self, to: MemberId, request: Bytes, patience: Duration) -> Result<Bytes, TransportError> {
        let exchange = async {
            // What is lost is noticed by waiting in vain.
            let never = std::future::pending::<Bytes>;
            if !self.carry(self.from, to).await || !self.alive.load(Ordering::Relaxed) {
                return Ok(never().await);
            }
            let member = self.net.members.lock().get(&to).cloned();
            let Some(member) = member else {
                return Err(TransportError::Unreachable(to, "nobody listens".into()));
            };
            let answer = member.answer(self.from, request).await;
            if !self.carry(to, self.from).await {
                Ok(never().await)
            } else {
                Ok(answer)
            }
        };
        match tokio::time::timeout(patience, exchange).await {
            Ok(result) => result,
            Err(_) => Err(TransportError::NoAnswer(to, "lost".into())),
        }
    }
}

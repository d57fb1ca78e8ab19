//! A connection's certificates, and whom they were found to speak for.
//!
//! Checking a chain costs a signature, ten times what the rest of a read does, so what was found is kept with the connection
//! and goes with it. It holds for the keys that it was found with, from then on until the first of the certificates ends;
//! outside of that the chain is checked anew. Revocation is no part of it and is asked at each request.
//! Rejected: a cache across connections, which would have to be keyed by a hash of the chain and to be bounded.

use crate::user::User;
use jiff::Timestamp;
use parking_lot::Mutex;
use pki::{ClientCertError, ClientIdentity, ClusterKeys};
use rustls_pki_types::CertificateDer;
use std::sync::Arc;

/// The certificates that a client showed, end entity first. TLS has checked possession of the key, nothing else.
#[derive(Debug, Default)]
pub struct Chain {
    certificates: Vec<CertificateDer<'static>>,
    holder: Mutex<Option<Arc<Holder>>>,
}

/// Whom a chain speaks for.
#[derive(Debug)]
pub(crate) struct Holder {
    pub(crate) user: User,
    pub(crate) fingerprint: String,
    keys: Arc<ClusterKeys>,
    since: Timestamp,
    until: Timestamp,
}

impl Holder {
    fn holds(&self, keys: &Arc<ClusterKeys>, now: Timestamp) -> bool {
        Arc::ptr_eq(&self.keys, keys) && (self.since..=self.until).contains(&now)
    }
}

impl From<Vec<CertificateDer<'static>>> for Chain {
    fn from(certificates: Vec<CertificateDer<'static>>) -> Self {
        Self {
            certificates,
            holder: Mutex::default(),
        }
    }
}

impl Chain {
    /// The certificates, end entity first; none if the client showed none.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// Whom it speaks for, if the CA among these keys vouches for it now. `user` makes the user of what it says.
    pub(crate) fn holder(
        &self,
        keys: &Arc<ClusterKeys>,
        now: Timestamp,
        user: impl FnOnce(ClientIdentity) -> User,
    ) -> Result<Arc<Holder>, ClientCertError> {
        let mut known = self.holder.lock();
        if let Some(holder) = known.as_ref().filter(|h| h.holds(keys, now)) {
            return Ok(holder.clone());
        }
        let found = keys.verify_client(&self.certificates, now)?;
        let holder = Arc::new(Holder {
            fingerprint: found.fingerprint.clone(),
            keys: keys.clone(),
            since: now,
            until: found.not_after,
            user: user(found),
        });
        *known = Some(holder.clone());
        Ok(holder)
    }
}

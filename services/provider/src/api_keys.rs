//! API keys: `mk_<id>_<secret>`. 256 random bits, a SHA-256 is kept, compared in constant time.
//!
//! The secret has full entropy, so a plain hash is enough; a slow password hash would only cost CPU at each request.

use crate::records::{ApiKeyRecord, Batch, RecordError, Records};
use aws_lc_rs::{constant_time, digest, rand};
use base::Clock;
use jiff::{SignedDuration, Timestamp};
use service_api::{ApiKey, CreatedApiKey};

/// What every key begins with, so that scanners of secrets can find one.
pub const PREFIX: &str = "mk";
/// The longest life of a key.
pub const MAX_TTL: SignedDuration = SignedDuration::from_hours(24 * 366);

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _infallible = write!(text, "{byte:02x}");
            text
        })
}

/// The lower-case hex SHA-256 of some bytes.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// `n` random bytes in hex.
fn random_hex<const N: usize>() -> String {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the system's random source works, or no key may be made");
    hex(&bytes)
}

/// Makes a key and keeps it.
pub async fn create(
    records: &Records,
    clock: &Clock,
    project: &str,
    description: String,
    ttl: SignedDuration,
) -> Result<CreatedApiKey, RecordError> {
    let now = clock.now();
    let key = ApiKey {
        id: random_hex::<8>(),
        description,
        project: project.into(),
        created_at: base::clock::rfc3339(now),
        expires_at: base::clock::rfc3339(now.saturating_add(ttl.min(MAX_TTL)).unwrap_or(Timestamp::MAX)),
    };
    let secret = random_hex::<32>();
    let record = ApiKeyRecord {
        key: key.clone(),
        secret_sha256: sha256_hex(secret.as_bytes()),
    };
    let mut batch = Batch::default();
    batch.create(records, &record)?;
    records.commit(batch).await?;
    Ok(CreatedApiKey {
        secret: format!("{PREFIX}_{}_{secret}", key.id),
        key,
    })
}

/// The key behind a bearer token, if the token is right and not expired. `None` says no more than "no".
pub async fn check(records: &Records, clock: &Clock, token: &str) -> Result<Option<ApiKey>, RecordError> {
    let mut parts = token.splitn(3, '_');
    let (Some(PREFIX), Some(id), Some(secret)) = (parts.next(), parts.next(), parts.next()) else {
        return Ok(None);
    };
    if id.len() != 16 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(None);
    }
    let Some(found) = records.get::<ApiKeyRecord>(None, id).await? else {
        return Ok(None);
    };
    let given = sha256_hex(secret.as_bytes());
    let same = constant_time::verify_slices_are_equal(given.as_bytes(), found.value.secret_sha256.as_bytes());
    let expires: Option<Timestamp> = found.value.key.expires_at.parse().ok();
    let alive = expires.is_some_and(|at| at > clock.now());
    Ok((same.is_ok() && alive).then_some(found.value.key))
}

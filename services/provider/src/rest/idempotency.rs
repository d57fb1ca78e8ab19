//! `Idempotency-Key`: a repeated `POST` answers with the operation of the first.

use super::App;
use super::reply::{Failure, Reply};
use crate::api_keys::sha256_hex;
use crate::records::{Batch, IdempotencyRecord};
use axum::http::HeaderMap;
use serde::Serialize;
use service_api::{ErrorCode, IDEMPOTENCY_KEY, Operation};

/// What the header says about this request.
pub(super) enum Repeat {
    /// No header.
    Untracked,
    /// Not seen before: to be written with the intent.
    First(IdempotencyRecord),
    /// Seen: the operation it began.
    Again(Operation),
}

/// Looks the header up. The same key with another body is refused.
pub(super) async fn look_up(
    app: &App,
    headers: &HeaderMap,
    project: &str,
    path: &str,
    body: &impl Serialize,
) -> Reply<Repeat> {
    let Some(header) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(Repeat::Untracked);
    };
    let text = header.to_str().ok().filter(|t| (1..=200).contains(&t.len()));
    let Some(text) = text else {
        let why = "an idempotency key has 1 to 200 visible ASCII characters";
        return Err(Failure(ErrorCode::InvalidArgument.at(IDEMPOTENCY_KEY, why)));
    };
    let key = sha256_hex(text.as_bytes());
    let body = serde_json::to_vec(&(path, body)).unwrap_or_default();
    let body_sha256 = sha256_hex(&body);
    let Some(seen) = app.records.get::<IdempotencyRecord>(Some(project), &key).await? else {
        let record = IdempotencyRecord {
            project: project.into(),
            key,
            body_sha256,
            operation: String::new(),
        };
        return Ok(Repeat::First(record));
    };
    if seen.value.body_sha256 != body_sha256 {
        let why = "this idempotency key was used for another request";
        return Err(Failure(ErrorCode::Conflict.at(IDEMPOTENCY_KEY, why)));
    }
    match app
        .records
        .get::<Operation>(Some(project), &seen.value.operation)
        .await?
    {
        Some(operation) => Ok(Repeat::Again(operation.value)),
        None => Ok(Repeat::First(IdempotencyRecord {
            operation: String::new(),
            ..seen.value
        })),
    }
}

impl Repeat {
    /// Adds what has to be remembered to the transaction of the intent.
    pub(super) fn remember(self, app: &App, batch: &mut Batch, operation: &Operation) -> Reply<()> {
        if let Self::First(mut record) = self {
            record.operation.clone_from(&operation.id);
            batch.put(&app.records, &record)?;
        }
        Ok(())
    }
}

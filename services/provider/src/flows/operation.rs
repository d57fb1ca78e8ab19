//! Writes down how an operation goes.

use crate::records::{Batch, IdempotencyRecord, RecordError, Records};
use base::Clock;
use jiff::SignedDuration;
use service_api::{Operation, OperationKind, OperationState};

/// How long an operation is kept after it ended.
pub const KEPT: SignedDuration = SignedDuration::from_hours(24);

/// A new operation that has just begun. Ids are UUIDs of version 7, so they are ordered by time.
pub fn begin(clock: &Clock, kind: OperationKind, project: &str, target: String, stage: &str) -> Operation {
    Operation {
        id: uuid::Uuid::now_v7().simple().to_string(),
        kind,
        target,
        project: project.into(),
        state: OperationState::Running,
        stage: stage.into(),
        error: None,
        started_at: clock.now_rfc3339(),
        ended_at: None,
    }
}

/// Writes the stage that a running operation has reached, if that is news.
pub async fn stage(records: &Records, project: &str, id: &str, stage: &str) -> Result<(), RecordError> {
    let change = |op: &mut Operation| {
        let news = op.state == OperationState::Running && op.stage != stage;
        op.stage = stage.into();
        news
    };
    records
        .modify::<Operation>(Some(project), id, change)
        .await
        .map(|_| ())
}

/// Ends an operation, once.
pub async fn end(
    records: &Records,
    clock: &Clock,
    project: &str,
    id: &str,
    outcome: Result<(), String>,
) -> Result<(), RecordError> {
    let change = |op: &mut Operation| {
        let running = op.state == OperationState::Running;
        if running {
            op.ended_at = Some(clock.now_rfc3339());
            match &outcome {
                Ok(()) => {
                    op.state = OperationState::Succeeded;
                    op.stage = "done".into();
                }
                Err(why) => {
                    op.state = OperationState::Failed;
                    op.error = Some(why.clone());
                }
            }
        }
        running
    };
    records
        .modify::<Operation>(Some(project), id, change)
        .await
        .map(|_| ())
}

/// Removes operations of a project that ended long ago, and the idempotency keys that stood for them.
pub async fn forget_old(records: &Records, clock: &Clock, project: &str) -> Result<(), RecordError> {
    let now = clock.now();
    let keys = records.list::<IdempotencyRecord>(Some(project)).await?;
    for op in records.list::<Operation>(Some(project)).await? {
        let ended: Option<jiff::Timestamp> = op.value.ended_at.as_deref().and_then(|t| t.parse().ok());
        if ended.is_some_and(|at| now.duration_since(at) > KEPT) {
            let mut batch = Batch::default();
            batch.require(records, &op)?;
            batch.delete::<Operation>(records, Some(project), &op.value.id)?;
            for key in keys.iter().filter(|k| k.value.operation == op.value.id) {
                batch.delete::<IdempotencyRecord>(records, Some(project), &key.value.key)?;
            }
            records.commit(batch).await?;
        }
    }
    Ok(())
}

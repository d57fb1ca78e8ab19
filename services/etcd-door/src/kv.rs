//! The KV service.

use crate::convert::{compare, key, key_value, op, plain, shape, span, status};
use crate::service::Door;
use base::ClusterId;
use store_api::{Compare, Consistency, Error, Op, OpResult, Range, Txn, TxnOutcome};
use store_etcd::proto::etcdserverpb as pb;
use tonic::{Request, Response, Status};

/// How often a put that keeps a value or a lease is tried again when someone else writes the key.
const RETRIES: usize = 16;

impl Door {
    async fn apply(&self, cluster: &ClusterId, txn: Txn) -> Result<TxnOutcome, Status> {
        self.store.txn(cluster, txn).await.map_err(|e| status(&e))
    }

    async fn apply_one(&self, cluster: &ClusterId, op: Op) -> Result<(OpResult, i64), Status> {
        let mut outcome = self
            .apply(
                cluster,
                Txn {
                    then: vec![op],
                    ..Txn::default()
                },
            )
            .await?;
        let result = outcome
            .results
            .pop()
            .ok_or_else(|| Status::internal("an operation without a result"))?;
        Ok((result, outcome.revision))
    }

    /// A put that keeps the present value or lease: reads, and writes if nothing has changed since.
    async fn put_keeping(
        &self,
        cluster: &ClusterId,
        put: &pb::PutRequest,
    ) -> Result<(OpResult, i64), Status> {
        let key = key(cluster, &put.key)?;
        for _ in 0..RETRIES {
            let span = store_api::Span::one(&key);
            let range = Range {
                span,
                at: None,
                limit: 1,
                consistency: Consistency::Linearizable,
            };
            let found = self.store.range(range).await.map_err(|e| status(&e))?.records;
            let now = found
                .first()
                .ok_or_else(|| Status::invalid_argument("etcdserver: key not found"))?;
            let value = if put.ignore_value {
                now.value.clone()
            } else {
                put.value.clone()
            };
            let lease = if put.ignore_lease { now.lease } else { put.lease };
            let txn = Txn {
                compares: vec![Compare::unchanged(key.clone(), now.mod_revision)],
                then: vec![Op::Put {
                    key: key.clone(),
                    value,
                    lease,
                }],
                ..Txn::default()
            };
            let mut outcome = self.apply(cluster, txn).await?;
            if let (true, Some(result)) = (outcome.succeeded, outcome.results.pop()) {
                return Ok((result, outcome.revision));
            }
        }
        Err(status(&Error::Unavailable("the key changes all the time".into())))
    }

    fn response(
        &self,
        cluster: &ClusterId,
        revision: i64,
        request: &pb::RequestOp,
        result: &OpResult,
    ) -> pb::ResponseOp {
        use pb::request_op::Request;
        use pb::response_op::Response;
        let header = self.header(cluster, revision);
        let response = match (&request.request, result) {
            (Some(Request::RequestRange(range)), OpResult::Range { records, count }) => {
                Some(Response::ResponseRange(pb::RangeResponse {
                    header,
                    ..shape(range, records, *count)
                }))
            }
            (Some(Request::RequestPut(put)), OpResult::Put { previous, .. }) => {
                let prev_kv = previous.as_ref().filter(|_| put.prev_kv).map(|r| key_value(r));
                Some(Response::ResponsePut(pb::PutResponse { header, prev_kv }))
            }
            (Some(Request::RequestDeleteRange(delete)), OpResult::Delete { previous }) => {
                Some(Response::ResponseDeleteRange(deleted(header, delete, previous)))
            }
            _ => None,
        };
        pb::ResponseOp { response }
    }
}

fn deleted(
    header: Option<pb::ResponseHeader>,
    request: &pb::DeleteRangeRequest,
    previous: &[std::sync::Arc<store_api::Record>],
) -> pb::DeleteRangeResponse {
    let prev_kvs = if request.prev_kv {
        previous.iter().map(|r| key_value(r)).collect()
    } else {
        Vec::new()
    };
    pb::DeleteRangeResponse {
        header,
        deleted: i64::try_from(previous.len()).unwrap_or(i64::MAX),
        prev_kvs,
    }
}

#[tonic::async_trait]
impl pb::kv_server::Kv for Door {
    async fn range(&self, request: Request<pb::RangeRequest>) -> Result<Response<pb::RangeResponse>, Status> {
        let cluster = self.cluster(&request)?;
        let request = request.into_inner();
        let limit = if request.count_only {
            1
        } else if plain(&request) {
            usize::try_from(request.limit).unwrap_or(0)
        } else {
            0
        };
        let range = Range {
            span: span(&cluster, &request.key, &request.range_end)?,
            at: Some(request.revision).filter(|r| *r > 0),
            limit,
            consistency: if request.serializable {
                Consistency::Local
            } else {
                Consistency::Linearizable
            },
        };
        let result = self.store.range(range).await.map_err(|e| status(&e))?;
        let header = self.header(&cluster, result.revision);
        Ok(Response::new(pb::RangeResponse {
            header,
            ..shape(&request, &result.records, result.count)
        }))
    }

    async fn put(&self, request: Request<pb::PutRequest>) -> Result<Response<pb::PutResponse>, Status> {
        let cluster = self.cluster(&request)?;
        let put = request.into_inner();
        if put.ignore_value && !put.value.is_empty() {
            return Err(Status::invalid_argument("etcdserver: value is provided"));
        }
        if put.ignore_lease && put.lease != 0 {
            return Err(Status::invalid_argument("etcdserver: lease is provided"));
        }
        let (result, revision) = if put.ignore_value || put.ignore_lease {
            self.put_keeping(&cluster, &put).await?
        } else {
            let op = Op::Put {
                key: key(&cluster, &put.key)?,
                value: put.value.clone(),
                lease: put.lease,
            };
            self.apply_one(&cluster, op).await?
        };
        let OpResult::Put { previous, .. } = result else {
            return Err(Status::internal("a put without a result"));
        };
        let prev_kv = previous.as_ref().filter(|_| put.prev_kv).map(|r| key_value(r));
        Ok(Response::new(pb::PutResponse {
            header: self.header(&cluster, revision),
            prev_kv,
        }))
    }

    async fn delete_range(
        &self,
        request: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        let cluster = self.cluster(&request)?;
        let delete = request.into_inner();
        let op = Op::Delete {
            span: span(&cluster, &delete.key, &delete.range_end)?,
        };
        let (result, revision) = self.apply_one(&cluster, op).await?;
        let OpResult::Delete { previous } = result else {
            return Err(Status::internal("a deletion without a result"));
        };
        Ok(Response::new(deleted(
            self.header(&cluster, revision),
            &delete,
            &previous,
        )))
    }

    async fn txn(&self, request: Request<pb::TxnRequest>) -> Result<Response<pb::TxnResponse>, Status> {
        let cluster = self.cluster(&request)?;
        let request = request.into_inner();
        let ops = |list: &[pb::RequestOp]| {
            list.iter()
                .map(|o| op(&cluster, o))
                .collect::<Result<Vec<_>, _>>()
        };
        let txn = Txn {
            guards: Vec::new(),
            compares: request
                .compare
                .iter()
                .map(|c| compare(&cluster, c))
                .collect::<Result<_, _>>()?,
            then: ops(&request.success)?,
            otherwise: ops(&request.failure)?,
        };
        let outcome = self.apply(&cluster, txn).await?;
        let asked = if outcome.succeeded {
            &request.success
        } else {
            &request.failure
        };
        let revision = outcome.revision;
        let responses = asked
            .iter()
            .zip(&outcome.results)
            .map(|(a, r)| self.response(&cluster, revision, a, r))
            .collect();
        let header = self.header(&cluster, revision);
        Ok(Response::new(pb::TxnResponse {
            header,
            succeeded: outcome.succeeded,
            responses,
        }))
    }

    async fn compact(
        &self,
        request: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        let cluster = self.cluster(&request)?;
        self.store
            .compact(&cluster, request.into_inner().revision)
            .await
            .map_err(|e| status(&e))?;
        let now = self
            .store
            .revision(&cluster, Consistency::Local)
            .await
            .map_err(|e| status(&e))?;
        Ok(Response::new(pb::CompactionResponse {
            header: self.header(&cluster, now.revision),
        }))
    }
}

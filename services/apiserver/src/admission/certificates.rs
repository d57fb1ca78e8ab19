//! CertificateSigningRequests: the requester is recorded, and only who may approve or sign for a signer does so.

use super::{Attempt, Operation, Plugin};
use crate::kind::Kind;
use crate::status::Result;
use async_trait::async_trait;
use auth::Attributes;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use machinery::quote::go_quote;
use machinery::{Map, Value};

const GROUP: &str = "certificates.k8s.io";
const PLURAL: &str = "certificatesigningrequests";

fn is_request(kind: &Kind) -> bool {
    kind.is(GROUP, PLURAL)
}

/// Records who asks: nobody can ask in another's name.
pub(super) struct CertificateRequester;

#[async_trait]
impl Plugin for CertificateRequester {
    fn name(&self) -> &'static str {
        "CertificateRequester"
    }

    fn handles(&self, operation: Operation, kind: &Kind, subresource: &str) -> bool {
        operation == Operation::Create && is_request(kind) && subresource.is_empty()
    }

    async fn mutate(&self, attempt: &mut Attempt<'_>) -> Result<()> {
        let user = &attempt.cx.user;
        let texts = |list: &[String]| Value::List(list.iter().cloned().map(Value::from).collect());
        let extra: Map = user
            .extra
            .iter()
            .map(|(k, v)| (k.clone().into(), texts(v)))
            .collect();
        let spec = attempt.object.at_mut(&["spec"]);
        for (field, value) in [
            ("username", Value::from(user.name.clone())),
            ("uid", Value::from(user.uid.clone())),
            ("groups", texts(&user.groups)),
            ("extra", Value::Map(extra)),
        ] {
            spec.remove(field);
            if !value.is_zero() {
                spec.insert(field, value);
            }
        }
        Ok(())
    }
}

/// Whether the user may `verb` for a signer: `<domain>/<path>` itself, or `<domain>/*`.
async fn may_for_signer(attempt: &Attempt<'_>, verb: &str, signer: &str) -> Result<bool> {
    let wildcard = signer.split_once('/').map(|(domain, _)| format!("{domain}/*"));
    for name in [Some(signer.to_owned()), wildcard].into_iter().flatten() {
        let asked = Attributes {
            name: &name,
            ..Attributes::resource(&attempt.cx.user, verb, GROUP, "signers")
        };
        if attempt.may(&asked).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Who approves or denies needs the verb `approve` for the signer.
pub(super) struct CertificateApproval;

#[async_trait]
impl Plugin for CertificateApproval {
    fn name(&self) -> &'static str {
        "CertificateApproval"
    }

    fn handles(&self, operation: Operation, kind: &Kind, subresource: &str) -> bool {
        operation == Operation::Update && is_request(kind) && subresource == "approval"
    }

    async fn validate(&self, attempt: &Attempt<'_>) -> Result<()> {
        let signer = attempt.old.str_at(&["spec", "signerName"]).unwrap_or_default();
        if may_for_signer(attempt, "approve", signer).await? {
            return Ok(());
        }
        Err(attempt.forbidden(&format!(
            "user not permitted to approve requests with signerName {}",
            go_quote(signer)
        )))
    }
}

/// Who puts a certificate into the status needs the verb `sign` for the signer.
pub(super) struct CertificateSigning;

#[async_trait]
impl Plugin for CertificateSigning {
    fn name(&self) -> &'static str {
        "CertificateSigning"
    }

    fn handles(&self, operation: Operation, kind: &Kind, subresource: &str) -> bool {
        operation == Operation::Update && is_request(kind) && subresource == "status"
    }

    async fn validate(&self, attempt: &Attempt<'_>) -> Result<()> {
        let status = |o: &Value| o.at(&["status", "certificate"]).clone();
        let conditions = |o: &Value| o.at(&["status", "conditions"]).clone();
        if status(&attempt.object) == status(attempt.old)
            && conditions(&attempt.object) == conditions(attempt.old)
        {
            return Ok(());
        }
        let signer = attempt.old.str_at(&["spec", "signerName"]).unwrap_or_default();
        if may_for_signer(attempt, "sign", signer).await? {
            return Ok(());
        }
        Err(attempt.forbidden(&format!(
            "user not permitted to sign requests with signerName {}",
            go_quote(signer)
        )))
    }
}

/// Nobody gets into `system:masters` by asking for a certificate.
pub(super) struct CertificateSubjectRestriction;

#[async_trait]
impl Plugin for CertificateSubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }

    fn handles(&self, operation: Operation, kind: &Kind, subresource: &str) -> bool {
        operation == Operation::Create && is_request(kind) && subresource.is_empty()
    }

    async fn validate(&self, attempt: &Attempt<'_>) -> Result<()> {
        if attempt.object.str_at(&["spec", "signerName"]) != Some(pki::SIGNER_CLIENT) {
            return Ok(());
        }
        let csr = parse(&attempt.object)
            .ok_or_else(|| attempt.forbidden("unable to parse the certificate request"))?;
        if csr.subject.organizations.iter().any(|o| o == auth::user::MASTERS) {
            let why = format!(
                "use of {} signer with system:masters group is not allowed",
                pki::SIGNER_CLIENT
            );
            return Err(attempt.forbidden(&why));
        }
        Ok(())
    }
}

/// The request inside a CertificateSigningRequest.
pub(super) fn parse(object: &Value) -> Option<pki::Csr> {
    let bytes = STANDARD.decode(object.str_at(&["spec", "request"])?).ok()?;
    pki::Csr::parse(std::str::from_utf8(&bytes).ok()?).ok()
}

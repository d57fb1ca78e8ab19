//! `Impersonate-*` headers: acting as another user of the same cluster.
//!
//! Each thing that is claimed (user, each group, uid, each extra value) is authorized for the real user with the verb
//! `impersonate`. The result is a user of this cluster only: nothing outside the cluster ever looks at it.

use crate::objects::LookupError;
use crate::user::{ANONYMOUS, AUTHENTICATED, SERVICE_ACCOUNTS, UNAUTHENTICATED};
use crate::{Attributes, Authorizer, Decision, User};
use base::ClusterId;
use http::HeaderMap;
use std::collections::BTreeMap;

/// The most claims in one request.
const MAX_CLAIMS: usize = 64;

/// Why a request may not impersonate.
#[derive(Debug, thiserror::Error)]
pub enum ImpersonationError {
    /// 400: groups, uid or extras without a user, or far too many.
    #[error("{0}")]
    BadRequest(String),
    /// 403 with this message.
    #[error("{0}")]
    Forbidden(String),
    /// 500.
    #[error(transparent)]
    Lookup(#[from] LookupError),
}

struct Claim<'h> {
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    subresource: String,
    namespace: &'h str,
    name: &'h str,
}

/// The user that the headers ask for, `None` if they ask for none.
pub async fn impersonate(
    authorizer: &Authorizer,
    cluster: &ClusterId,
    user: &User,
    headers: &HeaderMap,
) -> Result<Option<User>, ImpersonationError> {
    let text = |value: &'_ http::HeaderValue| value.to_str().map(str::to_owned);
    let bad = |_| ImpersonationError::BadRequest("impersonation headers must be visible ASCII".into());
    let one = |name: &str| headers.get(name).map(text).transpose().map_err(bad);
    let wanted = one("impersonate-user")?.filter(|u| !u.is_empty());
    let uid = one("impersonate-uid")?.filter(|u| !u.is_empty());
    let mut groups = Vec::new();
    for value in headers.get_all("impersonate-group") {
        groups.push(text(value).map_err(bad)?);
    }
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        if let Some(key) = name.as_str().strip_prefix("impersonate-extra-") {
            extra
                .entry(percent_decode(key))
                .or_default()
                .push(text(value).map_err(bad)?);
        }
    }
    let Some(wanted) = wanted else {
        if groups.is_empty() && uid.is_none() && extra.is_empty() {
            return Ok(None);
        }
        return Err(ImpersonationError::BadRequest(
            "requested impersonation without a user".into(),
        ));
    };

    let mut claims = Vec::new();
    let core = |resource, namespace, name| Claim {
        group: "",
        version: "v1",
        resource,
        subresource: String::new(),
        namespace,
        name,
    };
    let account = wanted
        .strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split_once(':'))
        .filter(|(ns, name)| !ns.is_empty() && !name.is_empty() && !name.contains(':'));
    match account {
        Some((ns, name)) => claims.push(core("serviceaccounts", ns, name)),
        None => claims.push(core("users", "", &wanted)),
    }
    claims.extend(groups.iter().map(|g| core("groups", "", g)));
    let special = |resource, subresource: &str, name| Claim {
        group: "authentication.k8s.io",
        version: "v1",
        resource,
        subresource: subresource.to_owned(),
        namespace: "",
        name,
    };
    for (key, values) in &extra {
        claims.extend(values.iter().map(|v| special("userextras", key, v)));
    }
    claims.extend(uid.iter().map(|u| special("uids", "", u)));
    if claims.len() > MAX_CLAIMS {
        return Err(ImpersonationError::BadRequest(format!(
            "more than {MAX_CLAIMS} impersonation headers"
        )));
    }
    for claim in &claims {
        let asked = Attributes {
            version: claim.version,
            subresource: &claim.subresource,
            namespace: claim.namespace,
            name: claim.name,
            ..Attributes::resource(user, "impersonate", claim.group, claim.resource)
        };
        match authorizer.authorize(cluster, &asked).await? {
            Decision::Allow(_) => {}
            Decision::NoOpinion(why) | Decision::Deny(why) => {
                return Err(ImpersonationError::Forbidden(asked.forbidden_message(&why)));
            }
        }
    }

    if groups.is_empty()
        && let Some((ns, _)) = account
    {
        groups = vec![SERVICE_ACCOUNTS.into(), format!("{SERVICE_ACCOUNTS}:{ns}")];
    }
    let has = |groups: &[String], g: &str| groups.iter().any(|x| x == g);
    if wanted == ANONYMOUS {
        if !has(&groups, UNAUTHENTICATED) {
            groups.push(UNAUTHENTICATED.into());
        }
    } else if !has(&groups, AUTHENTICATED) && !has(&groups, UNAUTHENTICATED) {
        groups.push(AUTHENTICATED.into());
    }
    Ok(Some(User {
        uid: uid.unwrap_or_default(),
        groups,
        extra,
        source: user.source,
        name: wanted,
    }))
}

/// `%`-decoding of an extra key; text that is not well formed stays as it is.
fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first != b'%' {
            bytes.push(*first);
            rest = tail;
            continue;
        }
        let Some(byte) = tail
            .get(..2)
            .and_then(|h| std::str::from_utf8(h).ok())
            .and_then(|h| u8::from_str_radix(h, 16).ok())
        else {
            return text.to_owned();
        };
        bytes.push(byte);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

//! Security contexts of pods and containers.

use machinery::{Value, name};

use crate::{FieldErrors, Path};

fn ids(context: &Value, path: &Path, fields: &[&str], errors: &mut FieldErrors) {
    for field in fields {
        let Some(n) = context[*field].as_i64() else {
            continue;
        };
        for message in name::in_range(n, 0, i64::from(i32::MAX)) {
            errors.invalid(&path.child(field), n, &message);
        }
    }
}

/// What is wrong with a pod's security context.
pub(crate) fn validate_pod(context: &Value, path: &Path, errors: &mut FieldErrors) {
    if context.is_null() {
        return;
    }
    ids(context, path, &["runAsUser", "runAsGroup", "fsGroup"], errors);
    for (i, group) in context.list_at(&["supplementalGroups"]).iter().enumerate() {
        let n = group.as_i64().unwrap_or(0);
        for message in name::in_range(n, 0, i64::from(i32::MAX)) {
            errors.invalid(&path.child("supplementalGroups").index(i), n, &message);
        }
    }
    let sysctls = context.list_at(&["sysctls"]);
    for (i, sysctl) in sysctls.iter().enumerate() {
        let at = path.child("sysctls").index(i);
        match sysctl["name"].as_str().unwrap_or_default() {
            "" => errors.required(&at.child("name"), ""),
            text if !is_sysctl(text) => {
                let detail = "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
                errors.invalid(&at.child("name"), text.to_owned(), detail);
            }
            text => {
                if sysctls[..i].iter().any(|s| s["name"] == sysctl["name"]) {
                    errors.duplicate(&at.child("name"), text.to_owned());
                }
            }
        }
    }
    if !context["fsGroupChangePolicy"].is_null() {
        let known = ["Always", "OnRootMismatch"];
        errors.enumeration(
            &path.child("fsGroupChangePolicy"),
            &context["fsGroupChangePolicy"],
            &known,
        );
    }
    if !context["supplementalGroupsPolicy"].is_null() {
        let known = ["Merge", "Strict"];
        errors.enumeration(
            &path.child("supplementalGroupsPolicy"),
            &context["supplementalGroupsPolicy"],
            &known,
        );
    }
    if !context["seLinuxChangePolicy"].is_null() {
        let known = ["MountOption", "Recursive"];
        errors.enumeration(
            &path.child("seLinuxChangePolicy"),
            &context["seLinuxChangePolicy"],
            &known,
        );
    }
    profiles(context, path, errors);
}

/// `net.ipv4.tcp_syncookies`, with dots or slashes.
fn is_sysctl(text: &str) -> bool {
    let end = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() <= 253
        && text.split(['.', '/']).all(|part| {
            let bytes = part.as_bytes();
            bytes.first().is_some_and(|b| end(*b))
                && bytes.last().is_some_and(|b| end(*b))
                && bytes.iter().all(|b| end(*b) || matches!(b, b'-' | b'_'))
        })
}

/// What is wrong with a container's security context.
pub(crate) fn validate_container(context: &Value, path: &Path, errors: &mut FieldErrors) {
    if context.is_null() {
        return;
    }
    ids(context, path, &["runAsUser", "runAsGroup"], errors);
    if !context["procMount"].is_null() {
        errors.enumeration(
            &path.child("procMount"),
            &context["procMount"],
            &["Default", "Unmasked"],
        );
    }
    profiles(context, path, errors);
    if context["allowPrivilegeEscalation"].as_bool() == Some(false) {
        let mut bad = |what: &str| {
            let detail = format!("cannot set `allowPrivilegeEscalation` to false and {what}");
            errors.invalid(path, context.clone(), &detail);
        };
        if context["privileged"].as_bool() == Some(true) {
            bad("`privileged` to true");
        }
        let added = context.list_at(&["capabilities", "add"]);
        if added.iter().any(|c| c.as_str() == Some("CAP_SYS_ADMIN")) {
            bad("`capabilities.Add` CAP_SYS_ADMIN");
        }
    }
}

fn profiles(context: &Value, path: &Path, errors: &mut FieldErrors) {
    for field in ["seccompProfile", "appArmorProfile"] {
        let (profile, at) = (&context[field], path.child(field));
        if profile.is_null() {
            continue;
        }
        let local = &profile["localhostProfile"];
        match profile["type"].as_str().unwrap_or_default() {
            "Localhost" if local.is_zero() => {
                let detail = if field == "seccompProfile" {
                    "must be set when seccomp type is Localhost"
                } else {
                    "must be set when AppArmor type is Localhost"
                };
                errors.required(&at.child("localhostProfile"), detail);
            }
            "Localhost" => {
                let text = local.as_str().unwrap_or_default();
                if field == "seccompProfile" {
                    super::volume::descending_path(text, &at.child("localhostProfile"), errors);
                } else if text.trim() != text {
                    let detail = "must not be padded with whitespace";
                    errors.invalid(&at.child("localhostProfile"), text.to_owned(), detail);
                }
            }
            "RuntimeDefault" | "Unconfined" => {
                if !local.is_null() {
                    let what = if field == "seccompProfile" {
                        "seccomp"
                    } else {
                        "AppArmor"
                    };
                    let detail = format!("can only be set when {what} type is Localhost");
                    errors.invalid(&at.child("localhostProfile"), local.clone(), &detail);
                }
            }
            "" => errors.required(&at.child("type"), "type is required when seccompProfile is set"),
            other => {
                let known = ["Localhost", "RuntimeDefault", "Unconfined"];
                errors.not_supported(&at.child("type"), other.to_owned(), &known);
            }
        }
    }
}

//! PATCH: JSON patch, merge patch and strategic merge patch, as a [`Mutation`] of the update loop.

use super::update::Mutation;
use super::{FieldValidation, Op};
use crate::codec;
use crate::status::{ApiError, Result};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use machinery::Value;
use machinery::patch::{self, PatchError};

/// The language of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' own.
    Strategic,
}

/// What is accepted.
const ACCEPTED: &str =
    "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json";

impl Language {
    /// By the `Content-Type`.
    pub fn of(headers: &HeaderMap) -> Result<Self> {
        let ty = headers
            .get(CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .unwrap_or("");
        match ty.split(';').next().unwrap_or("").trim() {
            "application/json-patch+json" => Ok(Self::Json),
            "application/merge-patch+json" => Ok(Self::Merge),
            "application/strategic-merge-patch+json" => Ok(Self::Strategic),
            _ => Err(ApiError::unsupported_media_type(ACCEPTED)),
        }
    }
}

/// A patch that was read, ready to be applied to whatever state the object is in.
pub struct Patch {
    language: Language,
    patch: Value,
    validation: FieldValidation,
    /// The type that the result must have, where it is not the kind's own (`scale`).
    ty: machinery::TypeId,
}

impl Patch {
    /// Reads a patch for objects of type `ty`.
    pub fn read(op: &Op<'_>, language: Language, body: &[u8], ty: machinery::TypeId) -> Result<Self> {
        let patch = codec::parse_json(body)
            .map_err(|e| ApiError::bad_request(format!("error decoding patch: {e}")))?;
        Ok(Self {
            language,
            patch,
            validation: op.field_validation()?,
            ty,
        })
    }

    /// The patched form of any object of the patch's type.
    pub fn patched(&self, old: &Value, op: &Op<'_>) -> Result<Value> {
        let mut new = old.clone();
        let name = old.str_at(&["metadata", "name"]).unwrap_or_default();
        let result = match self.language {
            Language::Json => patch::json::apply(&mut new, &self.patch),
            Language::Merge => {
                if !matches!(self.patch, Value::Map(_)) {
                    return Err(ApiError::bad_request(
                        "error decoding patch: the patch is no object",
                    ));
                }
                patch::merge::apply(&mut new, self.patch.clone());
                Ok(())
            }
            Language::Strategic => {
                patch::strategic::apply(&mut new, self.patch.clone(), self.ty, op.kind.catalog)
            }
        };
        result.map_err(|e| match e {
            PatchError::Malformed(text) => ApiError::bad_request(text),
            PatchError::TooLarge { .. } => {
                let mut error = ApiError::too_large(0);
                error.0.message = e.to_string();
                error
            }
            PatchError::Unprocessable(text) => unprocessable(&text),
            PatchError::Unfit(text) => ApiError::unknown(text),
        })?;
        // The result is read again by the schema: a patch can put anything anywhere.
        let decoded = codec::check_tree(new, op.kind.catalog, self.ty, self.validation).map_err(|e| {
            let message = format!("Invalid value: {e}");
            ApiError::invalid_field(
                op.kind.group(),
                op.kind.kind(),
                name,
                "FieldValueInvalid",
                "patch",
                &message,
            )
        })?;
        match self.validation {
            FieldValidation::Ignore => {}
            FieldValidation::Warn => decoded.strict.iter().for_each(|w| op.cx.warn(w.clone())),
            FieldValidation::Strict if decoded.strict.is_empty() => {}
            FieldValidation::Strict => {
                let message = format!(
                    "Invalid value: strict decoding error: {}",
                    decoded.strict.join(", ")
                );
                return Err(ApiError::invalid_field(
                    op.kind.group(),
                    op.kind.kind(),
                    name,
                    "FieldValueInvalid",
                    "patch",
                    &message,
                ));
            }
        }
        let mut new = decoded.object;
        for field in ["apiVersion", "kind"] {
            if new[field] != old[field]
                && let (Value::Map(map), Some(value)) = (&mut new, old.get(field))
            {
                map.insert(field, value.clone());
            }
        }
        Ok(new)
    }
}

/// 422 with a free text: what upstream answers when a JSON patch does not apply.
fn unprocessable(text: &str) -> ApiError {
    let mut error = ApiError::bad_request(format!(
        "the server rejected our request due to an error in our request: {text}"
    ));
    error.0.code = 422;
    error.0.reason = "Invalid".into();
    error
}

impl Mutation for Patch {
    fn apply(&self, old: &Value, op: &Op<'_>) -> Result<Value> {
        self.patched(old, op)
    }
}

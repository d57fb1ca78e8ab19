//! Which form a body has and which form the client wants.
//!
//! Source: RFC 9110 section 12.5.1 and upstream's `negotiation` package: clauses are tried by their quality, then in
//! their order; parameters `as`, `g`, `v` ask for a Table or for metadata alone, `stream=watch` is accepted.

use crate::status::{ApiError, Result};
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};

/// An encoding of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Media {
    /// `application/json`
    Json,
    /// `application/yaml`
    Yaml,
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
}

/// What is accepted in both directions.
pub const ACCEPTED: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
/// What a watch can be streamed in.
pub const ACCEPTED_STREAM: &str = "application/json, application/vnd.kubernetes.protobuf";

impl Media {
    /// The media type without parameters.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }

    fn of(ty: &str) -> Option<Self> {
        [Self::Json, Self::Yaml, Self::Protobuf]
            .into_iter()
            .find(|m| m.content_type().eq_ignore_ascii_case(ty))
    }

    /// The encoding of a request's body; without a `Content-Type` it is JSON.
    pub fn of_body(headers: &HeaderMap) -> Result<Self> {
        let Some(header) = headers.get(CONTENT_TYPE) else {
            return Ok(Self::Json);
        };
        let ty = header
            .to_str()
            .unwrap_or("")
            .split(';')
            .next()
            .unwrap_or("")
            .trim();
        if ty.is_empty() {
            return Ok(Self::Json);
        }
        Self::of(ty).ok_or_else(|| ApiError::unsupported_media_type(ACCEPTED))
    }
}

/// What objects are turned into before they are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// The object itself.
    Object,
    /// `meta.k8s.io/v1` Table.
    Table,
    /// `meta.k8s.io/v1` PartialObjectMetadata or its list.
    Metadata,
}

/// What the client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accept {
    /// Encoding.
    pub media: Media,
    /// Shape.
    pub shape: Shape,
    /// Indented JSON.
    pub pretty: bool,
}

/// One clause of an `Accept` header.
pub(crate) struct Clause<'a> {
    pub(crate) ty: &'a str,
    pub(crate) params: Vec<(&'a str, &'a str)>,
    quality: f32,
}

/// The clauses of an `Accept` header, best first.
pub(crate) fn clauses(header: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<Clause<'_>> = header
        .split(',')
        .take(32)
        .filter_map(|text| {
            let mut parts = text.split(';').map(str::trim);
            let ty = parts.next().filter(|t| !t.is_empty())?;
            let params: Vec<_> = parts.filter_map(|p| p.split_once('=')).collect();
            let quality = params
                .iter()
                .find(|(k, _)| *k == "q")
                .and_then(|(_, v)| v.parse().ok())
                .unwrap_or(1.0);
            Some(Clause { ty, params, quality })
        })
        .collect();
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    clauses
}

impl Accept {
    /// Plain JSON.
    pub const JSON: Self = Self {
        media: Media::Json,
        shape: Shape::Object,
        pretty: false,
    };

    /// Reads the `Accept` header. `convert` says whether this endpoint can answer in other shapes; `stream` that the
    /// answer is a watch, which has no YAML.
    pub fn negotiate(headers: &HeaderMap, pretty: Option<&str>, convert: bool, stream: bool) -> Result<Self> {
        let browser = headers
            .get(USER_AGENT)
            .and_then(|v| v.to_str().ok())
            .is_some_and(|a| ["curl", "Wget", "Mozilla/5.0"].iter().any(|p| a.starts_with(p)));
        let pretty = match pretty {
            Some(text) => matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True"),
            None => browser,
        };
        let header = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("");
        if header.is_empty() {
            return Ok(Self { pretty, ..Self::JSON });
        }
        for clause in clauses(header) {
            let media = match clause.ty {
                "*/*" | "application/*" => Media::Json,
                ty => match Media::of(ty) {
                    Some(Media::Yaml) if stream => continue,
                    Some(media) => media,
                    None => continue,
                },
            };
            let get = |key| {
                clause
                    .params
                    .iter()
                    .find(|(k, _)| *k == key)
                    .map_or("", |(_, v)| *v)
            };
            let shape = match (get("as"), get("g"), get("v")) {
                ("", "", "") => Shape::Object,
                ("Table", "meta.k8s.io", "v1") if convert && media != Media::Protobuf => Shape::Table,
                ("PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io", "v1") if convert => {
                    Shape::Metadata
                }
                _ => continue,
            };
            if !matches!(get("stream"), "" | "watch") || !get("sv").is_empty() {
                continue;
            }
            return Ok(Self {
                media,
                shape,
                pretty: pretty || get("pretty") == "1",
            });
        }
        Err(ApiError::not_acceptable(if stream {
            ACCEPTED_STREAM
        } else {
            ACCEPTED
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(header: &str) -> Result<Accept> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, header.parse().unwrap());
        Accept::negotiate(&headers, None, true, false)
    }

    #[test]
    fn kubectl_gets_a_table_and_cbor_is_refused() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(accept(kubectl).unwrap().shape, Shape::Table);
        let go = "application/vnd.kubernetes.protobuf,application/json";
        assert_eq!(accept(go).unwrap().media, Media::Protobuf);
        assert_eq!(
            accept("application/yaml;q=0.1, application/json").unwrap().media,
            Media::Json
        );
        assert_eq!(accept("application/cbor").unwrap_err().code(), 406);
        assert_eq!(
            accept("application/json;as=Table;v=v2;g=meta.k8s.io")
                .unwrap_err()
                .code(),
            406
        );
    }
}

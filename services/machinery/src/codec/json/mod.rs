//! JSON, as Go's `encoding/json` reads and writes it where that shows.

mod parse;
mod write;

pub use parse::{parse, parse_reporting};
pub use write::{to_string, to_vec, write, write_str};

use std::collections::HashMap;

use self::parse::Report;
use super::{DecodeError, DecodeOptions, Decoded, Strictness, sort_problems, typed};
use crate::{Catalog, TypeId};

/// Decodes an object of a known type.
///
/// # Errors
/// [`DecodeError::Syntax`] for what is no JSON, [`DecodeError::Type`] for a value that does not fit its field.
pub fn decode(
    bytes: &[u8],
    catalog: &Catalog,
    ty: TypeId,
    options: DecodeOptions,
) -> Result<Decoded, DecodeError> {
    let strict = options.strictness != Strictness::Ignore;
    let mut report = Report::default();
    let value = parse::parse_with(bytes, Some(catalog), strict.then_some(&mut report))?;
    let mut converter = typed::Converter::new(catalog, strict);
    let value = converter.root(ty, value)?;
    let unknown = std::mem::take(&mut converter.problems);
    let problems = if report.duplicates.is_empty() {
        unknown
    } else {
        in_order(bytes, unknown, report)?
    };
    Ok(sort_problems(value, problems, options))
}

/// Unknown and duplicate fields in the order of the text, as upstream's decoder meets them in one pass. What stands
/// inside an unknown field is skipped there, so duplicates in it are none.
fn in_order(bytes: &[u8], unknown: Vec<String>, report: Report) -> Result<Vec<String>, DecodeError> {
    let mut places = Report {
        positions: Some(HashMap::new()),
        ..Report::default()
    };
    parse::parse_with(bytes, None, Some(&mut places))?;
    let positions = places.positions.unwrap_or_default();
    let path = |text: &str| {
        text.strip_prefix("unknown field \"")
            .and_then(|t| t.strip_suffix('"'))
            .map(str::to_owned)
    };
    let paths: Vec<String> = unknown.iter().filter_map(|text| path(text)).collect();
    let skipped = |duplicate: &str| {
        paths.iter().any(|p| {
            duplicate
                .strip_prefix(&**p)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    };
    let mut all: Vec<(usize, String)> = report
        .duplicates
        .into_iter()
        .filter(|(_, path)| !skipped(path))
        .map(|(at, path)| (at, format!("duplicate field \"{path}\"")))
        .collect();
    all.extend(
        paths
            .iter()
            .zip(unknown)
            .map(|(path, text)| (positions.get(path).copied().unwrap_or(usize::MAX), text)),
    );
    all.sort_by_key(|(at, _)| *at);
    all.truncate(super::MAX_PROBLEMS);
    Ok(all.into_iter().map(|(_, text)| text).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::MAX_DEPTH;
    use crate::{Field, FieldType, TypeDef, value};

    fn round(text: &str) -> Result<String, String> {
        parse(text.as_bytes())
            .map(|v| to_string(&v))
            .map_err(|e| e.to_string())
    }

    #[test]
    fn text_is_written_as_go_writes_it() {
        assert_eq!(
            round(r#" {"a<b>&" : [1, -2.50, 1e21, 0.0000001, 5.0, "\u00e9\n\u2028\u0001\/", null, true] } "#)
                .as_deref(),
            Ok(r#"{"a\u003cb\u003e\u0026":[1,-2.5,1e+21,1e-7,5,"é\n\u2028\u0001/",null,true]}"#)
        );
        assert_eq!(
            round(r#""\ud83d\ude00 \ud83d""#).as_deref(),
            Ok("\"😀 \u{fffd}\"")
        );
        assert_eq!(round("9223372036854775807").as_deref(), Ok("9223372036854775807"));
    }

    #[test]
    fn what_is_no_json_is_refused_with_gos_words() {
        for (text, message) in [
            ("", "unexpected end of JSON input"),
            ("{", "unexpected end of JSON input"),
            (
                "{a",
                "invalid character 'a' looking for beginning of object key string",
            ),
            ("[1 2]", "invalid character '2' after array element"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("{} x", "invalid character 'x' after top-level value"),
            ("01", "invalid character '1' after top-level value"),
            ("nul", "unexpected end of JSON input"),
            ("\"a\nb\"", "invalid character '\\n' in string literal"),
        ] {
            assert_eq!(round(text), Err(message.to_owned()), "{text}");
        }
        assert!(parse("[".repeat(MAX_DEPTH + 1).as_bytes()).is_err());
    }

    fn catalog() -> Catalog {
        let field = |name, ty| Field::new(name, ty);
        let mut replicas = field("replicas", FieldType::Int32);
        replicas.pointer = true;
        let mut status = field("status", FieldType::Object(TypeId(1)));
        status.omit_empty = false;
        let strings = || Box::new(FieldType::String);
        let spec = vec![
            replicas,
            field("paused", FieldType::Bool),
            field("args", FieldType::List(strings())),
            field("labels", FieldType::Map(strings())),
            field("at", FieldType::Time),
            field("cpu", FieldType::Quantity),
        ];
        let root = vec![field("spec", FieldType::Object(TypeId(1))), status];
        let types = vec![
            TypeDef::new("a.v1.Thing", root),
            TypeDef::new("a.v1.ThingSpec", spec),
        ];
        Catalog {
            types,
            ..Catalog::default()
        }
    }

    #[test]
    fn objects_become_what_go_would_print() {
        let text = r#"{"more":1,"spec":{"labels":{"b":"1","a":null},"paused":false,"replicas":0,"cpu":"0.5",
            "at":"2026-01-01T01:00:00+01:00","args":[],"no":{"x":1,"x":2},"replicas":3}}"#;
        let options = DecodeOptions {
            strictness: Strictness::Strict,
        };
        let got = decode(text.as_bytes(), &catalog(), TypeId(0), options).unwrap();
        assert_eq!(
            to_string(&got.value),
            r#"{"spec":{"replicas":3,"labels":{"a":"","b":"1"},"at":"2026-01-01T00:00:00Z","cpu":"500m"},"status":{}}"#
        );
        let errors = [
            "unknown field \"more\"",
            "unknown field \"spec.no\"",
            "duplicate field \"spec.replicas\"",
        ];
        assert_eq!(got.strict_errors, errors);
        let relaxed = decode(text.as_bytes(), &catalog(), TypeId(0), DecodeOptions::default()).unwrap();
        assert!(
            relaxed.value == got.value && relaxed.strict_errors.is_empty() && relaxed.warnings.is_empty()
        );
    }

    #[test]
    fn wrong_types_are_told_as_go_tells_them() {
        for (text, message) in [
            (
                r#"{"spec":{"replicas":"x"}}"#,
                "string into Go struct field ThingSpec.spec.replicas of type int32",
            ),
            (
                r#"{"spec":{"replicas":1.5}}"#,
                "number 1.5 into Go struct field ThingSpec.spec.replicas of type int32",
            ),
            (
                r#"{"spec":{"replicas":3000000000}}"#,
                "number 3000000000 into Go struct field ThingSpec.spec.replicas of type int32",
            ),
            (
                r#"{"spec":{"args":"x"}}"#,
                "string into Go struct field ThingSpec.spec.args of type []string",
            ),
            (
                r#"{"spec":[]}"#,
                "array into Go struct field Thing.spec of type v1.ThingSpec",
            ),
            ("[]", "array into Go value of type v1.Thing"),
        ] {
            let got = decode(text.as_bytes(), &catalog(), TypeId(0), DecodeOptions::default());
            assert_eq!(
                got,
                Err(DecodeError::Type(format!("json: cannot unmarshal {message}")))
            );
        }
    }

    #[test]
    fn changed_trees_are_made_canonical_again() {
        let changed =
            value!({"status": {"paused": false}, "spec": {"cpu": "1000m", "labels": {"z": "", "a": ""}}});
        let got = crate::codec::convert(changed, &catalog(), TypeId(0), DecodeOptions::default()).unwrap();
        assert_eq!(
            to_string(&got.value),
            r#"{"spec":{"labels":{"a":"","z":""},"cpu":"1"},"status":{}}"#
        );
    }
}

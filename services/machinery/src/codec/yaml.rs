//! YAML, as `sigs.k8s.io/yaml` reads it: the first document, made JSON.
//!
//! Upstream reads YAML 1.1: `yes` and `on` are booleans, `0777` is octal, `1_000` a number, `<<` merges. A parser of
//! events gives quoted and plain scalars apart, so that these rules are ours; serde would have decided them already.
//! Aliases may not blow a small text up: what they repeat is counted.

use std::borrow::Cow;
use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Tag};

use super::{DecodeError, DecodeOptions, Decoded, MAX_DEPTH, Strictness, json, sort_problems, typed};
use crate::{Catalog, Key, Map, TypeId, Value};

/// How many values aliases may repeat in all.
const MAX_REPEATED: usize = 100_000;

/// Parses the first document.
///
/// # Errors
/// [`DecodeError::Syntax`], or [`DecodeError::Limit`] for too much depth or repetition.
pub fn parse(bytes: &[u8]) -> Result<Value, DecodeError> {
    parse_with(bytes, None, &mut Vec::new())
}

/// Decodes an object of a known type. What is JSON is read as such.
///
/// # Errors
/// As [`json::decode`].
pub fn decode(
    bytes: &[u8],
    catalog: &Catalog,
    ty: TypeId,
    options: DecodeOptions,
) -> Result<Decoded, DecodeError> {
    if bytes.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{')
        && let Ok(decoded) = json::decode(bytes, catalog, ty, options)
    {
        return Ok(decoded);
    }
    let strict = options.strictness != Strictness::Ignore;
    let mut duplicates = Vec::new();
    let value = parse_with(bytes, Some(catalog), &mut duplicates)?;
    let mut converter = typed::Converter::new(catalog, strict);
    let value = converter.root(ty, value)?;
    let mut problems = Vec::new();
    if strict && !duplicates.is_empty() {
        problems.push(format!("yaml: unmarshal errors:\n  {}", duplicates.join("\n  ")));
    }
    problems.append(&mut converter.problems);
    Ok(sort_problems(value, problems, options))
}

fn parse_with(
    bytes: &[u8],
    catalog: Option<&Catalog>,
    duplicates: &mut Vec<String>,
) -> Result<Value, DecodeError> {
    let text = String::from_utf8_lossy(bytes);
    let parser = Parser::new_from_str(&text);
    let mut composer = Composer {
        parser,
        catalog,
        duplicates,
        anchors: HashMap::new(),
        depth: 0,
        repeated: 0,
    };
    loop {
        match composer.next()? {
            None | Some((Event::StreamEnd, _)) => return Ok(Value::Null),
            Some((Event::StreamStart | Event::DocumentStart(..), _)) => {}
            Some((event, _)) => return composer.node(event),
        }
    }
}

struct Composer<'a, P> {
    parser: P,
    catalog: Option<&'a Catalog>,
    duplicates: &'a mut Vec<String>,
    anchors: HashMap<usize, Value>,
    depth: usize,
    repeated: usize,
}

impl<'a, P> Composer<'a, P>
where
    P: Iterator<
        Item = Result<(Event<'a>, serde_saphyr::granit_parser::Span), serde_saphyr::granit_parser::ScanError>,
    >,
{
    /// The next event and its line.
    fn next(&mut self) -> Result<Option<(Event<'a>, usize)>, DecodeError> {
        match self.parser.next() {
            None => Ok(None),
            Some(Ok((event, span))) => Ok(Some((event, span.start.line()))),
            Some(Err(e)) => Err(DecodeError::Syntax(format!(
                "yaml: line {}: {}",
                e.marker().line(),
                e.info()
            ))),
        }
    }

    fn must(&mut self) -> Result<(Event<'a>, usize), DecodeError> {
        self.next()?
            .ok_or_else(|| DecodeError::Syntax("yaml: unexpected end of stream".into()))
    }

    fn node(&mut self, event: Event<'a>) -> Result<Value, DecodeError> {
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => (scalar(text, style, tag.as_deref())?, anchor),
            Event::SequenceStart(_, anchor, _) => (self.nested(Self::sequence)?, anchor),
            Event::MappingStart(_, anchor, _) => (self.nested(Self::mapping)?, anchor),
            Event::Alias(id) => {
                let value = self.anchors.get(&id).cloned();
                let value =
                    value.ok_or_else(|| DecodeError::Syntax("yaml: unknown anchor referenced".into()))?;
                self.repeated += count(&value);
                if self.repeated > MAX_REPEATED {
                    return Err(DecodeError::Limit("yaml: document contains excessive aliasing"));
                }
                return Ok(value);
            }
            _ => {
                return Err(DecodeError::Syntax(
                    "yaml: did not find expected node content".into(),
                ));
            }
        };
        if anchor > 0 {
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Value, DecodeError>) -> Result<Value, DecodeError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(DecodeError::Limit("exceeded max depth"));
        }
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn sequence(&mut self) -> Result<Value, DecodeError> {
        let mut list = Vec::new();
        loop {
            match self.must()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(list)),
                (event, _) => list.push(self.node(event)?),
            }
        }
    }

    fn mapping(&mut self) -> Result<Value, DecodeError> {
        let mut entries: Vec<(Key, Value)> = Vec::new();
        let mut seen: HashMap<Key, usize> = HashMap::new();
        let mut merged = Vec::new();
        loop {
            let (event, line) = self.must()?;
            if event == Event::MappingEnd {
                break;
            }
            let merges = matches!(&event, Event::Scalar(s, ScalarStyle::Plain, _, None) if s == "<<");
            let key = if merges {
                Cow::Borrowed("<<")
            } else {
                self.key(event)?
            };
            let (event, _) = self.must()?;
            let value = self.node(event)?;
            if merges {
                merged.push(value);
                continue;
            }
            match seen.get(&key) {
                Some(&at) => {
                    self.duplicates
                        .push(format!("line {line}: key \"{key}\" already set in map"));
                    entries[at].1 = value;
                }
                None => {
                    seen.insert(key.clone(), entries.len());
                    entries.push((key, value));
                }
            }
        }
        for value in merged {
            let maps = match value {
                Value::List(list) => list,
                one => vec![one],
            };
            for map in maps {
                let Value::Map(map) = map else {
                    return Err(DecodeError::Syntax(
                        "yaml: map merge requires map or sequence of maps as the value".into(),
                    ));
                };
                for (key, value) in map {
                    if !seen.contains_key(&key) {
                        seen.insert(key.clone(), entries.len());
                        entries.push((key, value));
                    }
                }
            }
        }
        Ok(Value::Map(Map::from_unique(entries)))
    }

    fn key(&mut self, event: Event<'a>) -> Result<Key, DecodeError> {
        let text = match self.node(event)? {
            Value::Str(s) => s,
            Value::Int(n) => Cow::Owned(n.to_string()),
            Value::Bool(b) => Cow::Borrowed(if b { "true" } else { "false" }),
            v @ Value::Float(_) => Cow::Owned(json::to_string(&v)),
            other => {
                let found = other.type_name();
                return Err(DecodeError::Syntax(format!(
                    "unsupported map key of type: {found}"
                )));
            }
        };
        Ok(match self.catalog.and_then(|c| c.static_name(&text)) {
            Some(name) => Cow::Borrowed(name),
            None => text,
        })
    }
}

fn count(value: &Value) -> usize {
    match value {
        Value::List(list) => 1 + list.iter().map(count).sum::<usize>(),
        Value::Map(map) => 1 + map.iter().map(|(_, v)| count(v)).sum::<usize>(),
        _ => 1,
    }
}

fn scalar(text: Cow<'_, str>, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, DecodeError> {
    let string = |text: Cow<'_, str>| Ok(Value::Str(Cow::Owned(text.into_owned())));
    let known = |tag: &Tag| tag.suffix_in_namespace("tag:yaml.org,2002:").map(Cow::into_owned);
    match tag.and_then(known).as_deref() {
        Some("str") => string(text),
        Some("binary") => {
            let packed: String = text.chars().filter(|c| !c.is_whitespace()).collect();
            let bytes = STANDARD.decode(packed);
            let bytes = bytes.map_err(|_| {
                DecodeError::Syntax("yaml: !!binary value contains invalid base64 data".into())
            })?;
            string(String::from_utf8_lossy(&bytes))
        }
        Some(_) => plain(text),
        None if style == ScalarStyle::Plain && tag.is_none() => plain(text),
        None => string(text),
    }
}

/// What a scalar without quotes means.
fn plain(text: Cow<'_, str>) -> Result<Value, DecodeError> {
    Ok(match &*text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Value::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Value::Bool(false)
        }
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf" | "-.INF" | ".nan"
        | ".NaN" | ".NAN" => {
            return Err(DecodeError::Syntax(format!(
                "json: unsupported value: {}",
                &text[1..]
            )));
        }
        s => match number(s) {
            Some(value) => value,
            None => Value::Str(Cow::Owned(text.into_owned())),
        },
    })
}

fn number(text: &str) -> Option<Value> {
    if !matches!(text.as_bytes().first()?, b'0'..=b'9' | b'+' | b'-' | b'.') {
        return None;
    }
    let digits: Cow<'_, str> = if text.contains('_') {
        Cow::Owned(text.replace('_', ""))
    } else {
        Cow::Borrowed(text)
    };
    let (negative, body) = match digits.as_bytes()[0] {
        b'-' => (true, &digits[1..]),
        b'+' => (false, &digits[1..]),
        _ => (false, &*digits),
    };
    let with_base = |rest: &str, base: u32| {
        let valid = !rest.is_empty() && rest.chars().all(|c| c.is_digit(base));
        let n = valid.then(|| i64::from_str_radix(rest, base).ok()).flatten()?;
        Some(Value::Int(if negative { -n } else { n }))
    };
    let lower = body.to_ascii_lowercase();
    let based = [("0x", 16), ("0o", 8), ("0b", 2)];
    if let Some((rest, base)) = based
        .iter()
        .find_map(|(p, base)| lower.strip_prefix(p).map(|rest| (rest, *base)))
    {
        return with_base(rest, base);
    }
    if body.len() > 1
        && body.starts_with('0')
        && let Some(value) = with_base(&body[1..], 8)
    {
        return Some(value);
    }
    if body.bytes().all(|b| b.is_ascii_digit())
        && !body.is_empty()
        && let Ok(n) = digits.trim_start_matches('+').parse::<i64>()
    {
        return Some(Value::Int(n));
    }
    // Digits with a point, an exponent or both.
    let shape = body
        .bytes()
        .all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    if !shape || !body.bytes().any(|b| b.is_ascii_digit()) {
        return None;
    }
    match digits.parse::<f64>() {
        Ok(f) if f.is_finite() => Some(Value::Float(f)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match parse(text.as_bytes()) {
            Ok(value) => json::to_string(&value),
            Err(e) => format!("error: {e}"),
        }
    }

    /// Each answer is what `sigs.k8s.io/yaml` 1.6 gave.
    #[test]
    fn scalars_mean_what_they_mean_to_upstream() {
        for (text, expected) in [
            ("yes", "true"),
            ("y", "true"),
            ("Y", "true"),
            ("n", "false"),
            ("on", "true"),
            ("OFF", "false"),
            ("True", "true"),
            ("~", "null"),
            ("", "null"),
            ("NULL", "null"),
            ("0777", "511"),
            ("0o17", "15"),
            ("0x1F", "31"),
            ("0b11", "3"),
            ("1_000", "1000"),
            ("1e3", "1000"),
            ("1.", "1"),
            (".5", "0.5"),
            ("+5", "5"),
            ("-0", "0"),
            ("123456789012345678901234567890", "1.2345678901234568e+29"),
            ("1.0", "1"),
            ("2001-01-01", "\"2001-01-01\""),
            ("1:30", "\"1:30\""),
            ("!!str 5", "\"5\""),
            ("!!int \"5\"", "5"),
            ("!!binary aGVsbG8=", "\"hello\""),
            ("\"5\"", "\"5\""),
            ("'yes'", "\"yes\""),
            ("=", "\"=\""),
            ("<<", "\"\\u003c\\u003c\""),
            ("089", "89"),
            ("0.1e-7", "1e-8"),
            ("!foo bar", "\"bar\""),
            ("1__0", "10"),
            ("|\n  foo\n  bar\n", "\"foo\\nbar\\n\""),
            ("1.2.3", "\"1.2.3\""),
            ("10.0.0.1", "\"10.0.0.1\""),
            ("1-2", "\"1-2\""),
        ] {
            let expected = format!("{{\"a\":{expected}}}");
            assert_eq!(shown(&format!("a: {text}")), expected, "{text}");
        }
    }

    #[test]
    fn documents_become_trees() {
        assert_eq!(
            shown("a: &x {b: 1}\nc: {<<: *x, d: 2}"),
            r#"{"a":{"b":1},"c":{"d":2,"b":1}}"#
        );
        assert_eq!(
            shown("1: a\ntrue: b\n1.5: c"),
            r#"{"1":"a","true":"b","1.5":"c"}"#
        );
        assert_eq!(shown("a: 1\n---\nb: 2"), r#"{"a":1}"#);
        assert_eq!(shown("- 1\n- x"), r#"[1,"x"]"#);
        assert_eq!(shown(""), "null");
        for bad in ["a: b: c", "a: [1, 2", "a: *nothing", "a: .inf", "~: d"] {
            assert!(shown(bad).starts_with("error: "), "{bad}");
        }
        assert!(shown(&"[".repeat(MAX_DEPTH + 1)).starts_with("error: "));
    }

    #[test]
    fn keys_that_stand_twice_are_told_with_their_line() {
        let mut duplicates = Vec::new();
        let value = parse_with(b"a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\na: 4\n", None, &mut duplicates);
        assert_eq!(
            duplicates,
            [
                "line 5: key \"c\" already set in map",
                "line 6: key \"a\" already set in map"
            ]
        );
        assert_eq!(
            value.map(|v| json::to_string(&v)).as_deref(),
            Ok(r#"{"a":4,"b":{"c":3,"d":2}}"#)
        );
    }

    #[test]
    fn aliases_cannot_blow_up_a_small_text() {
        let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for n in 1..9 {
            let line = format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(","));
            text.push_str(&line);
        }
        assert_eq!(
            parse(text.as_bytes()),
            Err(DecodeError::Limit("yaml: document contains excessive aliasing"))
        );
    }
}

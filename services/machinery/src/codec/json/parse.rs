//! Text to tree, without types.
//!
//! Strict JSON: no comments, no trailing commas, no NaN. Integers that fit become [`Value::Int`], all other numbers
//! floats. Invalid UTF-8 is replaced, as Go does. Of keys that stand twice the last wins.

use std::borrow::Cow;
use std::collections::HashMap;

use super::super::{DecodeError, MAX_DEPTH, MAX_PROBLEMS};
use crate::{Catalog, Key, Map, Value};

/// Parses any JSON.
///
/// # Errors
/// [`DecodeError::Syntax`], or [`DecodeError::Limit`] if it is nested too deep.
pub fn parse(bytes: &[u8]) -> Result<Value, DecodeError> {
    parse_with(bytes, None, None)
}

/// Parses any JSON and reports keys that stand twice as `duplicate field "a.b"`.
///
/// # Errors
/// As [`parse`].
pub fn parse_reporting(bytes: &[u8], problems: &mut Vec<String>) -> Result<Value, DecodeError> {
    let mut report = Report::default();
    let value = parse_with(bytes, None, Some(&mut report))?;
    problems.extend(
        report
            .duplicates
            .into_iter()
            .map(|(_, path)| format!("duplicate field \"{path}\"")),
    );
    Ok(value)
}

/// What a parser tells besides the tree.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Keys that stand twice: where the second stands, and its path.
    pub(super) duplicates: Vec<(usize, String)>,
    /// Where each path stands first, if wanted.
    pub(super) positions: Option<HashMap<String, usize>>,
}

pub(super) fn parse_with(
    bytes: &[u8],
    catalog: Option<&Catalog>,
    report: Option<&mut Report>,
) -> Result<Value, DecodeError> {
    let text = String::from_utf8_lossy(bytes);
    let mut parser = Parser {
        source: &text,
        text: text.as_bytes(),
        at: 0,
        catalog,
        report,
        path: Vec::new(),
        depth: 0,
    };
    parser.space();
    let value = parser.value()?;
    parser.space();
    match parser.peek() {
        None => Ok(value),
        Some(_) => Err(parser.unexpected("after top-level value")),
    }
}

/// Objects with more keys than this look for duplicates in a hash map.
const FEW: usize = 24;

struct Parser<'a> {
    source: &'a str,
    text: &'a [u8],
    at: usize,
    catalog: Option<&'a Catalog>,
    report: Option<&'a mut Report>,
    /// Where we are, kept only when a report is wanted.
    path: Vec<Step>,
    depth: usize,
}

enum Step {
    Key(Key),
    Item(usize),
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn unexpected(&self, context: &str) -> DecodeError {
        DecodeError::Syntax(match self.peek() {
            None => "unexpected end of JSON input".into(),
            Some(_) => {
                let c = self
                    .source
                    .get(self.at..)
                    .and_then(|rest| rest.chars().next())
                    .unwrap_or(' ');
                let shown = match c {
                    '\'' => "'\\''".into(),
                    '"' => "'\"'".into(),
                    c => format!("'{}'", c.escape_default()),
                };
                format!("invalid character {shown} {context}")
            }
        })
    }

    fn value(&mut self) -> Result<Value, DecodeError> {
        match self.peek() {
            Some(b'"') => Ok(Value::Str(Cow::Owned(self.string()?.into_owned()))),
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::list),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.unexpected("looking for beginning of value")),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Value, DecodeError>) -> Result<Value, DecodeError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(DecodeError::Limit("exceeded max depth"));
        }
        self.at += 1;
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn word(&mut self, word: &'static str, value: Value) -> Result<Value, DecodeError> {
        for expected in word.bytes() {
            if self.peek() != Some(expected) {
                return Err(self.unexpected(&format!("in literal {word} (expecting '{}')", expected as char)));
            }
            self.at += 1;
        }
        Ok(value)
    }

    fn number(&mut self) -> Result<Value, DecodeError> {
        let start = self.at;
        let mut float = false;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.unexpected("in numeric literal")),
        }
        if self.peek() == Some(b'.') {
            (float, self.at) = (true, self.at + 1);
            if !matches!(self.peek(), Some(b'0'..=b'9')) {
                return Err(self.unexpected("after decimal point in numeric literal"));
            }
            self.digits();
        }
        if let Some(b'e' | b'E') = self.peek() {
            (float, self.at) = (true, self.at + 1);
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            if !matches!(self.peek(), Some(b'0'..=b'9')) {
                return Err(self.unexpected("in exponent of numeric literal"));
            }
            self.digits();
        }
        let text = &self.source[start..self.at];
        if !float && let Ok(n) = text.parse::<i64>() {
            return Ok(Value::Int(n));
        }
        match text.parse::<f64>() {
            Ok(f) if f.is_finite() => Ok(Value::Float(f)),
            _ => Err(DecodeError::Type(format!(
                "json: cannot unmarshal number {text} into Go value of type float64"
            ))),
        }
    }

    fn digits(&mut self) {
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
    }

    fn list(&mut self) -> Result<Value, DecodeError> {
        let mut items = Vec::new();
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::List(items));
        }
        loop {
            if self.report.is_some() {
                self.path.push(Step::Item(items.len()));
            }
            self.space();
            items.push(self.value()?);
            if self.report.is_some() {
                self.path.pop();
            }
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Value::List(items));
                }
                _ => return Err(self.unexpected("after array element")),
            }
        }
    }

    fn object(&mut self) -> Result<Value, DecodeError> {
        let mut entries: Vec<(Key, Value)> = Vec::new();
        let mut seen: HashMap<Key, usize> = HashMap::new();
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::map());
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("looking for beginning of object key string"));
            }
            let key = self.key()?;
            self.space();
            if self.peek() != Some(b':') {
                return Err(self.unexpected("after object key"));
            }
            self.at += 1;
            self.space();
            let stands = if entries.len() < FEW {
                entries.iter().position(|(k, _)| *k == key)
            } else {
                if seen.is_empty() {
                    seen = entries
                        .iter()
                        .enumerate()
                        .map(|(at, (k, _))| (k.clone(), at))
                        .collect();
                }
                seen.get(&key).copied()
            };
            if let Some(report) = &mut self.report {
                self.path.push(Step::Key(key.clone()));
                if stands.is_some() && report.duplicates.len() < MAX_PROBLEMS {
                    let path = shown(&self.path);
                    if report.duplicates.iter().all(|(_, known)| *known != path) {
                        report.duplicates.push((self.at, path));
                    }
                }
                if let Some(positions) = &mut report.positions {
                    positions.entry(shown(&self.path)).or_insert(self.at);
                }
            }
            let value = self.value()?;
            if self.report.is_some() {
                self.path.pop();
            }
            match stands {
                Some(at) => entries[at].1 = value,
                None => {
                    if !seen.is_empty() {
                        seen.insert(key.clone(), entries.len());
                    }
                    entries.push((key, value));
                }
            }
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Value::Map(Map::from_unique(entries)));
                }
                _ => return Err(self.unexpected("after object key:value pair")),
            }
        }
    }

    fn key(&mut self) -> Result<Key, DecodeError> {
        let catalog = self.catalog;
        let text = self.string()?;
        Ok(match catalog.and_then(|c| c.static_name(&text)) {
            Some(name) => Cow::Borrowed(name),
            None => Cow::Owned(text.into_owned()),
        })
    }

    /// A string, borrowed from the input if nothing in it is escaped.
    fn string(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        self.at += 1;
        let start = self.at;
        loop {
            match self.peek() {
                Some(b'"') => {
                    let source: &'a str = self.source;
                    let raw = &source[start..self.at];
                    self.at += 1;
                    return Ok(Cow::Borrowed(raw));
                }
                Some(b'\\') => return self.escaped(start).map(Cow::Owned),
                Some(0..=0x1f) => return Err(self.unexpected("in string literal")),
                Some(_) => self.at += 1,
                None => return Err(self.unexpected("in string literal")),
            }
        }
    }

    fn escaped(&mut self, start: usize) -> Result<String, DecodeError> {
        let mut out = self.source[start..self.at].to_owned();
        loop {
            let run = self.at;
            while !matches!(self.peek(), None | Some(b'"' | b'\\' | 0..=0x1f)) {
                self.at += 1;
            }
            out.push_str(&self.source[run..self.at]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.at += 1;
                    self.escape(&mut out)?;
                }
                _ => return Err(self.unexpected("in string literal")),
            }
        }
    }

    fn escape(&mut self, out: &mut String) -> Result<(), DecodeError> {
        let c = match self.peek() {
            Some(c @ (b'"' | b'\\' | b'/')) => c as char,
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                let first = self.hex()?;
                let c = match first {
                    0xd800..=0xdbff if self.text[self.at..].starts_with(b"\\u") => {
                        let back = self.at;
                        self.at += 2;
                        match self.hex()? {
                            low @ 0xdc00..=0xdfff => 0x10000 + ((first - 0xd800) << 10) + (low - 0xdc00),
                            _ => {
                                self.at = back;
                                first
                            }
                        }
                    }
                    c => c,
                };
                out.push(char::from_u32(c).unwrap_or(char::REPLACEMENT_CHARACTER));
                return Ok(());
            }
            _ => return Err(self.unexpected("in string escape code")),
        };
        out.push(c);
        self.at += 1;
        Ok(())
    }

    fn hex(&mut self) -> Result<u32, DecodeError> {
        let mut n = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|c| (c as char).to_digit(16));
            n = n * 16 + digit.ok_or_else(|| self.unexpected("in \\u hexadecimal character escape"))?;
            self.at += 1;
        }
        Ok(n)
    }
}

fn shown(path: &[Step]) -> String {
    let mut out = String::new();
    for step in path {
        match step {
            Step::Key(key) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(key);
            }
            Step::Item(at) => out.push_str(&format!("[{at}]")),
        }
    }
    out
}

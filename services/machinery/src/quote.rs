//! Texts as Go prints them inside messages: `%q` of a string, `json.Marshal` of a value.
//!
//! Error messages quote values, and clients compare messages. This is no codec: objects are encoded elsewhere.

use std::fmt::Write;

use crate::Value;

/// A string as Go's `%q` prints it.
pub fn go_quote(s: &str) -> String {
    let mut out = String::with_capacity(s.len() + 2);
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if c.is_ascii_control() => push_hex(&mut out, "\\x", 2, c),
            c if c.is_control() || (c.is_whitespace() && c != ' ') => push_hex(&mut out, "\\u", 4, c),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn push_hex(out: &mut String, prefix: &str, width: usize, c: char) {
    // Writing to a String cannot fail.
    let _ = write!(out, "{prefix}{:0width$x}", u32::from(c));
}

/// A value as Go's `json.Marshal` prints it, members in the order they stand.
pub fn go_json(value: &Value) -> String {
    let mut out = String::new();
    push_json(&mut out, value);
    out
}

fn push_json(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Int(n) => out.push_str(itoa::Buffer::new().format(*n)),
        Value::Float(n) => {
            let _ = write!(out, "{n}");
        }
        Value::Str(s) => push_json_str(out, s),
        Value::List(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                push_json(out, item);
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push('{');
            for (i, (key, item)) in map.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                push_json_str(out, key);
                out.push(':');
                push_json(out, item);
            }
            out.push('}');
        }
    }
}

fn push_json_str(out: &mut String, s: &str) {
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => push_hex(out, "\\u", 4, c),
            c if c.is_ascii_control() && c != '\u{7f}' => push_hex(out, "\\u", 4, c),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_as_go_does() {
        assert_eq!(go_quote("a\"b\\\n\u{1}é\u{a0}'"), r#""a\"b\\\n\x01é\u00a0'""#);
        assert_eq!(go_json(&Value::from("<\u{1}".to_owned())), r#""\u003c\u0001""#);
    }
}

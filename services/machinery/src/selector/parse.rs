//! Reading selectors from text.

use super::{FieldTerm, Operator, Requirement, SelectorError};
use crate::name;
use crate::quote::go_quote;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bad,
    End,
    Close,
    Comma,
    Not,
    DoubleEquals,
    Equals,
    Greater,
    Word,
    Less,
    NotEquals,
    Open,
}

#[derive(Clone, Debug)]
struct Token {
    kind: Kind,
    text: String,
}

fn symbol(text: &str) -> Option<Kind> {
    Some(match text {
        ")" => Kind::Close,
        "," => Kind::Comma,
        "!" => Kind::Not,
        "==" => Kind::DoubleEquals,
        "=" => Kind::Equals,
        ">" => Kind::Greater,
        "<" => Kind::Less,
        "!=" => Kind::NotEquals,
        "(" => Kind::Open,
        _ => return None,
    })
}

fn tokens(text: &str) -> Vec<Token> {
    let special = |c: char| "=!(),><".contains(c);
    let space = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
    let mut out = Vec::new();
    let mut rest = text.trim_start_matches(space);
    while let Some(first) = rest.chars().next() {
        let (length, kind, text) = if special(first) {
            // The longest prefix that is a symbol; all symbols are one or two characters of ASCII.
            let two = rest.get(..2).and_then(symbol).map(|k| (2, k));
            match two.or_else(|| symbol(&rest[..1]).map(|k| (1, k))) {
                Some((n, kind)) => (n, kind, rest[..n].to_owned()),
                None => (1, Kind::Bad, format!("error expected: keyword found '{first}'")),
            }
        } else {
            let n = rest.find(|c| special(c) || space(c)).unwrap_or(rest.len());
            (n, Kind::Word, rest[..n].to_owned())
        };
        out.push(Token { kind, text });
        rest = rest[length..].trim_start_matches(space);
    }
    out.push(Token {
        kind: Kind::End,
        text: String::new(),
    });
    out
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

fn fail<T>(text: String) -> Result<T, SelectorError> {
    Err(SelectorError(text))
}

impl Parser {
    fn peek(&self) -> &Token {
        // The last token is the end, and the parser never moves beyond it.
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }
    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let mut token = self.next();
        let mut operator = None;
        if token.kind == Kind::Not {
            operator = Some(Operator::DoesNotExist);
            token = self.next();
        }
        if token.kind != Kind::Word {
            return fail(format!("found '{}', expected: identifier", token.text));
        }
        let key = token.text;
        let bad = name::qualified_name(&key);
        if !bad.is_empty() {
            return fail(format!(
                "<nil>: Invalid value: {}: {}",
                go_quote(&key),
                bad.join("; ")
            ));
        }
        if matches!(self.peek().kind, Kind::End | Kind::Comma) {
            operator = operator.or(Some(Operator::Exists));
        }
        if let Some(operator) = operator {
            return Requirement::new(&key, operator, Vec::new());
        }
        let token = self.next();
        let operator = match (token.kind, &*token.text) {
            (Kind::Word, "in") => Operator::In,
            (Kind::Word, "notin") => Operator::NotIn,
            (Kind::Equals, _) => Operator::Equals,
            (Kind::DoubleEquals, _) => Operator::DoubleEquals,
            (Kind::NotEquals, _) => Operator::NotEquals,
            (Kind::Greater, _) => Operator::GreaterThan,
            (Kind::Less, _) => Operator::LessThan,
            (_, text) => {
                return fail(format!("found '{text}', expected: in, notin, =, ==, !=, gt, lt"));
            }
        };
        let values = match operator {
            Operator::In | Operator::NotIn => self.set()?,
            _ => vec![self.exact()?],
        };
        Requirement::new(&key, operator, values)
    }

    fn exact(&mut self) -> Result<String, SelectorError> {
        if matches!(self.peek().kind, Kind::End | Kind::Comma) {
            return Ok(String::new());
        }
        let token = self.next();
        if token.kind == Kind::Word {
            Ok(token.text)
        } else {
            fail(format!("found '{}', expected: identifier", token.text))
        }
    }

    /// `(x,y)`; empty places between commas are empty values.
    fn set(&mut self) -> Result<Vec<String>, SelectorError> {
        let token = self.next();
        if token.kind != Kind::Open {
            return fail(format!("found '{}' expected: '('", token.text));
        }
        let mut values = Vec::new();
        let first = self.peek();
        if !matches!(first.kind, Kind::Word | Kind::Comma | Kind::Close) {
            return fail(format!(
                "found '{}', expected: ',', ')' or identifier",
                first.text
            ));
        }
        loop {
            let value = if self.peek().kind == Kind::Word {
                self.next().text
            } else {
                String::new()
            };
            let was_word = !value.is_empty();
            values.push(value);
            let token = self.next();
            match token.kind {
                Kind::Comma => {}
                Kind::Close => return Ok(values),
                _ if was_word => return fail(format!("found '{}', expected: ',' or ')'", token.text)),
                _ => return fail(format!("found '{}', expected: ',', or identifier", token.text)),
            }
        }
    }
}

/// The requirements of a label selector's text.
pub(super) fn requirements(text: &str) -> Result<Vec<Requirement>, SelectorError> {
    let mut parser = Parser {
        tokens: tokens(text),
        at: 0,
    };
    let mut out = Vec::new();
    loop {
        match parser.peek().kind {
            Kind::End => return Ok(out),
            Kind::Word | Kind::Not => {}
            _ => {
                let text = &parser.peek().text;
                return fail(format!(
                    "found '{text}', expected: !, identifier, or 'end of string'"
                ));
            }
        }
        let requirement = parser
            .requirement()
            .map_err(|e| SelectorError(format!("unable to parse requirement: {}", e.0)))?;
        out.push(requirement);
        let token = parser.next();
        match token.kind {
            Kind::End => return Ok(out),
            Kind::Comma => {
                let next = parser.peek();
                if !matches!(next.kind, Kind::Word | Kind::Not) {
                    return fail(format!("found '{}', expected: identifier after ','", next.text));
                }
            }
            _ => {
                return fail(format!(
                    "found '{}', expected: ',' or 'end of string'",
                    token.text
                ));
            }
        }
    }
}

/// The terms of a field selector's text.
pub(super) fn field_terms(text: &str) -> Result<Vec<FieldTerm>, SelectorError> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.sort_unstable();
    let mut terms = Vec::new();
    for part in parts.into_iter().filter(|p| !p.is_empty()) {
        let operator = part
            .find('=')
            .map(|at| if part[..at].ends_with('!') { at - 1 } else { at });
        let Some(at) = operator else {
            return fail(format!("invalid selector: '{text}'; can't understand '{part}'"));
        };
        let (field, rest) = part.split_at(at);
        let equal = !rest.starts_with('!');
        let length = if equal && !rest.starts_with("==") { 1 } else { 2 };
        terms.push(FieldTerm {
            field: field.to_owned(),
            value: unescape(&rest[length..])?,
            equal,
        });
    }
    Ok(terms)
}

fn unescape(text: &str) -> Result<String, SelectorError> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                other => {
                    let other = other.map(String::from).unwrap_or_default();
                    return fail(format!(
                        "invalid field selector: invalid escape sequence: \\{other}"
                    ));
                }
            },
            ',' | '=' => {
                let text = format!(
                    "invalid field selector: unescaped character in value: {}",
                    u32::from(c)
                );
                return fail(text);
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

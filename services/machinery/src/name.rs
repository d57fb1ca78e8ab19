//! Names: what may be called what, and the messages that say why not.
//!
//! Each function returns the messages of what is wrong, none if all is well; the texts are upstream's, which clients and
//! their tests compare. The patterns in the messages are matched by hand, so that no regular-expression engine is needed.
//! Source: `k8s.io/apimachinery/pkg/util/validation`.

/// The longest DNS label.
pub const LABEL_MAX: usize = 63;
/// The longest DNS subdomain.
pub const SUBDOMAIN_MAX: usize = 253;

const LABEL_1123: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN_1123: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const QUALIFIED: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";

/// `msg (e.g. 'a', or 'b', regex used for validation is 'pattern')`.
pub fn regex_message(msg: &str, pattern: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{msg} (regex used for validation is '{pattern}')");
    }
    let examples = examples
        .iter()
        .map(|e| format!("'{e}', "))
        .collect::<Vec<_>>()
        .join(" or ");
    format!("{msg} (e.g. {examples}regex used for validation is '{pattern}')")
}

/// The message for a text of more than `n` bytes.
pub fn max_len_message(n: usize) -> String {
    format!("must be no more than {n} characters")
}

/// The message for a number outside `lo..=hi`.
pub fn range_message(lo: i64, hi: i64) -> String {
    format!("must be between {lo} and {hi}, inclusive")
}

/// Starts with `first`, ends with `last`, and has `inner` between; not empty.
fn shape(s: &str, first: fn(u8) -> bool, inner: fn(u8) -> bool, last: fn(u8) -> bool) -> bool {
    match s.as_bytes() {
        [] => false,
        [one] => first(*one) && last(*one),
        [a, mid @ .., z] => first(*a) && last(*z) && mid.iter().all(|b| inner(*b)),
    }
}

fn lower(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}
fn lower_dash(b: u8) -> bool {
    lower(b) || b == b'-'
}
fn alnum(b: u8) -> bool {
    b.is_ascii_alphanumeric()
}
fn qualified_inner(b: u8) -> bool {
    alnum(b) || matches!(b, b'-' | b'_' | b'.')
}

fn is_label(s: &str) -> bool {
    shape(s, lower, lower_dash, lower)
}
fn is_subdomain(s: &str) -> bool {
    s.split('.').all(is_label)
}

/// A DNS label as RFC 1123 has it: `my-name`, `123-abc`.
pub fn dns1123_label(s: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if s.len() > LABEL_MAX {
        errors.push(max_len_message(LABEL_MAX));
    }
    if !is_label(s) {
        errors.push(if is_subdomain(s) {
            "must not contain dots".into()
        } else {
            regex_message(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
                 start and end with an alphanumeric character",
                LABEL_1123,
                &["my-name", "123-abc"],
            )
        });
    }
    errors
}

/// A DNS subdomain as RFC 1123 has it: `example.com`.
pub fn dns1123_subdomain(s: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if s.len() > SUBDOMAIN_MAX {
        errors.push(max_len_message(SUBDOMAIN_MAX));
    }
    if !is_subdomain(s) {
        errors.push(regex_message(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
             start and end with an alphanumeric character",
            SUBDOMAIN_1123,
            &["example.com"],
        ));
    }
    errors
}

/// A DNS subdomain whose labels may begin with and contain underscores.
pub fn dns1123_subdomain_underscore(s: &str) -> Vec<String> {
    let label = |l: &str| {
        let l = l.strip_prefix('_').unwrap_or(l);
        shape(l, lower, |b| lower_dash(b) || b == b'_', lower)
    };
    let mut errors = Vec::new();
    if s.len() > SUBDOMAIN_MAX {
        errors.push(max_len_message(SUBDOMAIN_MAX));
    }
    if !s.split('.').all(label) {
        errors.push(regex_message(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and \
             must start and end with an alphanumeric character",
            r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*",
            &["example.com"],
        ));
    }
    errors
}

/// A DNS label as RFC 1035 has it: begins with a letter.
pub fn dns1035_label(s: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if s.len() > LABEL_MAX {
        errors.push(max_len_message(LABEL_MAX));
    }
    if !shape(s, |b| b.is_ascii_lowercase(), lower_dash, lower) {
        errors.push(regex_message(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
             character, and end with an alphanumeric character",
            "[a-z]([-a-z0-9]*[a-z0-9])?",
            &["my-name", "abc-123"],
        ));
    }
    errors
}

/// `*.example.com`.
pub fn wildcard_dns1123_subdomain(s: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if s.len() > SUBDOMAIN_MAX {
        errors.push(max_len_message(SUBDOMAIN_MAX));
    }
    if !s.strip_prefix("*.").is_some_and(is_subdomain) {
        errors.push(regex_message(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must \
             consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
            &format!(r"\*\.{SUBDOMAIN_1123}"),
            &["*.example.com"],
        ));
    }
    errors
}

/// A label key: a name with an optional DNS subdomain before it.
pub fn qualified_name(s: &str) -> Vec<String> {
    let message = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                   alphanumeric character";
    let regex = || regex_message(message, QUALIFIED, &["MyName", "my.name", "123-abc"]);
    let mut errors = Vec::new();
    let name = match s.split('/').collect::<Vec<_>>()[..] {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                errors.push("prefix part must be non-empty".into());
            } else {
                errors.extend(
                    dns1123_subdomain(prefix)
                        .into_iter()
                        .map(|e| format!("prefix part {e}")),
                );
            }
            name
        }
        _ => {
            return vec![format!(
                "a valid label key {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
                regex()
            )];
        }
    };
    if name.is_empty() {
        errors.push("name part must be non-empty".into());
    } else if name.len() > LABEL_MAX {
        errors.push(format!("name part {}", max_len_message(LABEL_MAX)));
    }
    if !shape(name, alnum, qualified_inner, alnum) {
        errors.push(format!("name part {}", regex()));
    }
    errors
}

/// A label value.
pub fn label_value(s: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if s.len() > LABEL_MAX {
        errors.push(max_len_message(LABEL_MAX));
    }
    if !s.is_empty() && !shape(s, alnum, qualified_inner, alnum) {
        errors.push(regex_message(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
             start and end with an alphanumeric character",
            &format!("({QUALIFIED})?"),
            &["MyValue", "my_value", "12345"],
        ));
    }
    errors
}

/// A C identifier.
pub fn c_identifier(s: &str) -> Vec<String> {
    let word = |b: u8| alnum(b) || b == b'_';
    if shape(s, |b| b.is_ascii_alphabetic() || b == b'_', word, word) {
        return Vec::new();
    }
    vec![regex_message(
        "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric \
         characters or '_'",
        "[A-Za-z_][A-Za-z0-9_]*",
        &["my_name", "MY_NAME", "MyName"],
    )]
}

/// A port number.
pub fn port_number(n: i64) -> Vec<String> {
    in_range(n, 1, 65535)
}

/// A number in `lo..=hi`.
pub fn in_range(n: i64, lo: i64, hi: i64) -> Vec<String> {
    if (lo..=hi).contains(&n) {
        Vec::new()
    } else {
        vec![range_message(lo, hi)]
    }
}

/// The name of a port: at most 15 characters, with a letter (RFC 6335).
pub fn port_name(s: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if s.len() > 15 {
        errors.push(max_len_message(15));
    }
    if s.is_empty() || !s.bytes().all(lower_dash) {
        errors.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into());
    }
    if !s.bytes().any(|b| b.is_ascii_lowercase()) {
        errors.push("must contain at least one letter (a-z)".into());
    }
    if s.contains("--") {
        errors.push("must not contain consecutive hyphens".into());
    }
    if s.starts_with('-') || s.ends_with('-') {
        errors.push("must not begin or end with a hyphen".into());
    }
    errors
}

/// `12%`.
pub fn percent(s: &str) -> Vec<String> {
    let ok = s
        .strip_suffix('%')
        .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    if ok {
        return Vec::new();
    }
    vec![regex_message(
        "a valid percent string must be a numeric string followed by an ending '%'",
        "[0-9]+%",
        &["1%", "93%"],
    )]
}

/// The name of an HTTP header.
pub fn http_header_name(s: &str) -> Vec<String> {
    if !s.is_empty() && s.bytes().all(|b| alnum(b) || b == b'-') {
        return Vec::new();
    }
    vec![regex_message(
        "a valid HTTP header must consist of alphanumeric characters or '-'",
        "[-A-Za-z0-9]+",
        &["X-Header-Name"],
    )]
}

/// The name of an environment variable: printable ASCII without `=`.
pub fn env_var_name(s: &str) -> Vec<String> {
    if s.is_empty() {
        return vec!["environment variable name must be non-empty".into()];
    }
    if s.bytes().any(|b| !(b' '..=b'~').contains(&b) || b == b'=') {
        return vec![
            "a valid environment variable name must consist only of printable ASCII characters other than '='".into(),
        ];
    }
    Vec::new()
}

/// A key of a ConfigMap or Secret.
pub fn config_map_key(s: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if s.len() > SUBDOMAIN_MAX {
        errors.push(max_len_message(SUBDOMAIN_MAX));
    }
    if s.is_empty() || !s.bytes().all(qualified_inner) {
        errors.push(regex_message(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    match s {
        "." => errors.push("must not be '.'".into()),
        ".." => errors.push("must not be '..'".into()),
        _ if s.starts_with("..") => errors.push("must not start with '..'".into()),
        _ => {}
    }
    errors
}

/// A name that is one segment of a URL path: RBAC's and others' names.
pub fn path_segment(s: &str, prefix: bool) -> Vec<String> {
    if !prefix && (s == "." || s == "..") {
        return vec![format!("may not be '{s}'")];
    }
    ["/", "%"]
        .iter()
        .filter(|c| s.contains(**c))
        .map(|c| format!("may not contain '{c}'"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_upstreams() {
        assert_eq!(
            dns1123_subdomain("A_b"),
            [
                "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
            ]
        );
        assert_eq!(dns1123_label("a.b"), ["must not contain dots"]);
        assert_eq!(
            label_value("-x"),
            [
                "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
            ]
        );
        assert_eq!(qualified_name("/x"), ["prefix part must be non-empty"]);
        assert_eq!(qualified_name("a/b/c").len(), 1);
        assert_eq!(qualified_name("").len(), 2);
    }

    #[test]
    fn good_names_pass() {
        for s in ["a", "0-a.b", "example.com"] {
            assert!(dns1123_subdomain(s).is_empty(), "{s}");
        }
        assert!(qualified_name("example.com/My_name.x").is_empty());
        assert!(
            label_value("").is_empty() && port_name("http-2").is_empty() && env_var_name("A B").is_empty()
        );
        assert!(!port_name("123").is_empty() && !dns1035_label("1a").is_empty());
        assert!(
            wildcard_dns1123_subdomain("*.a.b").is_empty() && !wildcard_dns1123_subdomain("*.").is_empty()
        );
    }
}

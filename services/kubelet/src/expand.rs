//! `$(NAME)` in commands, arguments, environment values and sub-paths.
//!
//! Kubernetes' rules (documentation of `Container.args`): `$(NAME)` is replaced when NAME is defined and left as it is
//! otherwise, `$$` is a literal `$`, anything else stands for itself. Results are not expanded again.

/// Replaces the references in `input` by what `lookup` knows.
pub fn expand<'a>(input: &str, lookup: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut out = String::with_capacity(input.len());
    let mut rest = input;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        rest = if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            tail
        } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match lookup(name) {
                Some(value) => out.push_str(value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            tail
        } else {
            out.push('$');
            after
        };
    }
    out.push_str(rest);
    out
}

/// The names referred to in `input` that `lookup` does not know: what makes a `subPathExpr` an error.
pub fn undefined<'a>(input: &str, lookup: impl Fn(&str) -> Option<&'a str>) -> Vec<String> {
    let missing = std::cell::RefCell::new(Vec::new());
    expand(input, |name| {
        let found = lookup(name);
        if found.is_none() {
            missing.borrow_mut().push(name.to_owned());
        }
        found
    });
    missing.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_replaced_once_and_escapes_kept() {
        let known = |name: &str| match name {
            "A" => Some("1"),
            "B" => Some("$(A)"),
            "EMPTY" => Some(""),
            _ => None,
        };
        for (input, want) in [
            ("plain", "plain"),
            ("$(A)", "1"),
            ("x$(A)y$(A)z", "x1y1z"),
            ("$(B)", "$(A)"),
            ("$(NOPE)", "$(NOPE)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$A", "$A"),
            ("$(A", "$(A"),
            ("cost: 5$", "cost: 5$"),
            ("[$(EMPTY)]", "[]"),
            ("é$(A)é", "é1é"),
        ] {
            assert_eq!(expand(input, known), want, "{input}");
        }
        assert_eq!(undefined("$(A)/$(X)/$(Y)", known), ["X", "Y"]);
    }
}

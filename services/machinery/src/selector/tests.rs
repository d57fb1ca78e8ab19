use super::*;
use crate::value;

#[test]
fn label_selectors_read_and_print_as_upstream() {
    for (text, expect) in [
        ("", ""),
        ("a=b", "a=b"),
        (" x == y , a!=b", "a!=b,x==y"),
        ("e in (y, x ,x),!f,g", "e in (x,y),!f,g"),
        ("a in ()", "a in ()"),
        ("a in (,b)", "a in (,b)"),
        ("a=", "a="),
        ("in in (in)", "in in (in)"),
        ("n>1,m<2", "m<2,n>1"),
        ("a notin (b)", "a notin (b)"),
    ] {
        assert_eq!(
            Selector::parse(text).map(|s| s.to_string()),
            Ok(expect.to_owned()),
            "{text}"
        );
    }
}

#[test]
fn bad_label_selectors_are_refused_with_upstreams_words() {
    for (text, expect) in [
        (
            "a b",
            "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
        ),
        ("a=b,", "found '', expected: identifier after ','"),
        ("=b", "found '=', expected: !, identifier, or 'end of string'"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        (
            "a in (b c)",
            "unable to parse requirement: found 'c', expected: ',' or ')'",
        ),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        (
            "a>x",
            "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer",
        ),
    ] {
        assert_eq!(
            Selector::parse(text),
            Err(SelectorError(expect.to_owned())),
            "{text}"
        );
    }
    assert!(
        Selector::parse("-a=b")
            .unwrap_err()
            .0
            .starts_with("unable to parse requirement: <nil>: Invalid")
    );
}

#[test]
fn label_selectors_match() {
    let labels = value!({"app": "web", "tier": "front", "n": "5"});
    for (text, expect) in [
        ("", true),
        ("app=web", true),
        ("app!=web", false),
        ("nope!=web", true),
        ("app in (db,web),tier", true),
        ("app notin (db)", true),
        ("!app", false),
        ("n>4,n<6", true),
        ("app>4", false),
    ] {
        assert_eq!(
            Selector::parse(text).unwrap().matches_map(&labels),
            expect,
            "{text}"
        );
    }
    let pairs = [("a", "b"), ("c", "d")];
    assert!(Selector::parse("c=d").unwrap().matches(pairs));
}

#[test]
fn selector_objects_become_selectors() {
    let object = value!({"matchLabels": {"b": "c"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["y", "x"]}]});
    assert_eq!(
        Selector::from_object(&object).unwrap().to_string(),
        "a in (x,y),b=c"
    );
    assert!(Selector::from_object(&Value::Null).unwrap().is_nothing());
    assert!(Selector::from_object(&Value::map()).unwrap().is_everything());
    let bad = value!({"matchExpressions": [{"key": "a", "operator": "Near"}]});
    assert_eq!(
        Selector::from_object(&bad).unwrap_err().0,
        "\"Near\" is not a valid label selector operator"
    );
}

#[test]
fn field_selectors_read_and_match() {
    let s = FieldSelector::parse("status.phase!=Running,metadata.name==x\\,y").unwrap();
    assert_eq!(s.to_string(), "metadata.name=x\\,y,status.phase!=Running");
    assert_eq!(s.exact("metadata.name"), Some("x,y"));
    assert!(s.matches_by(|f| (f == "metadata.name").then_some("x,y")));
    assert!(!s.matches_by(|f| Some(if f == "metadata.name" { "x,y" } else { "Running" })));
    for (text, expect) in [
        ("abc", "invalid selector: 'abc'; can't understand 'abc'"),
        (
            "a=b=c",
            "invalid field selector: unescaped character in value: 61",
        ),
        ("a=b\\c", "invalid field selector: invalid escape sequence: \\c"),
    ] {
        assert_eq!(FieldSelector::parse(text), Err(SelectorError(expect.to_owned())));
    }
}

use super::*;
use crate::{TypeDef, value};

fn field(name: &'static str, ty: FieldType) -> Field {
    Field::new(name, ty)
}

fn merging(name: &'static str, ty: FieldType, key: Option<&'static str>) -> Field {
    Field {
        patch_merge: true,
        patch_merge_key: key,
        ..field(name, FieldType::List(Box::new(ty)))
    }
}

fn ty(name: &'static str, fields: Vec<Field>) -> TypeDef {
    TypeDef::new(name, fields)
}

fn catalog() -> Catalog {
    let strings = FieldType::List(Box::new(FieldType::String));
    let item = vec![
        field("name", FieldType::String),
        field("image", FieldType::String),
        field("args", strings),
        merging("env", FieldType::Object(TypeId(1)), Some("name")),
    ];
    let root = vec![
        merging("items", FieldType::Object(TypeId(1)), Some("name")),
        merging("finalizers", FieldType::String, None),
        field("labels", FieldType::Map(Box::new(FieldType::String))),
        field("strategy", FieldType::Object(TypeId(2))),
        field("plain", FieldType::List(Box::new(FieldType::String))),
    ];
    let strategy = vec![
        field("type", FieldType::String),
        field("rolling", FieldType::Object(TypeId(1))),
    ];
    Catalog {
        types: vec![ty("x.Root", root), ty("x.Item", item), ty("x.Strategy", strategy)],
        ..Catalog::default()
    }
}

fn patched(mut object: Value, patch: Value) -> Result<Value, PatchError> {
    apply(&mut object, patch, TypeId(0), &catalog())?;
    Ok(object)
}

/// The names of the items.
fn names(object: &Value) -> Vec<&str> {
    object
        .list_at(&["items"])
        .iter()
        .map(|i| i["name"].as_str().unwrap())
        .collect()
}

#[test]
fn patches_merge_by_key_and_strategy() {
    for (object, patch, expect) in [
        (
            value!({"items": [{"name": "a", "image": "1"}, {"name": "b"}]}),
            value!({"items": [{"name": "a", "args": ["x"]}]}),
            value!({"items": [{"name": "a", "image": "1", "args": ["x"]}, {"name": "b"}]}),
        ),
        (
            value!({"items": [{"name": "a"}, {"name": "b"}]}),
            value!({"items": [{"$patch": "delete", "name": "a"}]}),
            value!({"items": [{"name": "b"}]}),
        ),
        (
            value!({"items": [{"name": "a"}]}),
            value!({"items": [{"$patch": "replace"}, {"name": "c", "image": "i"}]}),
            value!({"items": [{"name": "c", "image": "i"}]}),
        ),
        (
            value!({"items": [{"name": "a", "env": [{"name": "e", "image": "1"}]}]}),
            value!({"items": [{"name": "a", "env": [{"name": "e", "image": null}, {"name": "f"}]}]}),
            value!({"items": [{"name": "a", "env": [{"name": "e"}, {"name": "f"}]}]}),
        ),
        (
            value!({"finalizers": ["a", "b", "c"]}),
            value!({"$deleteFromPrimitiveList/finalizers": ["b"], "finalizers": ["d"]}),
            value!({"finalizers": ["d", "a", "c"]}),
        ),
        (
            value!({"strategy": {"type": "Rolling", "rolling": {"name": "x"}}}),
            value!({"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}),
            value!({"strategy": {"type": "Recreate"}}),
        ),
        (
            value!({"labels": {"a": "b", "c": "d"}}),
            value!({"labels": {"a": null, "e": "f"}}),
            value!({"labels": {"c": "d", "e": "f"}}),
        ),
        (
            value!({"labels": {"a": "b"}}),
            value!({"labels": {"$patch": "replace", "x": "y"}}),
            value!({"labels": {"x": "y"}}),
        ),
        (
            value!({"labels": {"a": "b"}}),
            value!({"labels": {"$patch": "delete"}}),
            value!({"labels": {}}),
        ),
        (
            value!({"plain": ["a", "b"]}),
            value!({"plain": ["c"]}),
            value!({"plain": ["c"]}),
        ),
        (
            value!({}),
            value!({"labels": {"a": null, "b": "c"}}),
            value!({"labels": {"b": "c"}}),
        ),
    ] {
        let got = patched(object.clone(), patch.clone()).unwrap();
        assert_eq!(got, expect, "{object:?} + {patch:?}");
    }
}

#[test]
fn lists_are_ordered_by_the_directive_then_as_they_live() {
    let object = value!({"items": [{"name": "a"}, {"name": "b"}, {"name": "c"}]});
    let patch = value!({
        "$setElementOrder/items": [{"name": "d"}, {"name": "c"}, {"name": "a"}],
        "items": [{"name": "d"}]
    });
    assert_eq!(
        names(&patched(object.clone(), patch).unwrap()),
        ["d", "b", "c", "a"]
    );
    let only = value!({"$setElementOrder/items": [{"name": "c"}, {"name": "a"}]});
    assert_eq!(names(&patched(object, only).unwrap()), ["b", "c", "a"]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let object = || value!({"items": [{"name": "a"}], "strategy": {"type": "x"}, "finalizers": ["a"]});
    for (patch, expect) in [
        (
            value!({"strategy": {"$retainKeys": ["rolling"], "type": "x"}}),
            BAD_RETAIN_KEYS,
        ),
        (value!({"$deleteFromPrimitiveList": ["x"]}), BAD_PRIMITIVE_LIST),
        (
            value!({"items": [{"image": "x"}]}),
            "map: {\"image\":\"x\"} does not contain declared merge key: name",
        ),
        (
            value!({"strategy": {"$patch": "spin"}}),
            "unknown patch type: spin in map: {}",
        ),
        (
            value!({"finalizers": [1]}),
            "list element types are not identical: [\"a\"] [1]",
        ),
        (value!([]), "invalid JSON document"),
        (
            value!({"$setElementOrder/items": [{"name": "a"}], "items": [{"name": "z"}]}),
            "The order in patch list:\n[{\"name\":\"z\"}]\n doesn't match $setElementOrder list:\n[{\"name\":\"a\"}]\n",
        ),
    ] {
        assert_eq!(patched(object(), patch).unwrap_err().to_string(), expect);
    }
}

use super::*;
use crate::newest;

/// Every reference in a document.
fn references<'a>(value: &'a Value, out: &mut Vec<&'a str>) {
    match value {
        Value::Map(map) => {
            for (key, value) in map.iter() {
                if key == "$ref" {
                    out.extend(value.as_str());
                }
                references(value, out);
            }
        }
        Value::List(list) => list.iter().for_each(|value| references(value, out)),
        _ => {}
    }
}

#[test]
fn every_reference_has_its_schema() {
    let v2 = v2(newest());
    let mut found = Vec::new();
    references(&v2, &mut found);
    assert!(found.len() > 2000);
    for reference in found {
        let name = reference.strip_prefix("#/definitions/").expect("a definition");
        assert!(!v2["definitions"][name].is_null(), "{name}");
    }
    for path in v3_paths(newest()) {
        let document = v3(newest(), &path).expect("a listed path has a document");
        let mut found = Vec::new();
        references(&document, &mut found);
        for reference in found {
            let name = reference.strip_prefix("#/components/schemas/").expect("a schema");
            assert!(
                !document.at(&["components", "schemas"])[name].is_null(),
                "{path}: {name}"
            );
        }
    }
    assert!(v3(newest(), "apis/nothing/v1").is_none());
}

#[test]
fn kubectl_finds_what_it_asks_for() {
    let document = v3(newest(), "apis/apps/v1").expect("apps");
    let object = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"];
    assert_eq!(object.str_at(&["patch", "x-kubernetes-action"]), Some("patch"));
    assert_eq!(
        object.str_at(&["patch", "x-kubernetes-group-version-kind", "kind"]),
        Some("Deployment")
    );
    assert_eq!(
        object.str_at(&["patch", "operationId"]),
        Some("patchAppsV1NamespacedDeployment")
    );
    let names: Vec<_> = object["patch"]
        .list_at(&["parameters"])
        .iter()
        .filter_map(|p| p["name"].as_str())
        .collect();
    assert!(names.contains(&"dryRun") && names.contains(&"fieldValidation") && names.contains(&"force"));
    let scale = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"];
    assert_eq!(
        scale.str_at(&["put", "x-kubernetes-group-version-kind", "group"]),
        Some("autoscaling")
    );

    let schema = &document.at(&["components", "schemas"])["io.k8s.api.core.v1.PodSpec"];
    let containers = &schema["properties"]["containers"];
    assert_eq!(containers.str_at(&["x-kubernetes-list-type"]), Some("map"));
    assert_eq!(containers["x-kubernetes-list-map-keys"][0].as_str(), Some("name"));
    assert_eq!(containers.str_at(&["x-kubernetes-patch-merge-key"]), Some("name"));
    assert_eq!(schema["required"][0].as_str(), Some("containers"));
    assert!(
        containers
            .str_at(&["description"])
            .is_some_and(|d| d.contains("container"))
    );
    let strategy = schema["properties"]["volumes"].str_at(&["x-kubernetes-patch-strategy"]);
    assert_eq!(strategy, Some("merge,retainKeys"));
    let port = &document.at(&["components", "schemas"])["io.k8s.api.core.v1.ContainerPort"];
    assert_eq!(port["properties"]["protocol"].str_at(&["default"]), Some("TCP"));
}

#[test]
fn operation_ids_are_unique() {
    let document = v2(newest());
    let mut seen = std::collections::HashSet::new();
    for (path, item) in document["paths"].as_map().expect("paths").iter() {
        for (method, operation) in item
            .as_map()
            .expect("an item")
            .iter()
            .filter(|(m, _)| *m != "parameters")
        {
            let id = operation["operationId"].as_str().expect("an id");
            assert!(seen.insert(id.to_owned()), "{method} {path}: {id}");
        }
    }
    assert!(seen.len() > 600, "{}", seen.len());
}

#[test]
fn the_protobuf_form_starts_with_version_and_title() {
    let bytes = v2_protobuf(&v2(newest()));
    assert!(bytes.starts_with(b"\n\x032.0\x12"));
    assert!(bytes.len() > 1_000_000);
}

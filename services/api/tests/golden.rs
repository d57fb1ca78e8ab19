//! Every golden object of upstream goes through every codec: what upstream decodes and encodes, we decode and encode to
//! the same bytes and the same tree.

use std::path::PathBuf;

use machinery::codec::{self, DecodeOptions, Strictness, json, proto, yaml};
use machinery::{Catalog, Map, TypeId, Value};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// The golden objects, which are not in the repository; `None` with a word if they are missing.
fn goldens() -> Option<PathBuf> {
    let inside = "testdata/kubernetes-api";
    let by_env = std::env::var_os("MARINA_SHARED").map(|dir| PathBuf::from(dir).join(inside));
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let beside = here.ancestors().map(|dir| dir.join("shared").join(inside));
    let found = by_env.into_iter().chain(beside).find(|dir| dir.is_dir());
    if found.is_none() {
        needs::skip(&format!(
            "no shared/{inside} beside the repository (or in MARINA_SHARED)"
        ));
    }
    found
}

struct Golden {
    name: String,
    json: Vec<u8>,
    yaml: Vec<u8>,
    pb: Vec<u8>,
    ty: TypeId,
    api_version: String,
    kind: String,
}

fn each(mut check: impl FnMut(&'static Catalog, Golden) -> Result<(), String>) {
    let Some(dir) = goldens() else { return };
    let catalog = api::newest();
    let mut names: Vec<_> = std::fs::read_dir(&dir)
        .expect("readable")
        .filter_map(|e| {
            e.ok()?
                .file_name()
                .into_string()
                .ok()?
                .strip_suffix(".json")
                .map(str::to_owned)
        })
        .collect();
    names.sort();
    assert!(names.len() > 150, "only {} golden objects", names.len());
    let mut failures = Vec::new();
    for name in &names {
        let read = |ext: &str| std::fs::read(dir.join(format!("{name}.{ext}"))).expect("golden file");
        let json = read("json");
        let head = json::parse(&json).expect("golden JSON");
        let (api_version, kind) = (
            head["apiVersion"].as_str().unwrap_or(""),
            head["kind"].as_str().unwrap_or(""),
        );
        // A WatchEvent has neither apiVersion nor kind, and its envelope is empty.
        let Some(ty) = catalog.type_of(api_version, if kind.is_empty() { "WatchEvent" } else { kind }) else {
            failures.push(format!("{name}: no type"));
            continue;
        };
        let (api_version, kind) = (api_version.to_owned(), kind.to_owned());
        let golden = Golden {
            name: name.clone(),
            json,
            yaml: read("yaml"),
            pb: read("pb"),
            ty,
            api_version,
            kind,
        };
        if let Err(e) = check(catalog, golden) {
            failures.push(format!("{name}: {e}"));
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {}:\n{}",
        failures.len(),
        names.len(),
        failures.join("\n")
    );
}

fn decode(catalog: &Catalog, golden: &Golden) -> Result<Value, String> {
    let options = DecodeOptions {
        strictness: Strictness::Strict,
    };
    let decoded = json::decode(&golden.json, catalog, golden.ty, options).map_err(|e| e.to_string())?;
    match decoded.strict_errors.first() {
        Some(e) => Err(e.clone()),
        None => Ok(decoded.value),
    }
}

fn decode_protobuf(catalog: &Catalog, golden: &Golden) -> Result<(TypeId, Value), String> {
    if golden.kind.is_empty() {
        let raw = proto::open(&golden.pb).map_err(|e| e.to_string())?.raw;
        let value = proto::decode_message(raw, catalog, golden.ty).map_err(|e| e.to_string())?;
        return Ok((golden.ty, value));
    }
    proto::decode(&golden.pb, catalog).map_err(|e| e.to_string())
}

fn first_difference(a: &[u8], b: &[u8]) -> String {
    let at = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let show =
        |s: &[u8]| String::from_utf8_lossy(&s[at.saturating_sub(30)..(at + 30).min(s.len())]).into_owned();
    format!("differs at {at}: ours {:?}, upstream's {:?}", show(a), show(b))
}

#[test]
fn json_becomes_the_same_protobuf_as_upstreams() {
    each(|catalog, golden| {
        let value = decode(catalog, &golden)?;
        let ours = proto::encode(&value, catalog, golden.ty, &golden.api_version, &golden.kind)
            .map_err(|e| e.to_string())?;
        if ours == golden.pb {
            Ok(())
        } else {
            Err(first_difference(&ours, &golden.pb))
        }
    });
}

#[test]
fn protobuf_becomes_the_same_json_in_the_same_order_as_upstreams() {
    each(|catalog, golden| {
        let (ty, value) = decode_protobuf(catalog, &golden)?;
        assert_eq!(ty, golden.ty);
        let ours = json::to_vec(&value);
        let theirs = json::to_vec(&json::parse(&golden.json).map_err(|e| e.to_string())?);
        if ours == theirs {
            Ok(())
        } else {
            Err(first_difference(&ours, &theirs))
        }
    });
}

fn text(bytes: &[u8], catalog: &Catalog) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    proto::write_json(bytes, catalog, true, &mut out).map_err(|e| e.to_string())?;
    Ok(out)
}

#[test]
fn protobuf_becomes_the_same_text_without_a_tree() {
    each(|catalog, golden| {
        if golden.kind.is_empty() {
            return Ok(());
        }
        let theirs = json::to_vec(&json::parse(&golden.json).map_err(|e| e.to_string())?);
        let ours = text(&golden.pb, catalog)?;
        if ours == theirs {
            Ok(())
        } else {
            Err(first_difference(&ours, &theirs))
        }
    });
}

/// Takes members away or sets them to zero, here and there: goldens have everything, objects have not.
fn thin(value: &mut Value, rng: &mut StdRng) {
    match value {
        Value::Map(map) => {
            let names: Vec<String> = map.iter().map(|(name, _)| name.to_owned()).collect();
            for name in names {
                if ["apiVersion", "kind"].contains(&&*name) {
                    continue;
                }
                match (rng.random_range(0..6), map.get_mut(&name)) {
                    (0, _) => drop(map.remove(&name)),
                    (1, Some(member)) => match member {
                        Value::Bool(b) => *b = false,
                        Value::Int(n) => *n = 0,
                        Value::List(list) => list.clear(),
                        Value::Map(map) => *map = Map::new(),
                        _ => *member = Value::Null,
                    },
                    (_, Some(member)) => thin(member, rng),
                    (_, None) => {}
                }
            }
        }
        Value::List(list) => list.iter_mut().for_each(|item| thin(item, rng)),
        _ => {}
    }
}

#[test]
fn objects_with_gaps_become_the_same_text_without_a_tree() {
    let rng = &mut StdRng::seed_from_u64(1);
    let mut compared = 0;
    each(|catalog, golden| {
        if golden.kind.is_empty() {
            return Ok(());
        }
        for _ in 0..20 {
            let mut value = decode(catalog, &golden)?;
            thin(&mut value, rng);
            // What is no such object any more (a union without a member) is no use here.
            let Ok(fitting) = codec::convert(value, catalog, golden.ty, DecodeOptions::default()) else {
                continue;
            };
            let Ok(bytes) = proto::encode(
                &fitting.value,
                catalog,
                golden.ty,
                &golden.api_version,
                &golden.kind,
            ) else {
                continue;
            };
            let (_, tree) = proto::decode(&bytes, catalog).map_err(|e| e.to_string())?;
            let (by_tree, direct) = (json::to_vec(&tree), text(&bytes, catalog)?);
            if direct != by_tree {
                return Err(first_difference(&direct, &by_tree));
            }
            compared += 1;
        }
        Ok(())
    });
    assert!(compared == 0 || compared > 2_000, "only {compared} objects");
}

/// No encoder writes an embedded message twice; the format allows it.
#[test]
fn a_list_that_lies_in_two_messages_is_written_whole() {
    fn message(number: u8, content: &[u8]) -> Vec<u8> {
        let size = u8::try_from(content.len()).expect("short");
        [&[number << 3 | 2, size], content].concat()
    }
    // ephemeralContainerCommon is 1, in it name is 1 and command is 3; ephemeralContainers is 34 of the spec, which is 2.
    let common = |word: &[u8]| message(1, &[message(1, b"c"), message(3, word)].concat());
    let container = [common(b"one"), common(b"two")].concat();
    let size = u8::try_from(container.len()).expect("short");
    let spec = [&[0x92, 0x02, size][..], &container].concat();
    let pod = proto::wrap("v1", "Pod", |out| -> Result<(), ()> {
        out.extend_from_slice(&message(2, &spec));
        Ok(())
    })
    .expect("nothing fails");
    let catalog = api::newest();
    let (_, tree) = proto::decode(&pod, catalog).expect("a pod");
    let direct = text(&pod, catalog).expect("a pod");
    assert_eq!(
        String::from_utf8_lossy(&direct),
        String::from_utf8_lossy(&json::to_vec(&tree))
    );
    assert!(String::from_utf8_lossy(&direct).contains(r#""command":["one","two"]"#));
}

#[test]
fn decoding_what_is_canonical_changes_nothing() {
    each(|catalog, golden| {
        let ours = json::to_vec(&decode(catalog, &golden)?);
        let theirs = json::to_vec(&json::parse(&golden.json).map_err(|e| e.to_string())?);
        if ours == theirs {
            Ok(())
        } else {
            Err(first_difference(&ours, &theirs))
        }
    });
}

#[test]
fn yaml_is_the_same_object_as_json() {
    each(|catalog, golden| {
        let options = DecodeOptions {
            strictness: Strictness::Strict,
        };
        let decoded = yaml::decode(&golden.yaml, catalog, golden.ty, options).map_err(|e| e.to_string())?;
        match decoded.strict_errors.first() {
            Some(e) => Err(e.clone()),
            None if decoded.value == decode(catalog, &golden)? => Ok(()),
            None => Err("another value".into()),
        }
    });
}

#[test]
fn metadata_is_read_and_the_revision_spliced_without_decoding() {
    each(|catalog, golden| {
        let (ty, mut value) = decode_protobuf(catalog, &golden)?;
        if value["metadata"].is_null() || golden.name == "core.v1.Status" {
            return Ok(());
        }
        let peeked = proto::peek_meta(&golden.pb).ok_or("no metadata")?;
        if peeked != proto::Meta::of(&value) {
            return Err(format!("{peeked:?}"));
        }
        let spliced = proto::with_resource_version(&golden.pb, 4711).map_err(|e| e.to_string())?;
        value.at_mut(&["metadata"]).insert("resourceVersion", "4711");
        let whole = proto::encode(&value, catalog, ty, &golden.api_version, &golden.kind)
            .map_err(|e| e.to_string())?;
        if spliced == whole {
            Ok(())
        } else {
            Err(first_difference(&spliced, &whole))
        }
    });
}

#[test]
fn broken_protobuf_is_an_error_and_never_a_panic() {
    each(|catalog, golden| {
        for cut in (4..golden.pb.len()).step_by(211) {
            let _ = proto::decode(&golden.pb[..cut], catalog);
            let _ = text(&golden.pb[..cut], catalog);
            let mut flipped = golden.pb.clone();
            flipped[cut] ^= 0x55;
            let _ = proto::peek_meta(&flipped);
            if let (Ok((_, tree)), Ok(direct)) = (proto::decode(&flipped, catalog), text(&flipped, catalog)) {
                let by_tree = json::to_vec(&tree);
                if direct != by_tree {
                    return Err(first_difference(&direct, &by_tree));
                }
            }
        }
        Ok(())
    });
}

#[test]
fn typed_objects_become_the_same_protobuf_as_upstreams() {
    fn check<K: api::Object>(dir: &std::path::Path, name: &str) {
        let read = |ext: &str| std::fs::read(dir.join(format!("{name}.{ext}"))).expect("golden file");
        let object = K::decode(&read("json")).unwrap_or_else(|e| panic!("{name}: {e}"));
        let bytes = object.encode_proto().unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(
            bytes == read("pb"),
            "{name}: {}",
            first_difference(&bytes, &read("pb"))
        );
        assert!(K::decode(&bytes).is_ok_and(|back| back == object), "{name}");
    }
    let Some(dir) = goldens() else { return };
    check::<api::core::v1::Pod>(&dir, "core.v1.Pod");
    check::<api::core::v1::Node>(&dir, "core.v1.Node");
    check::<api::core::v1::Service>(&dir, "core.v1.Service");
    check::<api::core::v1::Secret>(&dir, "core.v1.Secret");
    check::<api::core::v1::Event>(&dir, "core.v1.Event");
    check::<api::core::v1::PersistentVolume>(&dir, "core.v1.PersistentVolume");
    check::<api::apps::v1::StatefulSet>(&dir, "apps.v1.StatefulSet");
    check::<api::apps::v1::ControllerRevision>(&dir, "apps.v1.ControllerRevision");
    check::<api::batch::v1::CronJob>(&dir, "batch.v1.CronJob");
    check::<api::coordination::v1::Lease>(&dir, "coordination.k8s.io.v1.Lease");
    check::<api::discovery::v1::EndpointSlice>(&dir, "discovery.k8s.io.v1.EndpointSlice");
    check::<api::networking::v1::NetworkPolicy>(&dir, "networking.k8s.io.v1.NetworkPolicy");
    check::<api::rbac::v1::ClusterRole>(&dir, "rbac.authorization.k8s.io.v1.ClusterRole");
    check::<api::storage::v1::StorageClass>(&dir, "storage.k8s.io.v1.StorageClass");
}

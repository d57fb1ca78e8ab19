//! What configMap, secret, downwardAPI and projected volumes contain: pure.

use super::atomic::{File, Payload};
use crate::downward::{self, DownwardError, NodeFacts};
use crate::k8s::{ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret};
use std::collections::BTreeMap;

/// Mode of files in volumes that name none.
pub const DEFAULT_MODE: u32 = 0o644;

/// Why a volume's contents cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// A ConfigMap or Secret that is not optional does not exist.
    #[error("{kind} {name:?} not found")]
    Missing {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// `namespace/name`.
        name: String,
    },
    /// A key that is not optional does not exist.
    #[error("references non-existent {kind} key: {key}")]
    Key {
        /// `config` or `secret`.
        kind: &'static str,
        /// The key.
        key: String,
    },
    /// A downward reference has no value.
    #[error(transparent)]
    Downward(#[from] DownwardError),
}

/// Permission bits from the API's signed number.
pub fn mode(value: Option<i32>, default: u32) -> u32 {
    value.and_then(|m| u32::try_from(m).ok()).unwrap_or(default) & 0o777
}

fn select(
    data: &BTreeMap<String, Vec<u8>>,
    items: Option<&Vec<KeyToPath>>,
    default_mode: u32,
    optional: bool,
    kind: &'static str,
) -> Result<Payload, PayloadError> {
    let file = |bytes: &[u8], mode| File {
        data: bytes.to_vec(),
        mode,
        owner: None,
    };
    let Some(items) = items.filter(|i| !i.is_empty()) else {
        return Ok(data
            .iter()
            .map(|(k, v)| (k.clone(), file(v, default_mode)))
            .collect());
    };
    let mut out = Payload::new();
    for item in items {
        match data.get(&item.key) {
            Some(bytes) => {
                out.insert(item.path.clone(), file(bytes, mode(item.mode, default_mode)));
            }
            None if optional => {}
            None => {
                return Err(PayloadError::Key {
                    kind,
                    key: item.key.clone(),
                });
            }
        }
    }
    Ok(out)
}

/// Files of a ConfigMap. `map` is `None` if it does not exist.
pub fn config_map(
    map: Option<&ConfigMap>,
    name: &str,
    items: Option<&Vec<KeyToPath>>,
    default_mode: u32,
    optional: bool,
) -> Result<Payload, PayloadError> {
    let Some(map) = map else {
        let missing = PayloadError::Missing {
            kind: "configmap",
            name: name.to_owned(),
        };
        return if optional {
            Ok(Payload::new())
        } else {
            Err(missing)
        };
    };
    let text = map
        .data
        .iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.clone().into_bytes()));
    let binary = map
        .binary_data
        .iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.0.clone()));
    select(
        &text.chain(binary).collect(),
        items,
        default_mode,
        optional,
        "config",
    )
}

/// Files of a Secret. `secret` is `None` if it does not exist.
pub fn secret(
    secret: Option<&Secret>,
    name: &str,
    items: Option<&Vec<KeyToPath>>,
    default_mode: u32,
    optional: bool,
) -> Result<Payload, PayloadError> {
    let Some(secret) = secret else {
        let missing = PayloadError::Missing {
            kind: "secret",
            name: name.to_owned(),
        };
        return if optional {
            Ok(Payload::new())
        } else {
            Err(missing)
        };
    };
    let data = secret
        .data
        .iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.0.clone()))
        .collect();
    select(&data, items, default_mode, optional, "secret")
}

/// Files of the downward API.
pub fn downward_api(
    pod: &Pod,
    items: Option<&Vec<DownwardAPIVolumeFile>>,
    default_mode: u32,
    facts: &NodeFacts,
) -> Result<Payload, PayloadError> {
    let mut out = Payload::new();
    for item in items.into_iter().flatten() {
        let text = if let Some(field) = &item.field_ref {
            downward::field(pod, field, facts)?
        } else if let Some(resource) = &item.resource_field_ref {
            downward::resource(pod, None, resource, facts)?
        } else {
            String::new()
        };
        let file = File {
            data: text.into_bytes(),
            mode: mode(item.mode, default_mode),
            owner: None,
        };
        out.insert(item.path.clone(), file);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_files_and_items_choose_among_them() {
        let map: ConfigMap =
            serde_json::from_str(r#"{"data":{"a":"1","b":"2"},"binaryData":{"c":"AAE="}}"#).unwrap();
        let all = config_map(Some(&map), "m", None, 0o644, false).unwrap();
        assert_eq!(all.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(all["c"].data, [0, 1]);
        let items = |text: &str| Some(serde_json::from_str::<Vec<KeyToPath>>(text).unwrap());
        let chosen = items(r#"[{"key":"b","path":"x/y","mode":256}]"#);
        let some = config_map(Some(&map), "m", chosen.as_ref(), 0o644, false).unwrap();
        assert_eq!((some.len(), some["x/y"].mode), (1, 0o400));
        let missing = items(r#"[{"key":"z","path":"z"}]"#);
        assert!(config_map(Some(&map), "m", missing.as_ref(), 0o644, false).is_err());
        assert!(
            config_map(Some(&map), "m", missing.as_ref(), 0o644, true)
                .unwrap()
                .is_empty()
        );
        assert!(secret(None, "s", None, 0o644, true).unwrap().is_empty());
        assert_eq!(
            secret(None, "n/s", None, 0o644, false).unwrap_err().to_string(),
            "secret \"n/s\" not found"
        );
    }
}

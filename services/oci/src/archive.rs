//! Archives of images: reading what `docker save` and OCI layouts in a tar hold, and writing the latter.
//!
//! A tar may name its files in any order, so blobs are first copied into the store under their own digest and the documents
//! that join them are read afterwards. Layers keep the compression they came with.

use crate::image::MANIFEST;
use crate::store::Reference;
use crate::{Digest, OciError, Store};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{Read, Write};

/// The largest layer that is accepted.
const LAYER_LIMIT: u64 = 4 << 30;
/// The largest manifest, index or configuration that is accepted; the distribution specification asks for 4 MiB.
const DOCUMENT_LIMIT: u64 = 4 << 20;
/// How many files an archive may have.
const FILES: usize = 4096;

/// Reads an archive (plain or gzip) into the store, and answers with the full names of the images it held. `name` is for an
/// archive that names none.
pub fn load_archive(store: &Store, archive: impl Read, name: Option<&str>) -> Result<Vec<String>, OciError> {
    let mut archive = std::io::BufReader::new(archive);
    let gzip = std::io::BufRead::fill_buf(&mut archive)?.starts_with(&[0x1f, 0x8b]);
    let plain: Box<dyn Read> = if gzip {
        Box::new(flate2::read::GzDecoder::new(archive))
    } else {
        Box::new(archive)
    };
    let mut files: HashMap<String, (Digest, u64)> = HashMap::new();
    let mut tar = tar::Archive::new(plain);
    for entry in tar.entries()? {
        let mut entry = entry?;
        let path = entry
            .path()?
            .to_string_lossy()
            .trim_start_matches("./")
            .to_owned();
        if entry.header().entry_type().is_symlink() || entry.header().entry_type().is_hard_link() {
            // Old `docker save` links a layer that several images share.
            let target = entry
                .link_name()?
                .map(|t| t.to_string_lossy().into_owned())
                .unwrap_or_default();
            let target = target.trim_start_matches("../");
            if let Some(known) = files.get(target).cloned() {
                files.insert(path, known);
            }
        } else if entry.header().entry_type().is_file() {
            let blob = store.put_from(&mut entry, &path, LAYER_LIMIT)?;
            files.insert(path, blob);
        }
        if files.len() > FILES {
            return Err(OciError::Invalid(format!("more than {FILES} files")));
        }
    }
    let document = |path: &str| -> Result<Option<Value>, OciError> {
        let Some((digest, _)) = files.get(path) else {
            return Ok(None);
        };
        let bytes = store.read(digest, DOCUMENT_LIMIT)?;
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| OciError::Invalid(format!("{path}: {e}")))
    };
    // New `docker save` writes both forms; only manifest.json has all names then.
    let names = if let Some(list) = document("manifest.json")? {
        docker(store, &files, &list, name)?
    } else if let Some(index) = document("index.json")? {
        layout(store, &index, name)?
    } else {
        return Err(OciError::Invalid(
            "neither manifest.json nor index.json is in the archive".into(),
        ));
    };
    if names.is_empty() {
        return Err(OciError::Invalid(
            "the archive names no image; give a name".into(),
        ));
    }
    Ok(names)
}

fn docker(
    store: &Store,
    files: &HashMap<String, (Digest, u64)>,
    list: &Value,
    name: Option<&str>,
) -> Result<Vec<String>, OciError> {
    let mut names = Vec::new();
    let missing = |what: &str| {
        OciError::Invalid(format!(
            "manifest.json names {what:?}, which is not in the archive"
        ))
    };
    for image in list.as_array().into_iter().flatten() {
        let descriptor = |path: &str, media_type: &str| {
            let (digest, size) = files.get(path).ok_or_else(|| missing(path))?;
            Ok::<_, OciError>(json!({ "mediaType": media_type, "digest": digest, "size": size }))
        };
        let config = image["Config"].as_str().unwrap_or_default();
        let mut layers = Vec::new();
        for layer in image["Layers"].as_array().into_iter().flatten() {
            let path = layer.as_str().unwrap_or_default();
            let (digest, _) = files.get(path).ok_or_else(|| missing(path))?;
            let mut magic = [0; 2];
            let gzip =
                std::fs::File::open(store.blob_path(digest))?.read(&mut magic)? == 2 && magic == [0x1f, 0x8b];
            let media_type = "application/vnd.oci.image.layer.v1.tar";
            layers.push(descriptor(
                path,
                if gzip {
                    "application/vnd.oci.image.layer.v1.tar+gzip"
                } else {
                    media_type
                },
            )?);
        }
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(config, "application/vnd.oci.image.config.v1+json")?,
            "layers": layers,
        });
        let digest = store.put(manifest.to_string().as_bytes())?;
        let tags = image["RepoTags"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        for tag in tags.chain(name) {
            store.name(
                tag,
                Reference {
                    digest: digest.clone(),
                    media_type: MANIFEST.into(),
                },
            )?;
            names.push(crate::store::full_name(tag));
        }
    }
    Ok(names)
}

fn layout(store: &Store, index: &Value, name: Option<&str>) -> Result<Vec<String>, OciError> {
    let mut names = Vec::new();
    for entry in index["manifests"].as_array().into_iter().flatten() {
        let annotations = &entry["annotations"];
        let Some(full) = ["io.containerd.image.name", "org.opencontainers.image.ref.name"]
            .iter()
            .find_map(|key| annotations[*key].as_str())
            .filter(|n| n.contains(['/', ':']))
            .or(name)
        else {
            continue;
        };
        let digest = entry["digest"]
            .as_str()
            .and_then(Digest::parse)
            .filter(|d| store.blob_path(d).exists())
            .ok_or_else(|| {
                OciError::Invalid("index.json names a manifest that is not in the archive".into())
            })?;
        let media_type = entry["mediaType"].as_str().unwrap_or(MANIFEST).to_owned();
        store.name(full, Reference { digest, media_type })?;
        names.push(crate::store::full_name(full));
    }
    Ok(names)
}

/// Writes one image of the store as an OCI layout in a tar, which `ctr images import` and `docker load` read.
pub fn write_archive(store: &Store, name: &str, to: impl Write) -> Result<(), OciError> {
    let reference = store
        .resolve(name)
        .ok_or_else(|| OciError::Invalid(format!("no image {name}")))?;
    let manifest = store.read(&reference.digest, DOCUMENT_LIMIT)?;
    let document: Value = serde_json::from_slice(&manifest).map_err(|e| OciError::Invalid(e.to_string()))?;
    let mut tar = tar::Builder::new(to);
    let mut put = |path: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, path, bytes)
    };
    let full = crate::store::full_name(name);
    put("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": reference.media_type, "digest": reference.digest, "size": manifest.len(),
            "annotations": { "io.containerd.image.name": full, "org.opencontainers.image.ref.name": full },
        }],
    });
    put("index.json", index.to_string().as_bytes())?;
    let layers = document["layers"].as_array().into_iter().flatten();
    let blobs = std::iter::once(&document["config"])
        .chain(layers)
        .filter_map(|d| d["digest"].as_str());
    for digest in std::iter::once(reference.digest.as_str()).chain(blobs) {
        let digest = Digest::parse(digest).ok_or_else(|| OciError::Invalid(format!("digest {digest:?}")))?;
        put(
            &format!("blobs/{}", digest.as_str().replace(':', "/")),
            &store.read(&digest, LAYER_LIMIT)?,
        )?;
    }
    tar.finish()?;
    Ok(())
}

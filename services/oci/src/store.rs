//! Images in a directory: `blobs/sha256/<hex>` and `refs.json`, which maps full names to manifests.
//!
//! What must stay true: a name is written only after everything it needs is on disk, so a pull never meets a hole.

use crate::OciError;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The SHA-256 of a blob, written `sha256:<64 hexadecimal digits>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_hash(Sha256::digest(bytes).as_slice())
    }

    fn from_hash(hash: &[u8]) -> Self {
        let mut text = String::from("sha256:");
        for byte in hash {
            // Writing to a string cannot fail.
            let _infallible = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// Parses `sha256:<hex>`; other algorithms are not accepted.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("sha256:")?;
        let ok = hex.len() == 64
            && hex
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        ok.then(|| Self(text.to_owned()))
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn hex(&self) -> &str {
        &self.0["sha256:".len()..]
    }
}

impl TryFrom<String> for Digest {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} is no sha256 digest"))
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

/// Images in a directory. Clones share it; only one process may write.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    refs: Mutex<BTreeMap<String, Reference>>,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Reference {
    pub(crate) digest: Digest,
    #[serde(rename = "mediaType")]
    pub(crate) media_type: String,
}

impl Store {
    /// Opens (or creates) the store in this directory.
    pub fn open(dir: &Path) -> Result<Self, OciError> {
        fs::create_dir_all(dir.join("blobs/sha256"))?;
        let refs = match fs::read(dir.join("refs.json")) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|e| OciError::Invalid(format!("refs.json: {e}")))?
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(e) => return Err(e.into()),
        };
        Ok(Self(Arc::new(Inner {
            dir: dir.to_owned(),
            refs: Mutex::new(refs),
        })))
    }

    /// The full names of all images, as `docker.io/library/busybox:1.36`, with their manifests' digests.
    pub fn list(&self) -> Vec<(String, Digest)> {
        self.0
            .refs
            .lock()
            .iter()
            .map(|(name, r)| (name.clone(), r.digest.clone()))
            .collect()
    }

    /// Forgets a name; its blobs stay, for other names may share them.
    pub fn remove(&self, name: &str) -> Result<bool, OciError> {
        let mut refs = self.0.refs.lock();
        let known = refs.remove(&full_name(name)).is_some();
        self.save(&refs)?;
        Ok(known)
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.0.dir.join("blobs/sha256").join(digest.hex())
    }

    pub(crate) fn put(&self, bytes: &[u8]) -> Result<Digest, OciError> {
        let digest = Digest::of(bytes);
        let path = self.blob_path(&digest);
        if !path.exists() {
            let temporary = self.0.dir.join(format!("blobs/{}.new", digest.hex()));
            fs::write(&temporary, bytes)?;
            fs::rename(&temporary, path)?;
        }
        Ok(digest)
    }

    /// Copies a blob of at most `limit` bytes in, and answers with its digest and size.
    pub(crate) fn put_from(
        &self,
        from: &mut dyn Read,
        what: &str,
        limit: u64,
    ) -> Result<(Digest, u64), OciError> {
        let temporary = self.0.dir.join(format!("blobs/{}.new", std::process::id()));
        let mut file = fs::File::create(&temporary)?;
        let (mut hash, mut size, mut buffer) = (Sha256::new(), 0u64, vec![0; 1 << 16]);
        loop {
            let n = from.read(&mut buffer)?;
            if n == 0 {
                break;
            }
            size += n as u64;
            if size > limit {
                fs::remove_file(&temporary)?;
                return Err(OciError::TooLarge {
                    what: what.into(),
                    limit,
                });
            }
            hash.update(&buffer[..n]);
            file.write_all(&buffer[..n])?;
        }
        let digest = Digest::from_hash(hash.finalize().as_slice());
        fs::rename(&temporary, self.blob_path(&digest))?;
        Ok((digest, size))
    }

    pub(crate) fn read(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, OciError> {
        let mut bytes = Vec::new();
        fs::File::open(self.blob_path(digest))?
            .take(limit + 1)
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(OciError::TooLarge {
                what: digest.as_str().into(),
                limit,
            });
        }
        Ok(bytes)
    }

    pub(crate) fn name(&self, name: &str, reference: Reference) -> Result<(), OciError> {
        let mut refs = self.0.refs.lock();
        refs.insert(full_name(name), reference);
        self.save(&refs)
    }

    pub(crate) fn resolve(&self, name: &str) -> Option<Reference> {
        self.0.refs.lock().get(&full_name(name)).cloned()
    }

    /// Whether this digest is the manifest of some name, and of which media type.
    pub(crate) fn manifest(&self, digest: &Digest) -> Option<Reference> {
        self.0.refs.lock().values().find(|r| r.digest == *digest).cloned()
    }

    fn save(&self, refs: &BTreeMap<String, Reference>) -> Result<(), OciError> {
        let temporary = self.0.dir.join("refs.json.new");
        let text = serde_json::to_vec_pretty(refs).map_err(|e| OciError::Invalid(e.to_string()))?;
        fs::write(&temporary, text)?;
        Ok(fs::rename(&temporary, self.0.dir.join("refs.json"))?)
    }
}

/// A name with registry, repository and tag, by the rules that Docker has set: `busybox` is
/// `docker.io/library/busybox:latest`, and a first part with a dot, a colon or `localhost` is a registry.
pub(crate) fn full_name(name: &str) -> String {
    let (path, tag) = match name.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, tag),
        _ => (name, "latest"),
    };
    let path = match path.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => path.to_owned(),
        Some(_) => format!("docker.io/{path}"),
        None => format!("docker.io/library/{path}"),
    };
    format!("{path}:{tag}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_completed_as_docker_does() {
        for (short, full) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36"),
            ("me/app:1", "docker.io/me/app:1"),
            ("marina.local/shop:v1", "marina.local/shop:v1"),
            ("localhost:5000/x", "localhost:5000/x:latest"),
            ("registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10"),
        ] {
            assert_eq!(full_name(short), full);
        }
    }
}

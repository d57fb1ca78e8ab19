//! Paths to fields, as error messages write them: `spec.containers[0].name`, `metadata.labels[app]`.

use std::fmt;

/// A path to a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(pub String);

impl Path {
    /// The path of an object itself.
    pub fn root() -> Self {
        Self::default()
    }
    /// A path from its text.
    pub fn new(path: &str) -> Self {
        Self(path.to_owned())
    }
    /// A member; `name` may hold dots.
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() {
            Self(name.to_owned())
        } else {
            Self(format!("{}.{name}", self.0))
        }
    }
    /// An item of a list.
    pub fn index(&self, at: usize) -> Self {
        Self(format!("{}[{at}]", self.0))
    }
    /// An entry of a map.
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "<nil>" } else { &self.0 })
    }
}

//! Wire forms: JSON, YAML and protobuf, all driven by the [`schema`](crate::schema).
//!
//! Each decoder gives the *canonical* tree: what upstream would print after decoding into its Go types and encoding
//! again. Fields stand in declaration order, what Go leaves out is gone, what Go always writes is there (`status: {}`,
//! `containers: null`), quantities and times have their one spelling, maps are sorted. So an encoder only writes down
//! what it finds, and a tree can be compared, stored and sent without another pass. A tree that rules have changed
//! since is made canonical again by [`convert`].
//!
//! JSON is first parsed without types, then converted: the same conversion serves YAML, JSON and the result of patches.
//! Rejected: decoding JSON straight into typed trees, which saves one walk and costs a second set of rules.

pub mod json;
pub mod proto;
pub(crate) mod scalar;
mod typed;
pub mod yaml;

use crate::{Catalog, TypeId, Value};

/// What happens to fields that the schema does not know and to keys that stand twice: `fieldValidation` of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    /// They are dropped without a word.
    #[default]
    Ignore,
    /// They are dropped and reported in [`Decoded::warnings`].
    Warn,
    /// They are dropped and reported in [`Decoded::strict_errors`]; the caller refuses the object if there are any.
    Strict,
}

/// How to decode.
#[derive(Clone, Copy, Debug, Default)]
pub struct DecodeOptions {
    /// What to do about unknown and duplicate fields.
    pub strictness: Strictness,
}

/// What a decoder found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// The canonical object.
    pub value: Value,
    /// Under [`Strictness::Warn`]: texts such as `unknown field "spec.foo"`, at most 100.
    pub warnings: Vec<String>,
    /// Under [`Strictness::Strict`]: the same texts, as errors.
    pub strict_errors: Vec<String>,
}

/// Why bytes are no object. The texts are upstream's where clients see them.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The text is no JSON or YAML.
    #[error("{0}")]
    Syntax(String),
    /// A value has the wrong type for its field, e.g.
    /// `json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32`.
    #[error("{0}")]
    Type(String),
    /// A size, depth or count is beyond what is accepted.
    #[error("{0}")]
    Limit(&'static str),
    /// The bytes are no protobuf message of this type.
    #[error("proto: {0}")]
    Proto(&'static str),
    /// The catalog has no such kind, or the kind has no protobuf form.
    #[error("no kind \"{kind}\" is registered for version \"{api_version}\"")]
    NoKind {
        /// `apps/v1`
        api_version: String,
        /// `Deployment`
        kind: String,
    },
}

/// Nesting deeper than this is refused, so that no input can exhaust the stack.
pub const MAX_DEPTH: usize = 300;
/// No more than this many unknown or duplicate fields are reported, as upstream does.
const MAX_PROBLEMS: usize = 100;

/// Makes an untyped or changed tree canonical for a type.
///
/// # Errors
/// [`DecodeError::Type`] if a value does not fit its field.
pub fn convert(
    value: Value,
    catalog: &Catalog,
    ty: TypeId,
    options: DecodeOptions,
) -> Result<Decoded, DecodeError> {
    let mut converter = typed::Converter::new(catalog, options.strictness != Strictness::Ignore);
    let value = converter.root(ty, value)?;
    Ok(sort_problems(value, converter.problems, options))
}

fn sort_problems(value: Value, problems: Vec<String>, options: DecodeOptions) -> Decoded {
    match options.strictness {
        Strictness::Ignore => Decoded {
            value,
            ..Decoded::default()
        },
        Strictness::Warn => Decoded {
            value,
            warnings: problems,
            ..Decoded::default()
        },
        Strictness::Strict => Decoded {
            value,
            strict_errors: problems,
            ..Decoded::default()
        },
    }
}

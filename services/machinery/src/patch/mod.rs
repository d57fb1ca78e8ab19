//! The three patch languages of the API: JSON patch, merge patch and strategic merge patch.
//!
//! All work on trees and know no kind; server-side apply is no patch in this sense and lives elsewhere.

pub mod json;
pub mod merge;
pub mod strategic;

/// Why a patch cannot be applied. The variants are the answers that the API server gives; the texts are upstream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch is malformed: 400 `BadRequest`.
    #[error("{0}")]
    Malformed(String),
    /// The patch has too many operations: 413 `RequestEntityTooLarge`.
    #[error("The allowed maximum operations in a JSON patch is {max}, got {got}")]
    TooLarge {
        /// How many operations are allowed.
        max: usize,
        /// How many there are.
        got: usize,
    },
    /// The patch does not fit the object: 422 `Invalid`.
    #[error("{0}")]
    Unprocessable(String),
    /// The patch asks for something that the type does not have: 500 `InternalError`, as upstream answers.
    #[error("{0}")]
    Unfit(String),
}

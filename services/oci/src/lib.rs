//! Container images: making them, reading archives of them, keeping them in a directory and serving them to nodes.
//!
//! The embedded cloud has no way out to the internet's registries, and needs none: the images that tests and demonstrations
//! use are made from programs of this repository ([`seeds`]), users load their own (`docker save`, or an OCI layout in a tar),
//! and nodes pull both from [`Registry`] through containerd's mirror configuration.
//! Formats are those of the OCI image and distribution specifications, version 1.1.
//! Rejected: accepting pushes (a user's image comes in through Marina's own API, which knows who is asking).

mod archive;
mod image;
mod registry;
pub mod seeds;
mod store;

pub use archive::{load_archive, write_archive};
pub use image::{File, Image, ImageConfig};
pub use registry::Registry;
pub use store::{Digest, Store};

/// Why an image could not be made, read or kept.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// The disk, or the archive's end before its time.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The archive or document is not what it should be.
    #[error("invalid image: {0}")]
    Invalid(String),
    /// Something in the archive is larger than is accepted.
    #[error("{what} has more than {limit} bytes")]
    TooLarge {
        /// What it is.
        what: String,
        /// The limit in bytes.
        limit: u64,
    },
}

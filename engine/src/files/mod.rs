//! The files of containers: copied in and out, exported, compared with the image.
//!
//! | | |
//! |---|---|
//! | `view.rs` | a container's tree as it sees it, walked by handles |
//! | `pack.rs`, `tar_writer.rs` | from a tree to a tar |
//! | `unpack.rs` | from a tar to a tree |
//! | `diff.rs` | the changes against the image |
//! | `open.rs` | the tree of a container, running or not |
//! | `work.rs` | all that as the engine's work: on threads, ended when its caller has gone |
//!
//! Nothing of it is a change of a container's state, so nothing is journalled. A crash leaves nothing: root filesystems
//! are mounted by handle, and files have no name before they are whole (or one that begins with `.isula-cp-`, where the
//! file system cannot do that).

pub(crate) mod diff;
mod error;
mod open;
pub(crate) mod pack;
mod tar_writer;
pub(crate) mod unpack;
pub(crate) mod view;
mod work;

pub(crate) use error::FilesError;
pub(crate) use unpack::UnpackOptions;
pub(crate) use work::{Facts, FactsKind, Files, Outgoing, Part};

#[cfg(test)]
mod tests;

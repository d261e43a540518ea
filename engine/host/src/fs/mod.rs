//! Files, trees of files, and mounts. A path from outside is opened beneath a directory handle, never by name.

pub mod attributes;
pub mod beneath;
mod copy;
mod mountinfo;
mod path;
mod planned;
mod remove;
mod write;

pub use beneath::{BeneathError, open_root};
pub use copy::{Copied, CopyError, copy_facts, copy_tree};
pub use mountinfo::{MountEntry, mounts_below, parse as parse_mountinfo};
pub use path::{locate, without_links};
pub use planned::{Content, Found, Located, PlannedRoot};
pub use remove::{Mounts, detach_below, remove_tree};
pub use write::{WriteError, write_atomically};

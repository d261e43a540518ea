//! Samples of images, for tests of this crate and of its users.

use super::*;
use crate::id::{Digest, Timestamp};

pub const ID: Digest = Digest([7; 32]);

pub fn facts() -> Facts {
    Facts {
        manifest: Digest([8; 32]),
        size: 1 << 30,
        layers: 5,
        created: Some(Timestamp(1)),
        added_at: Timestamp(2),
        used_at: Timestamp(3),
        pinned: false,
        os: "linux".to_owned(),
        architecture: "amd64".to_owned(),
    }
}

pub fn add(names: &[&str], since: u64) -> Command {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    Command::Add { source: Source::Pulled, facts: facts(), names, since }
}

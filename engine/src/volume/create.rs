//! A volume comes into being: first its directory, then its record.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{VolumeError, Volumes, files};
use crate::clock;
use crate::domain::id::VolumeName;
use crate::domain::volume::Command;
use crate::failpoint;
use crate::journal::record::Context;

/// A random name.
pub(crate) fn anonymous_name() -> Result<VolumeName, VolumeError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| VolumeError::Io {
        action: "make a random name from",
        path: "/dev/urandom".into(),
        source: std::io::Error::other(error),
    })?;
    let name = hex::encode(bytes);
    name.parse().map_err(|_| VolumeError::InvalidName { name })
}

impl Volumes {
    /// The volume exists and its directory is there when this returns: where its data lies. One that exists stays as it is,
    /// labels included. To be called with a lease of the name, unless it does not matter that it may be removed again.
    pub(crate) async fn ensure(
        &self,
        name: &VolumeName,
        anonymous: bool,
        labels: BTreeMap<String, String>,
        context: &Context,
    ) -> Result<PathBuf, VolumeError> {
        // A removal that ends while the directory is made would leave it without a record.
        let _lease = self.lease([name.clone()]).await?;
        if self.is_being_removed(name) {
            return Err(VolumeError::BeingRemoved { name: name.clone() });
        }
        let (layout, volume) = (self.node.layout.clone(), name.clone());
        let data = self.blocking(name, move || files::make(&layout, &volume)).await?;
        failpoint::hit(failpoint::VOLUME_CREATE_BEFORE_RECORD);
        let create = Command::Create { labels, anonymous, at: clock::now() };
        self.ledger.turn(name, context, &create).await.map_err(|error| VolumeError::of_turn(error, name))?;
        Ok(data)
    }
}

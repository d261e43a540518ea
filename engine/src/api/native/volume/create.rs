//! Create: an existing volume is returned as it is.

use std::collections::BTreeMap;

use cri_api::isula::v1::{CreateVolumeRequest, Volume};

use super::{LOCAL, name};
use crate::api::native::{ApiError, Native};
use crate::journal::record::Context;
use crate::volume::{self, VolumeError};

impl Native {
    pub(super) async fn create_volume(
        &self,
        request: CreateVolumeRequest,
        context: &Context,
    ) -> Result<Volume, ApiError> {
        if !matches!(request.driver.as_str(), "" | LOCAL) {
            return Err(ApiError::invalid(format!("volume driver `{}` is unknown: local", request.driver)));
        }
        if request.labels.keys().any(String::is_empty) {
            return Err(ApiError::invalid("a label needs a name"));
        }
        let anonymous = request.name.is_empty();
        let name = if anonymous { volume::anonymous_name()? } else { name(&request.name)? };
        let labels: BTreeMap<String, String> = request.labels.into_iter().collect();
        self.engine.volumes.ensure(&name, anonymous, labels, context).await?;
        let entity = self.engine.volumes.ledger().get(&name);
        // It may have been removed again by now.
        let entity = entity.ok_or_else(|| VolumeError::NoSuchVolume { name: name.clone() })?;
        self.volumes_shown(vec![entity]).await?.pop().ok_or_else(|| ApiError::failed("the volume is not shown"))
    }
}

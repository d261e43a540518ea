//! Prune: unused anonymous volumes, or all unused ones.

use cri_api::isula::v1::{PruneVolumesRequest, PruneVolumesResponse};

use super::filter::Filters;
use crate::api::native::{ApiError, Native, limits};
use crate::journal::record::Context;
use crate::volume::Reclaimed;

impl Native {
    pub(super) async fn prune_volumes(
        &self,
        request: &PruneVolumesRequest,
        context: &Context,
    ) -> Result<PruneVolumesResponse, ApiError> {
        limits::filters(&request.filters)?;
        let filters = Filters::parse_prune(&request.filters)?;
        let wanted = |volume: &crate::domain::volume::Volume| filters.matches(volume);
        let Reclaimed { names, bytes } = self.engine.volumes.prune(request.all, wanted, context).await;
        let deleted = names.iter().map(ToString::to_string).collect();
        Ok(PruneVolumesResponse { deleted, reclaimed: bytes })
    }
}

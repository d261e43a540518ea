//! Lists of images, their history, and the filters of a prune.

use cri_api::isula::v1::{
    HistoryEntry, HistoryResponse, ImageSummary, ListImagesRequest, ListImagesResponse, PruneImagesRequest,
};

use crate::api::native::container::nanoseconds;
use crate::api::native::{ApiError, Native, limits};
use crate::domain::id::Timestamp;
use crate::image::{Chosen, ImageError, Listed, Pruned};

impl Native {
    pub(super) async fn list_images(&self, request: ListImagesRequest) -> Result<ListImagesResponse, ApiError> {
        limits::filters(&request.filters)?;
        let filters = request.filters.iter().map(|filter| (filter.key.as_str(), filter.value.as_str()));
        let chosen = Chosen::parse(filters)?;
        let images = self.engine.images.clone();
        let listing = tokio::task::spawn_blocking(move || images.list(&chosen)).await;
        let listed = listing.map_err(|source| ImageError::Task { source })??;
        Ok(ListImagesResponse { images: listed.into_iter().map(summary).collect() })
    }

    pub(super) async fn image_history(&self, reference: &str) -> Result<HistoryResponse, ApiError> {
        let entity = self.engine.images.find(reference)?;
        let (images, id) = (self.engine.images.clone(), entity.state.id);
        let reading = tokio::task::spawn_blocking(move || images.config(&id)).await;
        let config = reading.map_err(|source| ImageError::Task { source })??;
        // Steps that made a layer and layers go together, from the bottom up; a history may be missing or too short.
        let mut layers = config.diff_ids.iter();
        let mut size_of_next = || layers.next().map_or(0, |diff_id| self.engine.images.layer_size(diff_id));
        let mut entries: Vec<HistoryEntry> = config
            .history
            .iter()
            .map(|step| HistoryEntry {
                id: String::new(),
                created_at: step.created.map_or(0, nanoseconds),
                created_by: step.created_by.clone(),
                comment: step.comment.clone(),
                size: if step.empty_layer { 0 } else { size_of_next() },
                empty_layer: step.empty_layer,
                tags: vec![],
            })
            .collect();
        for diff_id in layers {
            let size = self.engine.images.layer_size(diff_id);
            entries.push(HistoryEntry { size, ..HistoryEntry::default() });
        }
        entries.reverse();
        if let Some(newest) = entries.first_mut() {
            newest.id = id.to_string();
            let names = self.engine.images.ledger().snapshot().names_of(&entity.state);
            newest.tags =
                names.iter().filter(|name| !name.contains('@')).map(|name| crate::image::familiar(name)).collect();
        }
        Ok(HistoryResponse { entries })
    }
}

fn summary(listed: Listed) -> ImageSummary {
    let Listed { entity, tags, digests, containers } = listed;
    let facts = &entity.state.facts;
    ImageSummary {
        id: entity.state.id.to_string(),
        tags,
        digests,
        size: facts.size,
        created_at: facts.created.map_or(0, nanoseconds),
        loaded_at: nanoseconds(facts.added_at),
        used_at: nanoseconds(facts.used_at),
        pinned: facts.pinned,
        containers,
        architecture: facts.architecture.clone(),
        os: facts.os.clone(),
    }
}

pub(super) fn pruned(request: PruneImagesRequest) -> Result<Pruned, ApiError> {
    limits::filters(&request.filters)?;
    let mut pruned = Pruned { all: request.all, ..Pruned::default() };
    for filter in request.filters {
        match filter.key.as_str() {
            "label" => pruned.labels.push(filter.value),
            "until" => {
                let until =
                    filter.value.parse().map_err(|_| ApiError::invalid("`until` is not a time in nanoseconds"))?;
                pruned.until = Some(Timestamp(until));
            }
            _ => return Err(ImageError::Filter { key: filter.key }.into()),
        }
    }
    Ok(pruned)
}

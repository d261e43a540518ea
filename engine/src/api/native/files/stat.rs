//! Stat: facts about a path of a container.

use cri_api::isula::v1::file_facts::Kind;
use cri_api::isula::v1::{FileFacts, StatRequest};

use super::refusal;
use crate::api::native::{ApiError, Native};
use crate::files::{Facts, FactsKind};

impl Native {
    pub(super) async fn look_at(&self, request: StatRequest) -> Result<FileFacts, ApiError> {
        let StatRequest { container, path, follow } = request;
        let id = self.resolve(&container)?;
        let facts = self.engine.files.facts(id, path.as_bytes(), follow).await;
        facts.map(wire_facts).map_err(refusal(&container))
    }
}

/// Names on the wire are text; one that is not UTF-8 is converted for display only.
pub(super) fn wire_facts(facts: Facts) -> FileFacts {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let kind = match facts.kind {
        FactsKind::File => Kind::File,
        FactsKind::Directory => Kind::Directory,
        FactsKind::Link => Kind::Link,
        FactsKind::Other => Kind::Other,
    };
    FileFacts {
        name: text(&facts.name),
        kind: kind.into(),
        size: facts.size,
        mode: facts.mode,
        modified_at: facts.modified_at,
        target: text(&facts.target),
        path: text(&facts.path),
    }
}

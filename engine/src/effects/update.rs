//! Changing the limits of a running container.

use std::sync::Arc;

use crate::domain::container::Command;
use crate::domain::id::ContainerId;
use crate::engine::Engine;
use crate::journal::record::Context;

pub(super) async fn update(engine: &Arc<Engine>, id: ContainerId, context: &Context) {
    let message = "limits cannot be changed yet".to_owned();
    engine.report(id, context, Command::ReportUpdateFailed { message }).await;
}

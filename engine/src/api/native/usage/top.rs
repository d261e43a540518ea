//! Top: the processes of a running container.

use cri_api::isula::v1::TopResponse;
use cri_api::isula::v1::top_response::Row;

use crate::api::native::{ApiError, Native};
use crate::containers::{ContainerError, Verb};
use crate::usage::{Table, TopError};

impl Native {
    pub(super) async fn list_processes(&self, reference: &str, options: &[String]) -> Result<TopResponse, ApiError> {
        let id = self.resolve(reference)?;
        let Table { titles, rows } =
            self.engine.usage.top(id, options).await.map_err(|error| refusal(error, reference))?;
        Ok(TopResponse { titles, rows: rows.into_iter().map(|cells| Row { cells }).collect() })
    }
}

fn refusal(error: TopError, reference: &str) -> ApiError {
    match error {
        TopError::Rejected(rejection) => ContainerError::of_rejection(rejection, Verb::Top, reference).into(),
        source @ (TopError::NoGroup | TopError::Slow | TopError::Ps(_)) => {
            ApiError::Top { reference: reference.to_owned(), source }
        }
    }
}

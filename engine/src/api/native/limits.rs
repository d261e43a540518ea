//! Limits of lists of filters.

use cri_api::isula::v1::Filter;

use super::ApiError;

/// Filters of one list, prune or subscription: each is compared with every object.
const FILTERS: usize = 1_024;

pub(super) fn filters(filters: &[Filter]) -> Result<(), ApiError> {
    if filters.len() > FILTERS {
        return Err(ApiError::invalid(format!("{FILTERS} filters at most are taken, not {}", filters.len())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excess_filters_are_refused_with_their_limit() {
        assert!(filters(&vec![Filter::default(); FILTERS]).is_ok());
        let refused = filters(&vec![Filter::default(); FILTERS + 1]).unwrap_err().to_string();
        assert_eq!(refused, "1024 filters at most are taken, not 1025");
    }
}

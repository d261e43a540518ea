//! The restart policy in requests and answers.

use cri_api::isula::v1 as wire;
use serde_json::{Value, json};

use crate::api::native::ApiError;
use crate::definition::Restart;
use crate::domain::container::RestartPolicy;

/// The policy of a request.
pub(super) fn policy(given: &wire::RestartPolicy) -> Result<Restart, ApiError> {
    let retries = given.maximum_retries;
    let policy = match given.name.as_str() {
        "" | "no" => Restart::No,
        "always" => Restart::Always,
        "unless-stopped" => Restart::UnlessStopped,
        "on-failure" => Restart::OnFailure { retries },
        "on-reboot" => Restart::OnReboot,
        other => {
            return Err(ApiError::invalid(format!(
                "restart policy `{other}` is unknown: no, always, unless-stopped, on-failure or on-reboot"
            )));
        }
    };
    if retries > 0 && !matches!(policy, Restart::OnFailure { .. }) {
        return Err(ApiError::invalid(format!(
            "maximum retry count cannot be used with restart policy `{}`",
            given.name
        )));
    }
    Ok(policy)
}

/// The policy in `inspect`.
pub(super) fn words(policy: RestartPolicy) -> Value {
    let (name, retries) = match policy {
        RestartPolicy::No => ("no", 0),
        RestartPolicy::Always => ("always", 0),
        RestartPolicy::UnlessStopped => ("unless-stopped", 0),
        RestartPolicy::OnFailure { retries } => ("on-failure", retries),
        RestartPolicy::OnReboot => ("on-reboot", 0),
    };
    json!({ "Name": name, "MaximumRetryCount": retries })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(name: &str, maximum_retries: u32) -> wire::RestartPolicy {
        wire::RestartPolicy { name: name.to_owned(), maximum_retries }
    }

    #[test]
    fn policies_are_parsed_and_shown() {
        for (name, retries, wanted) in [
            ("", 0, Restart::No),
            ("no", 0, Restart::No),
            ("always", 0, Restart::Always),
            ("unless-stopped", 0, Restart::UnlessStopped),
            ("on-failure", 3, Restart::OnFailure { retries: 3 }),
            ("on-reboot", 0, Restart::OnReboot),
        ] {
            assert_eq!(policy(&given(name, retries)).unwrap(), wanted);
            let shown = words(wanted.into());
            assert_eq!(shown["Name"], if name.is_empty() { "no" } else { name });
            assert_eq!(shown["MaximumRetryCount"], retries);
        }
    }

    #[test]
    fn invalid_policies_are_refused() {
        let refused = |name, retries| policy(&given(name, retries)).unwrap_err().to_string();
        assert!(refused("never", 0).starts_with("restart policy `never` is unknown"));
        assert_eq!(refused("always", 2), "maximum retry count cannot be used with restart policy `always`");
    }
}

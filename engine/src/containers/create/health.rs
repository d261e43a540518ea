//! The health check of a new container.

use std::time::Duration;

use super::{ContainerSpec, HealthcheckSpec};
use crate::containers::ContainerError;
use crate::definition::Healthcheck;

/// The shortest time that may be given, and the longest timeout of a probe.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(600);

/// The check of a container: the request's, with missing settings from the image's.
pub(super) fn check(spec: &ContainerSpec, image: Option<Healthcheck>) -> Result<Option<Healthcheck>, ContainerError> {
    let given = spec.healthcheck.clone();
    let asks = given != HealthcheckSpec::default() || spec.health_exit_on_unhealthy;
    if spec.no_healthcheck {
        let conflict = || ContainerError::invalid("--no-healthcheck conflicts with --health-* options");
        return if asks { Err(conflict()) } else { Ok(None) };
    }
    if given.test.first().is_some_and(|kind| kind == "NONE") {
        return Ok(None);
    }
    let image = image.filter(|image| valid(&image.test));
    if given.test.is_empty() && image.is_none() {
        let missing =
            || ContainerError::invalid("--health-cmd is required: the container has no health check otherwise");
        return if asks { Err(missing()) } else { Ok(None) };
    }
    let of_image = image.unwrap_or(Healthcheck { test: vec![], interval: 0, timeout: 0, start_period: 0, retries: 0 });
    let test = if given.test.is_empty() { of_image.test } else { given.test };
    if !valid(&test) || test.iter().any(|word| word.contains('\0')) {
        return Err(ContainerError::invalid("a health check is `CMD` and arguments, or `CMD-SHELL` and one line"));
    }
    let check = Healthcheck {
        test,
        interval: time("interval", given.interval, of_image.interval)?,
        timeout: time("timeout", given.timeout, of_image.timeout)?,
        start_period: time("start period", given.start_period, of_image.start_period)?,
        retries: if given.retries == 0 { of_image.retries } else { given.retries },
    };
    if Duration::from_nanos(check.timeout) > LONGEST_TIMEOUT {
        return Err(ContainerError::invalid("the timeout of a health check is at most 10 minutes"));
    }
    Ok(Some(check))
}

fn valid(test: &[String]) -> bool {
    match test.split_first() {
        Some((kind, rest)) => match kind.as_str() {
            "CMD" => rest.first().is_some_and(|program| !program.is_empty()),
            "CMD-SHELL" => rest.len() == 1 && !rest[0].is_empty(),
            _ => false,
        },
        None => false,
    }
}

fn time(what: &str, given: i64, of_image: u64) -> Result<u64, ContainerError> {
    let short = || ContainerError::invalid(format!("the {what} of a health check is at least 1ms"));
    match u64::try_from(given).map_err(|_| short())? {
        0 => Ok(of_image),
        given if Duration::from_nanos(given) < SHORTEST => Err(short()),
        given => Ok(given),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn spec(test: &[&str]) -> ContainerSpec {
        let test = test.iter().map(|word| (*word).to_owned()).collect();
        ContainerSpec { healthcheck: HealthcheckSpec { test, ..Default::default() }, ..Default::default() }
    }

    fn image() -> Option<Healthcheck> {
        let test = vec!["CMD".to_owned(), "true".to_owned()];
        Some(Healthcheck { test, interval: 5, timeout: 6, start_period: 7, retries: 8 })
    }

    #[test]
    fn a_request_overrides_the_image_field_by_field() {
        assert_eq!(check(&ContainerSpec::default(), None).unwrap(), None);
        assert_eq!(check(&ContainerSpec::default(), image()).unwrap(), image());
        assert_eq!(check(&spec(&["NONE"]), image()).unwrap(), None);
        let mut asked = spec(&["CMD-SHELL", "a|b"]);
        asked.healthcheck.interval = SECOND;
        let merged = check(&asked, image()).unwrap().unwrap();
        assert_eq!((merged.test[1].as_str(), merged.interval, merged.retries), ("a|b", SECOND as u64, 8));
        asked.healthcheck.test.clear();
        assert_eq!(check(&asked, image()).unwrap().unwrap().test[0], "CMD");
    }

    #[test]
    fn invalid_checks_are_refused() {
        let refused = |spec: &ContainerSpec| check(spec, None).unwrap_err().to_string();
        for test in [&["CMD"][..], &["CMD-SHELL"], &["CMD-SHELL", "a", "b"], &["other", "x"], &["CMD", ""]] {
            assert!(refused(&spec(test)).starts_with("a health check is"), "{test:?}");
        }
        let mut asked = spec(&["CMD", "x"]);
        asked.healthcheck.timeout = 601 * SECOND;
        assert_eq!(refused(&asked), "the timeout of a health check is at most 10 minutes");
        asked.healthcheck.timeout = -1;
        assert_eq!(refused(&asked), "the timeout of a health check is at least 1ms");
        asked.no_healthcheck = true;
        assert_eq!(refused(&asked), "--no-healthcheck conflicts with --health-* options");
        let alone = ContainerSpec { health_exit_on_unhealthy: true, ..Default::default() };
        assert!(refused(&alone).starts_with("--health-cmd is required"));
    }
}

//! Devices of the host made visible in the container.

use clap::{Arg, ArgMatches};
use cri_api::isula::v1::{CreateRequest, Device};

use super::invalid;
use crate::failure::Failure;
use crate::flag;

pub(super) fn flags() -> Vec<Arg> {
    vec![flag::list("device", "HOST[:CONTAINER][:rwm]", "Device of the host to give to the container")]
}

pub(super) fn apply(matches: &ArgMatches, request: &mut CreateRequest) -> Result<(), Failure> {
    for given in flag::texts(matches, "device") {
        request.devices.push(device(given).map_err(|reason| invalid(given, "device", reason))?);
    }
    Ok(())
}

fn device(text: &str) -> Result<Device, &'static str> {
    let parts: Vec<&str> = text.split(':').collect();
    let (host, container, permissions) = match parts[..] {
        [host] => (host, "", ""),
        [host, second] if second.starts_with('/') => (host, second, ""),
        [host, second] => (host, "", second),
        [host, container, permissions] => (host, container, permissions),
        _ => return Err("want HOST[:CONTAINER][:rwm]"),
    };
    if !host.starts_with('/') || !(container.is_empty() || container.starts_with('/')) {
        return Err("paths of devices must be absolute");
    }
    let given_but_bad = parts.len() > 1 && parts.last().is_some_and(|last| last.is_empty());
    let repeated = permissions.char_indices().any(|(at, one)| permissions[..at].contains(one));
    if given_but_bad || repeated || !permissions.chars().all(|one| "rwm".contains(one)) {
        return Err("permissions are letters of rwm");
    }
    Ok(Device { host: host.to_owned(), container: container.to_owned(), permissions: permissions.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices() {
        for (text, host, container, permissions) in [
            ("/dev/null", "/dev/null", "", ""),
            ("/dev/null:/dev/x", "/dev/null", "/dev/x", ""),
            ("/dev/null:rw", "/dev/null", "", "rw"),
            ("/dev/null:/dev/x:r", "/dev/null", "/dev/x", "r"),
        ] {
            let wanted = Device { host: host.into(), container: container.into(), permissions: permissions.into() };
            assert_eq!(device(text), Ok(wanted), "{text}");
        }
        for bad in ["", "null", "/dev/null:", "/dev/null:x", "/dev/null:rr", "/dev/null:/x:", "/a:/b:r:w", "/a:b:r"] {
            assert!(device(bad).is_err(), "{bad}");
        }
    }
}

//! Privileges: capabilities, seccomp, no-new-privileges, sysctls.

use std::fs;

use clap::{Arg, ArgMatches};
use cri_api::isula::v1::CreateRequest;

use super::{invalid, label};
use crate::failure::Failure;
use crate::flag;

pub(super) fn flags() -> Vec<Arg> {
    vec![
        flag::switch("privileged", "All capabilities, all devices, nothing masked, no seccomp"),
        flag::list("cap-add", "CAPABILITY", "Give a capability, or ALL"),
        flag::list("cap-drop", "CAPABILITY", "Take a capability, or ALL"),
        flag::list("security-opt", "OPTION", "seccomp=FILE|unconfined, no-new-privileges"),
        flag::list("sysctl", "KEY=VALUE", "Kernel parameter of the container's namespaces"),
    ]
}

pub(super) fn apply(matches: &ArgMatches, request: &mut CreateRequest) -> Result<(), Failure> {
    request.privileged = flag::is_on(matches, "privileged");
    request.cap_add = flag::owned(matches, "cap-add");
    request.cap_drop = flag::owned(matches, "cap-drop");
    for given in flag::texts(matches, "security-opt") {
        security_option(given, request).map_err(|reason| invalid(given, "security-opt", reason))?;
    }
    for given in flag::texts(matches, "sysctl") {
        let (key, value) = label::pair(given).ok_or_else(|| invalid(given, "sysctl", "want KEY=VALUE"))?;
        request.sysctls.insert(key.to_owned(), value.to_owned());
    }
    Ok(())
}

fn security_option(text: &str, request: &mut CreateRequest) -> Result<(), String> {
    let (key, value) = match text.split_once(['=', ':']) {
        Some((key, value)) => (key, Some(value)),
        None => (text, None),
    };
    match (key, value) {
        ("no-new-privileges", None | Some("true")) => request.no_new_privileges = true,
        ("no-new-privileges", Some("false")) => request.no_new_privileges = false,
        ("no-new-privileges", Some(_)) => return Err("want true or false".into()),
        ("seccomp", Some("unconfined")) => request.seccomp = "unconfined".into(),
        ("seccomp", Some(path)) => request.seccomp = profile(path)?,
        ("seccomp", None) => return Err("want seccomp=FILE or seccomp=unconfined".into()),
        ("label" | "apparmor", _) => return Err(format!("'{key}' is not supported yet")),
        _ => return Err("known are seccomp=FILE|unconfined and no-new-privileges".into()),
    }
    Ok(())
}

/// The profile is read here: the daemon may not see the caller's files.
fn profile(path: &str) -> Result<String, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("cannot read the profile: {error}"))?;
    match serde_json::from_str::<serde_json::Value>(&text) {
        Ok(serde_json::Value::Object(_)) => Ok(text),
        Ok(_) => Err("the profile is not a JSON object".into()),
        Err(error) => Err(format!("the profile is not JSON: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use crate::container::parse;

    #[test]
    fn options() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#).unwrap();
        let option = format!("seccomp={}", file.path().display());
        let request = parse(&[
            "--privileged",
            "--cap-add",
            "NET_ADMIN",
            "--cap-add=SYS_TIME",
            "--cap-drop=ALL",
            "--security-opt",
            &option,
            "--security-opt=no-new-privileges",
            "--sysctl=net.core.somaxconn=10",
            "x",
        ])
        .unwrap();
        assert!(request.privileged && request.no_new_privileges);
        assert_eq!((request.cap_add.len(), request.cap_drop.as_slice()), (2, &["ALL".to_owned()][..]));
        assert_eq!(request.seccomp, r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#);
        assert_eq!(request.sysctls["net.core.somaxconn"], "10");
        assert_eq!(parse(&["--security-opt=seccomp:unconfined", "x"]).unwrap().seccomp, "unconfined");
    }

    #[test]
    fn nonsense() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[]").unwrap();
        let list = format!("seccomp={}", file.path().display());
        for bad in ["", "bogus", "seccomp", "seccomp=/no/such", &list, "no-new-privileges=perhaps", "label=disable"] {
            let complaint = parse(&["--security-opt", bad, "x"]).unwrap_err();
            assert!(complaint.contains("for flag --security-opt: "), "{complaint}");
        }
        assert!(parse(&["--sysctl=x", "x"]).is_err());
    }
}

//! Where the binaries under test are: beside this program, in the same target directory and profile.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The directory that holds `isulad`, `isulad-shim` and `isula`.
pub static DIRECTORY: LazyLock<PathBuf> = LazyLock::new(|| {
    let own = std::env::current_exe().expect("a program knows its own path");
    let complete = |directory: &&Path| ["isulad", "isulad-shim", "isula"].iter().all(|it| directory.join(it).is_file());
    let found = own.ancestors().skip(1).take(3).find(complete);
    found.map(Path::to_owned).unwrap_or_else(|| {
        panic!("isulad, isulad-shim and isula are not beside {}: `make test` builds them first", own.display())
    })
});

/// The path of one of them.
pub fn path(name: &str) -> PathBuf {
    DIRECTORY.join(name)
}

/// The path of a program that the tests need on the machine. `ISULA_TEST_RUNC` and `ISULA_TEST_CRUN` choose other
/// runtimes than the installed ones (`make compat`).
///
/// # Panics
/// When it is not installed.
pub fn required(name: &str) -> PathBuf {
    if let Some(path) = chosen(name) {
        return path;
    }
    let search = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
    let found = std::env::split_paths(&search).chain(usual).map(|dir| dir.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("the integration tests need `{name}`: install it"))
}

/// The runtime that the environment chooses for the tests instead of the installed one.
///
/// # Panics
/// When there is no such file: the tests would pass on another runtime.
pub fn chosen(runtime: &str) -> Option<PathBuf> {
    let variable = format!("ISULA_TEST_{}", runtime.to_ascii_uppercase());
    let path = PathBuf::from(std::env::var_os(&variable).filter(|path| !path.is_empty())?);
    assert!(path.is_absolute() && path.is_file(), "{variable}: `{}` is no file by an absolute path", path.display());
    Some(path)
}

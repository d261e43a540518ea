//! Names of files: without links, and of programs.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// An executable file for this path or name.
pub fn locate(path: &Path) -> Option<PathBuf> {
    let runnable =
        |path: &Path| path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
    if path.is_absolute() {
        return runnable(path).then(|| path.to_owned());
    }
    let search = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&search).chain(usual).map(|dir| dir.join(path)).find(|path| runnable(path))
}

/// The path without links; of a path that does not exist yet, its existing part is resolved.
pub fn without_links(path: &Path) -> io::Result<PathBuf> {
    for there in path.ancestors() {
        match there.canonicalize() {
            Ok(real) => return Ok(path.strip_prefix(there).map_or_else(|_| real.clone(), |rest| real.join(rest))),
            // A dangling link is an error when the directory is made.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_program_is_an_executable_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("program");
        assert_eq!(locate(&file), None, "it is missing");
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
        assert_eq!(locate(&file), None, "it cannot be run");
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(locate(&file), Some(file));
        assert_eq!(locate(dir.path()), None, "a directory");
        assert!(locate(Path::new("sh")).is_some_and(|sh| sh.is_absolute()), "by PATH");
        assert_eq!(locate(Path::new("no-such-program")), None);
    }

    #[test]
    fn the_existing_part_of_a_path_is_resolved() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        std::fs::create_dir(real.join("a")).unwrap();
        symlink("a", real.join("link")).unwrap();
        for (given, expected) in [("link", "a"), ("link/x/y", "a/x/y"), ("x", "x")] {
            assert_eq!(without_links(&real.join(given)).unwrap(), real.join(expected), "{given}");
        }
        symlink("loop", real.join("loop")).unwrap();
        assert!(without_links(&real.join("loop")).is_err());
    }
}

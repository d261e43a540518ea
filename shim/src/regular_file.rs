//! Opening a file in a directory that containers may be able to write to. A link would lead to any file of the host, a
//! FIFO would hold up the caller, and the mere opening of a device can do something: only a regular file is opened.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};

/// Opens the file at `path` as `options` ask. [`io::ErrorKind::NotFound`]: there is nothing at all. Anything but a
/// regular file is refused without being opened.
pub fn open(path: &Path, options: &OpenOptions) -> io::Result<File> {
    let handle = rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let refusal = match FileType::from_raw_mode(rustix::fs::fstat(&handle)?.st_mode) {
        FileType::RegularFile => return options.open(format!("/proc/self/fd/{}", handle.as_raw_fd())),
        FileType::Symlink => "it is a symbolic link",
        _ => "it is not a regular file",
    };
    Err(io::Error::other(refusal))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::net::UnixListener;

    #[test]
    fn only_a_regular_file_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "x").unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        let open = |path: &Path| super::open(path, OpenOptions::new().read(true).append(true));
        assert!(open(&at("file")).is_ok());
        assert_eq!(open(&at("absent")).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(open(&at("link")).unwrap_err().to_string(), "it is a symbolic link");
        for other in [at("fifo"), at("socket"), dir.path().to_owned(), "/dev/null".into()] {
            assert_eq!(open(&other).unwrap_err().to_string(), "it is not a regular file", "{}", other.display());
        }
    }
}

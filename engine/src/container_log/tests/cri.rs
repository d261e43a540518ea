//! Records of Kubernetes' runtime interface, in files that kubelet rotates.

use super::*;

fn cri(path: &Path) -> LogFile {
    LogFile { path: path.to_owned(), format: LogFormat::Cri }
}

/// As the shim writes it.
fn record(stream: &str, tag: &str, text: &str, second: u32) -> String {
    format!("2024-01-02T03:04:{second:02}.000000006Z {stream} {tag} {text}\n")
}

fn lines(range: std::ops::Range<u32>) -> String {
    range.map(|n| record("stdout", "F", &n.to_string(), n)).collect()
}

fn log() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0.log");
    (dir, path)
}

/// The name that kubelet gives a file in the `n`th rotation.
fn rotated(path: &Path, n: u32) -> PathBuf {
    format!("{}.20240102-0304{n:02}", path.display()).into()
}

fn tail(path: &Path, count: u64, window: Window) -> String {
    drain(&mut Reader::tail(&cri(path), count, window).unwrap(), window)
}

fn all(path: &Path) -> String {
    drain(&mut Reader::open(&cri(path)).unwrap(), Window::ALL)
}

#[test]
fn files_are_those_of_kubelets_rotation_that_are_not_compressed() {
    let (dir, path) = log();
    fs::write(&path, lines(6..9)).unwrap();
    fs::write(rotated(&path, 2), lines(3..6)).unwrap();
    fs::write(rotated(&path, 1), lines(0..3)).unwrap();
    for other in
        ["0.log.20240102-030400.gz", "0.log.20240102-030400.gz.tmp", "0.log.1", "1.log", "0.log.2024-01", "0.log."]
    {
        fs::write(dir.path().join(other), lines(40..50)).unwrap();
    }
    assert_eq!(all(&path), numbers(0..9));
    for count in 0..=12 {
        let wanted = numbers(9_u32.saturating_sub(count)..9);
        assert_eq!(tail(&path, count.into(), Window::ALL), wanted, "tail {count}");
    }
    // Between the rename and the reopening there is no newest file.
    fs::rename(&path, rotated(&path, 3)).unwrap();
    assert_eq!(all(&path), numbers(0..9));
    assert_eq!(tail(&path, 4, Window::ALL), numbers(5..9));
    fs::remove_dir_all(dir.path()).unwrap();
    assert_eq!((all(&path), tail(&path, 4, Window::ALL)), (String::new(), String::new()));
}

#[test]
fn a_tail_is_of_lines_however_many_parts_they_have() {
    let (_dir, path) = log();
    let text = [
        record("stdout", "P", "a1", 1),
        record("stderr", "F", "bad", 1),
        record("stdout", "P", "a2", 1),
        record("stdout", "F", "", 1),
        record("stdout", "F", "", 2),
        record("stdout", "F", "b", 3),
        record("stdout", "P", "tail", 4),
    ];
    // Also across a rotation.
    fs::write(rotated(&path, 1), text[..2].concat()).unwrap();
    fs::write(&path, text[2..].concat()).unwrap();
    for (count, wanted) in [
        (0, ""),
        (1, "tail"),
        (2, "b\ntail"),
        (3, "\nb\ntail"),
        (4, "a1a2\n\nb\ntail"),
        (5, "a1[bad\n]a2\n\nb\ntail"),
        (9, "a1[bad\n]a2\n\nb\ntail"),
    ] {
        assert_eq!(tail(&path, count, Window::ALL), wanted, "tail {count}");
    }
    assert_eq!(all(&path), "a1[bad\n]a2\n\nb\ntail");
}

#[test]
fn records_outside_the_window_are_not_counted() {
    let (_dir, path) = log();
    fs::write(rotated(&path, 1), lines(0..7)).unwrap();
    fs::write(&path, lines(7..20)).unwrap();
    let window = |since, until| Window { since: at(since), until: at(until) };
    assert_eq!(tail(&path, 2, window(5, 9)), numbers(8..10));
    assert_eq!(tail(&path, 100, window(5, 9)), numbers(5..10));
    assert_eq!(tail(&path, 3, window(30, 40)), "");
    assert_eq!(drain(&mut Reader::open(&cri(&path)).unwrap(), window(18, 40)), numbers(18..20));
}

/// Kubelet renames the file. The shim writes on in it until it is asked to reopen.
#[test]
fn output_between_the_rename_and_the_reopening_is_followed() {
    let (_dir, path) = log();
    fs::write(&path, lines(0..2)).unwrap();
    let mut reader = Reader::open(&cri(&path)).unwrap();
    assert_eq!(drain(&mut reader, Window::ALL), numbers(0..2));
    for rotation in 1..4 {
        let first = rotation * 10;
        let old = rotated(&path, rotation);
        fs::rename(&path, &old).unwrap();
        assert_eq!(drain(&mut reader, Window::ALL), "");
        append(&old, &lines(first..first + 1));
        assert_eq!(drain(&mut reader, Window::ALL), numbers(first..first + 1));
        append(&old, &lines(first + 1..first + 2));
        fs::write(&path, lines(first + 2..first + 4)).unwrap();
        assert_eq!(drain(&mut reader, Window::ALL), numbers(first + 1..first + 4));
        // The file before is compressed meanwhile.
        let _ = fs::remove_file(rotated(&path, rotation - 1));
    }
    assert!(reader.is_whole());
}

#[test]
fn a_file_that_is_moved_back_is_followed() {
    let (_dir, path) = log();
    fs::write(&path, lines(0..1)).unwrap();
    let mut reader = Reader::tail(&cri(&path), 1, Window::ALL).unwrap();
    assert_eq!(drain(&mut reader, Window::ALL), numbers(0..1));
    let old = rotated(&path, 1);
    fs::rename(&path, &old).unwrap();
    assert_eq!(drain(&mut reader, Window::ALL), "");
    append(&old, &lines(1..2));
    // The shim refused to reopen.
    fs::rename(&old, &path).unwrap();
    assert_eq!(drain(&mut reader, Window::ALL), numbers(1..2));
    fs::rename(&path, &old).unwrap();
    append(&old, &lines(2..3));
    fs::write(&path, lines(3..4)).unwrap();
    assert_eq!(drain(&mut reader, Window::ALL), numbers(2..4));
}

#[test]
fn reading_until_now_ends_also_in_a_file_that_was_just_renamed() {
    let (_dir, path) = log();
    let old = rotated(&path, 1);
    fs::write(&old, lines(0..3)).unwrap();
    let mut reader = Reader::tail(&cri(&path), 2, Window::ALL).unwrap().until_now().unwrap();
    append(&old, &lines(3..9));
    fs::write(&path, lines(9..12)).unwrap();
    assert_eq!(drain(&mut reader, Window::ALL), numbers(1..3));
    assert!(reader.is_whole());
}

#[test]
fn between_two_places_parts_are_output_byte_for_byte() {
    let (_dir, path) = log();
    fs::write(&path, record("stdout", "F", "told", 0)).unwrap();
    let start = place(&path);
    append(&path, &record("stdout", "P", "to", 1));
    let old = rotated(&path, 1);
    fs::rename(&path, &old).unwrap();
    fs::write(&path, [record("stderr", "F", "bad", 1), record("stdout", "F", "gether\u{fffd}\r", 2)].concat()).unwrap();
    let end = place(&path);
    append(&path, &lines(3..5));
    let starts = Starts { stdout: Some(start), stderr: Some(start) };
    let mut reader = Reader::between(&cri(&path), starts, Some(end)).unwrap().unwrap();
    let mut out = Vec::new();
    let _ = reader.read(|record| {
        assert!(record.append_exact(&mut out));
        ControlFlow::Continue(())
    });
    assert_eq!(out, "tobad\ngether\u{fffd}\r\n".as_bytes());
    assert!(reader.is_whole());
    // Compressed meanwhile: the place is gone.
    fs::remove_file(&old).unwrap();
    assert!(Reader::between(&cri(&path), starts, Some(end)).unwrap().is_none());
}

#[test]
fn damaged_lines_are_passed_over() {
    let (_dir, path) = log();
    fs::write(&path, [&lines(0..1), "garbage\n\n", &"x".repeat(3 << 20), "\n", &lines(1..3), "2024-01-"].concat())
        .unwrap();
    assert_eq!(all(&path), numbers(0..3));
    assert_eq!(tail(&path, 2, Window::ALL), numbers(1..3));
}

/// A container may be able to write to the directory.
#[test]
fn links_and_fifos_are_refused() {
    let (dir, path) = log();
    let target = dir.path().join("secret");
    fs::write(&target, lines(0..1)).unwrap();
    for name in [path.clone(), rotated(&path, 1)] {
        std::os::unix::fs::symlink(&target, &name).unwrap();
        assert!(Reader::open(&cri(&path)).is_err() && Reader::tail(&cri(&path), 1, Window::ALL).is_err());
        fs::remove_file(&name).unwrap();
        nix::unistd::mkfifo(&name, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let error = Reader::tail(&cri(&path), 1, Window::ALL).unwrap_err().to_string();
        assert_eq!(error, format!("`{}`: it is not a regular file", name.display()));
        fs::remove_file(&name).unwrap();
    }
}

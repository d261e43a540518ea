use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::super::{LINE_LIMIT, Log};
use crate::shim::output::Stream;

fn log(path: &Path, terminal: bool) -> Log {
    let mut log = Log::new(&isulad_shim::process::Log::Cri { path: path.to_owned() }, terminal);
    log.open();
    log
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0.log");
    (dir, path)
}

/// The records without their times, which are checked.
fn records(path: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(path).unwrap();
    let mut records: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    assert_eq!(records.pop(), Some(&b""[..]), "the last record is whole");
    let without_time = |record: &&[u8]| {
        let (time, rest) = record.split_at(31);
        assert!(super::is_begun(&time[..30]) && time[30] == b' ', "{time:?}");
        rest.to_vec()
    };
    records.iter().map(without_time).collect()
}

fn texts(path: &Path) -> Vec<String> {
    records(path).into_iter().map(|record| String::from_utf8(record).unwrap()).collect()
}

/// The output of one stream, as a reader of the records puts it together.
fn joined(records: &[Vec<u8>], stream: Stream) -> Vec<u8> {
    let prefix = format!("{} ", stream.name()).into_bytes();
    let mut output = Vec::new();
    for record in records {
        let Some(rest) = record.strip_prefix(&prefix[..]) else { continue };
        let (tag, text) = rest.split_at(2);
        assert!(tag == b"F " || tag == b"P ", "{tag:?}");
        assert!(text.len() <= LINE_LIMIT);
        output.extend_from_slice(text);
        output.extend_from_slice(if tag == b"F " { b"\n" } else { b"" });
    }
    output
}

/// Passes the output in chunks, as the pump does: the beginning of a line comes again with the bytes behind it.
fn carry(log: &mut Log, stream: Stream, chunks: &[&[u8]]) {
    let mut waiting = Vec::new();
    for chunk in chunks {
        waiting.extend_from_slice(chunk);
        let done = log.write(stream, &waiting, LINE_LIMIT);
        waiting.drain(..done);
    }
    log.write_rest(stream, &waiting);
}

#[test]
fn records_are_as_containerd_writes_them() {
    let (_dir, path) = place();
    let mut log = log(&path, false);
    let long = "x".repeat(40_000);
    carry(&mut log, Stream::Stdout, &[format!("hello\n\n{long}\ncr\r\n").as_bytes(), b"tail"]);
    carry(&mut log, Stream::Stderr, &[b"\xff\0\n"]);
    let x = |count| "x".repeat(count);
    let expected = [
        "stdout F hello".to_owned(),
        "stdout F ".to_owned(),
        format!("stdout P {}", x(16_384)),
        format!("stdout P {}", x(16_384)),
        format!("stdout F {}", x(7_232)),
        "stdout F cr\r".to_owned(),
        "stdout P tail".to_owned(),
    ];
    let found = records(&path);
    assert_eq!(found[..7], expected.map(String::into_bytes));
    assert_eq!(found[7], b"stderr F \xff\0", "bytes that are no text are kept");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
}

#[test]
fn a_line_is_split_only_where_it_is_longer_than_a_record() {
    for (length, end) in [(LINE_LIMIT - 1, "\n"), (LINE_LIMIT, "\n"), (LINE_LIMIT, ""), (LINE_LIMIT - 1, "\r\n")] {
        let (_dir, path) = place();
        carry(&mut log(&path, false), Stream::Stdout, &[format!("{}{end}", "y".repeat(length)).as_bytes()]);
        assert_eq!(records(&path).len(), 1, "{length} {end:?}");
    }
    let (_dir, path) = place();
    carry(&mut log(&path, false), Stream::Stdout, &[&b"y".repeat(LINE_LIMIT + 1), b"\n"]);
    assert_eq!(texts(&path), [format!("stdout P {}", "y".repeat(LINE_LIMIT)), "stdout F y".to_owned()]);
    // Between characters, as each record is shown by itself, too.
    let (_dir, path) = place();
    carry(&mut log(&path, false), Stream::Stdout, &["é".repeat(LINE_LIMIT).replacen('é', "e", 1).as_bytes(), b"\n"]);
    let lengths: Vec<usize> = texts(&path).iter().map(|text| text.len() - "stdout F ".len()).collect();
    assert_eq!(lengths, [LINE_LIMIT - 1, LINE_LIMIT]);
}

#[test]
fn a_terminal_ends_its_lines_with_two_bytes_of_which_none_is_text() {
    let (_dir, path) = place();
    let mut log = log(&path, true);
    let full = "z".repeat(LINE_LIMIT);
    let output = format!("a\r\nb\nc\rd\r\r\n{full}\r\n{full}!\r\n{full}\r");
    // Cut at each place that matters, the end of line included.
    let chunks: Vec<&[u8]> = output.as_bytes().chunks(7).collect();
    carry(&mut log, Stream::Stdout, &chunks);
    let expected = [
        "stdout F a".to_owned(),
        "stdout F b".to_owned(),
        "stdout F c\rd\r".to_owned(),
        format!("stdout F {full}"),
        format!("stdout P {full}"),
        "stdout F !".to_owned(),
        format!("stdout P {full}"),
        "stdout P \r".to_owned(),
    ];
    assert_eq!(texts(&path), expected);
    assert_eq!(log.place(), None, "the log lacks bytes of the output");
}

#[test]
fn a_reopened_log_goes_on_in_the_new_file_with_a_whole_record() {
    let (_dir, path) = place();
    let mut log = log(&path, false);
    let before = log.place().unwrap();
    let long = b"x".repeat(LINE_LIMIT + 3);
    let done = log.write(Stream::Stdout, &long, LINE_LIMIT);
    let moved = path.with_file_name("0.log.20260102-030405");
    fs::rename(&path, &moved).unwrap();
    // Until then the old file is written.
    log.write(Stream::Stderr, b"still\n", LINE_LIMIT);
    assert!(!path.exists());
    log.reopen().unwrap();
    assert!(!log.place().unwrap().same_file(&before));
    carry(&mut log, Stream::Stdout, &[&long[done..], b"\n"]);
    assert_eq!(texts(&moved), [format!("stdout P {}", "x".repeat(LINE_LIMIT)), "stderr F still".to_owned()]);
    assert_eq!(texts(&path), ["stdout F xxx"]);
    // Without a rename, the same file goes on.
    log.reopen().unwrap();
    log.write(Stream::Stdout, b"more\n", LINE_LIMIT);
    assert_eq!(texts(&path), ["stdout F xxx", "stdout F more"]);
}

#[test]
fn a_path_that_cannot_be_opened_is_named_and_the_old_file_goes_on() {
    let (dir, path) = place();
    let mut log = log(&path, false);
    let moved = dir.path().join("moved");
    fs::rename(&path, &moved).unwrap();
    let elsewhere = dir.path().join("elsewhere");
    let make: [(&str, &dyn Fn()); 4] = [
        ("it is a symbolic link", &|| symlink(&elsewhere, &path).unwrap()),
        ("it is not a regular file", &|| nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap()),
        ("it is not a regular file", &|| {
            let device = nix::sys::stat::makedev(1, 3);
            let mode = nix::sys::stat::Mode::S_IRWXU;
            nix::sys::stat::mknod(&path, nix::sys::stat::SFlag::S_IFCHR, mode, device).unwrap();
        }),
        ("it is not a regular file", &|| fs::create_dir(&path).unwrap()),
    ];
    for (reason, make) in make {
        make();
        let error = log.reopen().unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot open the log `{}`: {reason}", path.display())), "{error}");
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
    }
    assert!(!elsewhere.exists());
    log.write(Stream::Stdout, b"goes on\n", LINE_LIMIT);
    assert_eq!(texts(&moved), ["stdout F goes on"]);
    drop(fs::remove_dir_all(dir.path()));
    let error = log.reopen().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "directories are not made");
}

#[test]
fn a_torn_record_is_cut_off_and_anything_else_is_ended() {
    let (_dir, path) = place();
    carry(&mut log(&path, false), Stream::Stdout, &[b"a\n"]);
    let whole = fs::read(&path).unwrap();
    let next = |begin: &[u8]| {
        fs::write(&path, begin).unwrap();
        let mut log = log(&path, false);
        log.write(Stream::Stdout, b"b\n", LINE_LIMIT);
        let size = fs::metadata(&path).unwrap().len();
        assert_eq!(log.place().unwrap().offset, size);
        fs::read(&path).unwrap()
    };
    for length in 0..whole.len() {
        let mended = next(&[&whole[..], &whole[..length]].concat());
        assert!(mended.starts_with(&whole) && mended.ends_with(b"stdout F b\n"), "cut at {length}");
        assert_eq!(mended.len(), 2 * whole.len(), "cut at {length}");
        // Alone in the file.
        assert_eq!(next(&whole[..length]).len(), whole.len(), "cut at {length}");
    }
    for foreign in [&b"no record"[..], b"2026-01-02 03:04", &b"9".repeat(super::RECORD_LIMIT + 1)] {
        let mended = next(foreign);
        assert_eq!(mended[..=foreign.len()], [foreign, b"\n"].concat());
        assert_eq!(mended.len(), foreign.len() + 1 + whole.len());
    }
}

#[test]
fn a_full_disk_loses_records_and_never_joins_lines() {
    let (_dir, path) = place();
    let mut log = log(&path, false);
    let part = b"x".repeat(LINE_LIMIT + 1);
    log.write(Stream::Stdout, &part, LINE_LIMIT);
    log.write(Stream::Stderr, &part, LINE_LIMIT);
    let target = log.target.as_mut().unwrap();
    let full = OpenOptions::new().read(true).write(true).open("/dev/full").unwrap();
    let file = target.file.replace(full).unwrap();
    // Twice: the end of the torn line is lost, too.
    for _ in 0..2 {
        log.write(Stream::Stdout, b"lost\nlost\n", LINE_LIMIT);
    }
    log.target.as_mut().unwrap().file = Some(file);
    assert_eq!(log.place(), None);
    log.write(Stream::Stdout, b"other line\n", LINE_LIMIT);
    log.write(Stream::Stderr, b"x\n", LINE_LIMIT);
    assert_eq!(log.target.as_ref().unwrap().dropped, 4);
    let x = "x".repeat(LINE_LIMIT);
    let expected =
        [&format!("stdout P {x}"), &format!("stderr P {x}"), "stdout F ", "stdout F other line", "stderr F x"];
    assert_eq!(texts(&path), expected);
}

#[test]
fn an_emptied_file_gets_whole_records() {
    let (_dir, path) = place();
    let mut log = log(&path, false);
    log.write(Stream::Stdout, b"before\n", LINE_LIMIT);
    OpenOptions::new().write(true).truncate(true).open(&path).unwrap().flush().unwrap();
    log.write(Stream::Stdout, b"after\n", LINE_LIMIT);
    assert_eq!(texts(&path), ["stdout F after"]);
}

/// Runs of one byte or character, so that long lines are as likely as empty ones.
fn output() -> impl Strategy<Value = Vec<u8>> {
    let unit = prop_oneof![
        3 => Just("\n".to_owned()),
        1 => Just("\r\n".to_owned()),
        2 => Just("x".to_owned()),
        1 => Just("é".to_owned()),
        1 => Just("€".to_owned()),
        1 => Just("F \n".to_owned()),
    ];
    let length = prop_oneof![4 => 1_usize..4, 1 => Just(LINE_LIMIT), 1 => 1..2 * LINE_LIMIT + 3];
    let bytes = prop_oneof![
        6 => (unit, length).prop_map(|(unit, length)| unit.repeat(length.div_ceil(unit.len())).into_bytes()),
        1 => proptest::collection::vec(any::<u8>(), 1..20),
    ];
    proptest::collection::vec(bytes, 0..8).prop_map(|parts| parts.concat())
}

fn chunks<'a>(output: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let (mut rest, mut chunks) = (output, Vec::new());
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, after) = rest.split_at(rest.len().min(*size));
        chunks.push(chunk);
        rest = after;
    }
    chunks
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn output_is_read_back_as_it_was_in_whatever_chunks_it_came(
        (out, err) in (output(), output()),
        sizes in proptest::collection::vec(prop_oneof![1 => 1_usize..4, 3 => 500_usize..70_000], 2..5),
    ) {
        let (_dir, path) = place();
        let mut chunked = log(&path, false);
        carry(&mut chunked, Stream::Stdout, &chunks(&out, &sizes));
        carry(&mut chunked, Stream::Stderr, &chunks(&err, &sizes));
        let found = records(&path);
        prop_assert!(joined(&found, Stream::Stdout) == out);
        prop_assert!(joined(&found, Stream::Stderr) == err);
        prop_assert_eq!(chunked.place().unwrap().offset, fs::metadata(&path).unwrap().len());
        // The chunks leave no trace.
        let (_dir, other) = place();
        let mut at_once = log(&other, false);
        carry(&mut at_once, Stream::Stdout, &[&out]);
        carry(&mut at_once, Stream::Stderr, &[&err]);
        prop_assert!(records(&other) == found);
    }
}

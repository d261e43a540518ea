//! Logs in the CRI form, at a path of kubelet's choice.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use isulad_shim::control::{Follower, LogPlace, Position, Streams, kind};
use isulad_shim::process::Log;
use isulad_shim::{ExitStatus, Frame, Request, state_dir};

use crate::disk::SmallDisk;
use crate::stand::{Engine, Stand, read_answer, read_until, send, wait_for};

crate::on_both_runtimes!(
    output_is_logged_in_records,
    a_terminal_is_one_stream_without_carriage_returns,
    a_log_that_is_rotated_under_load_has_each_line_once,
    a_log_goes_on_when_its_shim_is_replaced_under_load,
);

/// Writes numbers to both outputs until it is stopped.
const COUNTING: &str = "i=0; while [ ! -e /tmp/stop ]; do i=$((i+1)); echo $i || exit 99; echo e$i >&2 || exit 98; done
    echo $i >/tmp/count; exit 7";

/// One record, without its time.
#[derive(Debug, PartialEq, Eq)]
struct Record {
    stream: String,
    ends_line: bool,
    text: String,
}

fn stand(engine: Engine, script: &str) -> (Stand, PathBuf) {
    let mut stand = Stand::new(engine, script);
    let directory = stand.root().join("pod/container");
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join("0.log");
    stand.process.log = Log::Cri { path: path.clone() };
    (stand, path)
}

fn records(path: &Path) -> Vec<Record> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "a torn record: {:?}", text.lines().last());
    let parse = |line: &str| {
        let fields: Vec<&str> = line.splitn(4, ' ').collect();
        let [time, stream @ ("stdout" | "stderr"), tag @ ("P" | "F"), text] = fields[..] else {
            panic!("no record: {line:?}")
        };
        assert!(time.len() == 30 && time.starts_with("20") && time.ends_with('Z'), "{line:?}");
        Record { stream: stream.to_owned(), ends_line: tag == "F", text: text.to_owned() }
    };
    text.split_terminator('\n').map(parse).collect()
}

fn record(stream: &str, tag: &str, text: &str) -> Record {
    Record { stream: stream.to_owned(), ends_line: tag == "F", text: text.to_owned() }
}

/// The whole lines of one output. Each is in one record.
fn lines<'a>(records: &'a [Record], stream: &str) -> Vec<&'a str> {
    let of_stream = records.iter().filter(|record| record.stream == stream);
    of_stream.inspect(|record| assert!(record.ends_line, "{record:?}")).map(|record| &record.text[..]).collect()
}

/// As kubelet does; returns the new name.
fn rotate(stand: &Stand, path: &Path, number: usize) -> PathBuf {
    let rotated = PathBuf::from(format!("{}.20260102-{number:06}", path.display()));
    fs::rename(path, &rotated).unwrap();
    let client = stand.attach();
    send(&client, &Request::ReopenLog);
    assert_eq!(read_answer(&client), Frame::Ack(kind::REOPEN_LOG));
    assert!(path.exists(), "the answer comes when the new file is there");
    rotated
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn output_is_logged_in_records(engine: Engine) {
    let script = "echo hello; echo; printf '%040000d\\n' 0; echo bad >&2; printf 'cr\\r\\ntail'";
    let (stand, path) = stand(engine, script);
    stand.start();
    assert_eq!(stand.exit(), ExitStatus::Code(0));
    let zeros = |count| "0".repeat(count);
    let (errors, output): (Vec<_>, Vec<_>) = records(&path).into_iter().partition(|record| record.stream == "stderr");
    assert_eq!(errors, [record("stderr", "F", "bad")]);
    let expected = [
        record("stdout", "F", "hello"),
        record("stdout", "F", ""),
        record("stdout", "P", &zeros(16_384)),
        record("stdout", "P", &zeros(16_384)),
        record("stdout", "F", &zeros(7_232)),
        record("stdout", "F", "cr\r"),
        record("stdout", "P", "tail"),
    ];
    assert_eq!(output, expected);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    assert!(!stand.process.bundle.join("console.log").exists());
    stand.assert_clean();
}

fn a_terminal_is_one_stream_without_carriage_returns(engine: Engine) {
    let (mut stand, path) = stand(engine, "echo one; echo two >&2; printf three; read line");
    stand.terminal();
    stand.process.open_stdin = true;
    let (_, client) = stand.start_with_client();
    read_until(&client, "three");
    let follower = stand.attach();
    send(&follower, &Request::Follow(Streams { stdin: false, stdout: true, stderr: false }, Follower::New));
    let Frame::Position(Position { place, .. }) = read_answer(&follower) else { panic!("no position") };
    assert_eq!(place, None, "the log lacks bytes of the output");
    send(&client, &Request::Stdin(b"\n".to_vec()));
    assert_eq!(stand.exit(), ExitStatus::Code(0));
    let records = records(&path);
    assert_eq!(lines(&records, "stdout"), ["one", "two", "three"]);
    assert_eq!(records.len(), 3);
    stand.assert_clean();
}

fn a_log_that_is_rotated_under_load_has_each_line_once(engine: Engine) {
    let (stand, path) = stand(engine, COUNTING);
    stand.start();
    let mut files = Vec::new();
    for number in 0..20 {
        wait_for("more output", || size(&path) > 5_000);
        files.push(rotate(&stand, &path, number));
    }
    fs::write(stand.in_root("tmp/stop"), "").unwrap();
    assert_eq!(stand.exit(), ExitStatus::Code(7));
    let count: usize = fs::read_to_string(stand.in_root("tmp/count")).unwrap().trim().parse().unwrap();
    files.push(path);
    let all: Vec<Record> = files.iter().flat_map(|path| records(path)).collect();
    for (stream, prefix) in [("stdout", ""), ("stderr", "e")] {
        let expected: Vec<String> = (1..=count).map(|number| format!("{prefix}{number}")).collect();
        let found = lines(&all, stream);
        assert!(found == expected, "{stream}: {} lines of {count}", found.len());
    }
    assert_eq!(stand.shim_log(), "");
    stand.assert_clean();
}

fn a_log_goes_on_when_its_shim_is_replaced_under_load(engine: Engine) {
    const KILLS: usize = 8;
    let (stand, path) = stand(engine, COUNTING);
    let mut ready = stand.start();
    let mut files = Vec::new();
    for number in 0..KILLS {
        let reached = size(&path);
        wait_for("more output", || size(&path) > reached + 20_000);
        stand.kill_shim(&ready);
        ready = stand.adopt();
        if number % 2 == 1 {
            files.push(rotate(&stand, &path, number));
        }
    }
    wait_for("output after the last adoption", || size(&path) > 5_000);
    fs::write(stand.in_root("tmp/stop"), "").unwrap();
    assert_eq!(stand.exit(), ExitStatus::Code(7));
    let count: usize = fs::read_to_string(stand.in_root("tmp/count")).unwrap().trim().parse().unwrap();
    files.push(path);
    let all: Vec<Record> = files.iter().flat_map(|path| records(path)).collect();
    for (stream, prefix) in [("stdout", ""), ("stderr", "e")] {
        let mut seen = vec![0_usize; count + 1];
        for line in lines(&all, stream) {
            let number = line.strip_prefix(prefix).and_then(|number| number.parse::<usize>().ok());
            seen[number.unwrap_or_else(|| panic!("a torn line: {line:?}"))] += 1;
        }
        assert_eq!(seen.iter().skip(1).position(|times| *times == 0), None, "{stream}: a line is missing");
        // A batch may be logged and still in the FIFO when its shim is killed.
        let twice: usize = seen.iter().map(|times| times.saturating_sub(1)).sum();
        assert!(twice <= KILLS * 65_536 / 2, "{stream}: {twice} lines are there twice");
    }
    stand.assert_clean();
}

#[test]
fn a_long_line_is_continued_by_the_next_shim() {
    let (mut stand, path) = stand(Engine::Runc, "printf '%040000d' 0; read line </tmp/go; echo end");
    stand.make_fifo("tmp/go");
    let (ready, client) = stand.start_with_client();
    // Sent to clients after it was logged.
    read_until(&client, &"0".repeat(40_000));
    stand.kill_shim(&ready);
    assert_eq!(records(&path).len(), 2);
    stand.adopt();
    stand.release("tmp/go");
    assert_eq!(stand.exit(), ExitStatus::Code(0));
    let records = records(&path);
    let ends: Vec<bool> = records.iter().map(|record| record.ends_line).collect();
    assert_eq!(ends, [false, false, true]);
    let line: String = records.into_iter().map(|record| record.text).collect();
    assert_eq!(line, format!("{}end", "0".repeat(40_000)));
}

#[test]
fn a_position_is_a_place_in_the_file() {
    let (mut stand, path) = stand(Engine::Runc, "read line; printf '%016390d' 0; read line; echo; read line");
    stand.process.open_stdin = true;
    let (_, client) = stand.start_with_client();
    send(&client, &Request::Follow(Streams { stdin: true, stdout: true, stderr: false }, Follower::New));
    let start = LogPlace::file(&fs::File::open(&path).unwrap()).unwrap();
    let until = |unlogged: u32, parts: usize| {
        send(&client, &Request::Stdin(b"\n".to_vec()));
        loop {
            let Frame::Position(position) = read_answer(&client) else { panic!("no position") };
            let place = position.place.expect("the log is whole");
            assert!(place.same_file(&start));
            if position.unlogged == unlogged && place.offset > start.offset {
                assert_eq!((position.stream, place.offset), (kind::STDOUT, size(&path)));
                assert_eq!(records(&path).len(), parts);
                return;
            }
        }
    };
    // The part of a line counts as logged, the rest of it does not.
    until(6, 1);
    until(0, 2);
    send(&client, &Request::CloseStdin);
    stand.exit();
}

#[test]
fn a_path_that_cannot_be_opened_keeps_nothing_from_running() {
    let (stand, path) = stand(Engine::Runc, "echo lost; exit 3");
    let target = stand.root().join("target");
    let make: [(&str, &dyn Fn()); 3] = [
        ("No such file or directory", &|| fs::remove_dir(path.parent().unwrap()).unwrap()),
        ("it is a symbolic link", &|| {
            fs::create_dir(path.parent().unwrap()).unwrap();
            symlink(&target, &path).unwrap();
        }),
        ("it is not a regular file", &|| {
            fs::remove_file(&path).unwrap();
            nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        }),
    ];
    for (reason, make) in make {
        make();
        stand.start();
        assert_eq!(stand.exit(), ExitStatus::Code(3), "{reason}");
        let log = stand.shim_log();
        let text = format!("cannot open the log `{}`: {reason}", path.display());
        assert!(log.contains(&text) && log.contains("1 records are missing"), "{log}");
        stand.state.remove(state_dir::LOG_INCOMPLETE).unwrap();
        stand.assert_clean();
    }
    assert!(!target.exists());
}

#[test]
fn a_refused_reopening_leaves_the_old_file_in_use() {
    let (mut stand, path) = stand(Engine::Runc, "while read line; do echo $line; done");
    stand.process.open_stdin = true;
    let (_, client) = stand.start_with_client();
    let moved = path.with_file_name("moved");
    fs::rename(&path, &moved).unwrap();
    fs::create_dir(&path).unwrap();
    send(&client, &Request::ReopenLog);
    let Frame::Error(kind::REOPEN_LOG, message) = read_answer(&client) else { panic!("not refused") };
    assert!(
        message.starts_with(&format!("cannot open the log `{}`: it is not a regular file", path.display())),
        "{message}"
    );
    send(&client, &Request::Stdin(b"goes on\n".to_vec()));
    read_until(&client, "goes on\n");
    // Kubelet's way back.
    fs::remove_dir(&path).unwrap();
    fs::rename(&moved, &path).unwrap();
    send(&client, &Request::CloseStdin);
    assert_eq!(stand.exit(), ExitStatus::Code(0));
    assert_eq!(records(&path), [record("stdout", "F", "goes on")]);
}

#[test]
fn a_full_disk_loses_lines_and_no_record_is_torn() {
    let (mut stand, _) = stand(Engine::Runc, "seq 100000; echo end; exit 5");
    let disk = SmallDisk::mount(stand.root().join("disk"), "256k");
    let path = disk.path.join("0.log");
    stand.process.log = Log::Cri { path: path.clone() };
    stand.start();
    assert_eq!(stand.exit(), ExitStatus::Code(5));
    let (log, records) = (stand.shim_log(), records(&path));
    let lost = 100_001 - records.len();
    assert!(lost > 0 && log.contains(&format!("{lost} records are missing in the log `{}`", path.display())), "{log}");
    assert_eq!(log.matches("records are dropped").count(), 1, "{log}");
    let expected: Vec<String> = (1..=1_000).map(|number| number.to_string()).collect();
    assert!(lines(&records, "stdout")[..1_000] == expected);
    drop(disk);
}

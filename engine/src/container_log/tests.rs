use std::fmt::Write as _;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::*;

mod cri;

fn record(text: &str, stream: &str, second: u32) -> String {
    let text = serde_json::to_string(text).unwrap();
    format!("{{\"log\":{text},\"stream\":\"{stream}\",\"time\":\"2024-01-02T03:04:{second:02}.000000006Z\"}}\n")
}

fn at(second: i64) -> i64 {
    1_704_164_640_000_000_006 + second * 1_000_000_000
}

fn lines(range: std::ops::Range<u32>) -> String {
    range.fold(String::new(), |mut text, n| {
        write!(text, "{}", record(&format!("{n}\n"), "stdout", n)).unwrap();
        text
    })
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    format!("{}.{number}", path.display()).into()
}

fn json(path: &Path) -> LogFile {
    LogFile { path: path.to_owned(), format: LogFormat::JsonFile }
}

fn log() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("console.log");
    (dir, path)
}

/// The present records, as text, with stderr's in brackets.
fn drain(reader: &mut Reader, window: Window) -> String {
    let mut out = Vec::new();
    let _ = reader
        .read(|record| {
            if !window.has(record) {
                return ControlFlow::Continue(());
            }
            let mut text = Vec::new();
            record.append_text(&mut text);
            match record.stream {
                Stream::Stdout => out.extend(text),
                Stream::Stderr => out.extend([&b"["[..], &text, b"]"].concat()),
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    String::from_utf8(out).unwrap()
}

fn tail(path: &Path, count: u64, window: Window) -> String {
    drain(&mut Reader::tail(&json(path), count, window).unwrap(), window)
}

/// The present end of the file.
fn place(path: &Path) -> LogPlace {
    LogPlace::file(&fs::File::open(path).unwrap()).unwrap()
}

fn numbers(range: std::ops::Range<u32>) -> String {
    range.map(|n| format!("{n}\n")).collect()
}

#[test]
fn tails_reach_over_rotated_files() {
    let (_dir, path) = log();
    fs::write(numbered(&path, 2), lines(0..3)).unwrap();
    fs::write(numbered(&path, 1), lines(3..6)).unwrap();
    fs::write(&path, lines(6..9)).unwrap();
    assert_eq!(drain(&mut Reader::open(&json(&path)).unwrap(), Window::ALL), numbers(0..9));
    for count in 0..=12 {
        let wanted = numbers(9_u32.saturating_sub(count)..9);
        assert_eq!(tail(&path, count.into(), Window::ALL), wanted, "tail {count}");
    }
}

#[test]
fn a_tail_is_of_lines_however_many_records_they_take() {
    let (_dir, path) = log();
    let long = |n| ["x", "y", "z\n"].map(|part| record(&format!("{n}{part}"), "stdout", 1)).concat();
    fs::write(&path, [lines(0..1), long(1), long(2), record("3", "stdout", 9)].concat()).unwrap();
    // The unfinished one is a line, too.
    assert_eq!(tail(&path, 1, Window::ALL), "3");
    assert_eq!(tail(&path, 2, Window::ALL), "2x2y2z\n3");
    assert_eq!(tail(&path, 3, Window::ALL), "1x1y1z\n2x2y2z\n3");
    assert_eq!(tail(&path, 4, Window::ALL), "0\n1x1y1z\n2x2y2z\n3");
    assert_eq!(tail(&path, 9, Window::ALL), "0\n1x1y1z\n2x2y2z\n3");
}

#[test]
fn lines_of_the_other_output_between_are_not_of_it() {
    let (_dir, path) = log();
    let text = [
        record("before\n", "stderr", 0),
        record("a1", "stdout", 1),
        record("old\n", "stderr", 1),
        record("a2\n", "stdout", 1),
        record("b\n", "stderr", 2),
    ];
    // Across a rotation, too.
    fs::write(numbered(&path, 1), text[..3].concat()).unwrap();
    fs::write(&path, text[3..].concat()).unwrap();
    assert_eq!(tail(&path, 1, Window::ALL), "[b\n]");
    assert_eq!(tail(&path, 2, Window::ALL), "a1a2\n[b\n]");
    assert_eq!(tail(&path, 3, Window::ALL), "a1[old\n]a2\n[b\n]");
    assert_eq!(tail(&path, 4, Window::ALL), "[before\n]a1[old\n]a2\n[b\n]");
}

#[test]
fn records_outside_the_window_are_not_counted() {
    let (_dir, path) = log();
    fs::write(&path, lines(0..20)).unwrap();
    let window = |since, until| Window { since: at(since), until: at(until) };
    assert_eq!(tail(&path, 2, window(5, 9)), numbers(8..10));
    assert_eq!(tail(&path, 100, window(5, 9)), numbers(5..10));
    assert_eq!(tail(&path, 3, window(30, 40)), "");
    // A clock that was set back: later lines of an earlier time.
    fs::write(&path, [lines(10..15), lines(0..3)].concat()).unwrap();
    assert_eq!(tail(&path, 2, window(10, 59)), numbers(13..15));
}

#[test]
fn records_after_a_tail_are_followed_in_both_outputs() {
    let (_dir, path) = log();
    fs::write(&path, [lines(0..3), "{\"log\":\"to".to_owned()].concat()).unwrap();
    let mut reader = Reader::tail(&json(&path), 1, Window::ALL).unwrap();
    assert_eq!(drain(&mut reader, Window::ALL), "2\n");
    // The torn record was written anew, by another shim, over its beginning.
    fs::write(&path, [lines(0..3), record("torn\n", "stderr", 5), lines(4..5)].concat()).unwrap();
    assert_eq!(drain(&mut reader, Window::ALL), "[torn\n]4\n");
    let mut none = Reader::tail(&json(&path), 0, Window::ALL).unwrap();
    assert_eq!(drain(&mut none, Window::ALL), "");
    fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .map(|mut file| std::io::Write::write_all(&mut file, lines(7..8).as_bytes()))
        .unwrap()
        .unwrap();
    assert_eq!(drain(&mut none, Window::ALL), "7\n");
}

#[test]
fn a_log_that_grows_and_rotates_is_followed_without_a_gap() {
    let (_dir, path) = log();
    fs::write(&path, lines(0..2)).unwrap();
    let mut reader = Reader::open(&json(&path)).unwrap();
    assert_eq!(drain(&mut reader, Window::ALL), numbers(0..2));
    fs::rename(&path, numbered(&path, 1)).unwrap();
    fs::write(&path, lines(2..5)).unwrap();
    assert_eq!(drain(&mut reader, Window::ALL), numbers(2..5));
    assert_eq!(drain(&mut reader, Window::ALL), "");
    // One file only, replaced; and one that was emptied.
    fs::remove_file(&path).unwrap();
    fs::write(&path, lines(5..7)).unwrap();
    assert_eq!(drain(&mut reader, Window::ALL), numbers(5..7));
    fs::write(&path, lines(7..8)).unwrap();
    assert_eq!(drain(&mut reader, Window::ALL), numbers(7..8));
}

#[test]
fn reading_until_now_ends_where_the_log_ended_then() {
    let (_dir, path) = log();
    fs::write(&path, lines(0..3)).unwrap();
    let mut reader = Reader::tail(&json(&path), 2, Window::ALL).unwrap().until_now().unwrap();
    let mut grown = fs::OpenOptions::new().append(true).open(&path).unwrap();
    std::io::Write::write_all(&mut grown, lines(3..9).as_bytes()).unwrap();
    // Also under another name, and with a file behind it.
    fs::rename(&path, numbered(&path, 1)).unwrap();
    fs::write(&path, lines(9..12)).unwrap();
    assert_eq!(drain(&mut reader, Window::ALL), numbers(1..3));
}

#[test]
fn a_torn_line_waits_and_a_damaged_one_is_passed_over() {
    let (_dir, path) = log();
    let text = lines(0..2);
    fs::write(&path, &text[..text.len() - 9]).unwrap();
    let mut reader = Reader::open(&json(&path)).unwrap();
    assert_eq!(drain(&mut reader, Window::ALL), "0\n");
    let endless = "x".repeat(3 << 20);
    fs::write(&path, format!("{text}garbage\n{endless}\n{}", lines(2..3))).unwrap();
    assert_eq!(drain(&mut reader, Window::ALL), numbers(1..3));
    assert_eq!(tail(&path, 2, Window::ALL), numbers(1..3));
}

#[test]
fn blocks_end_anywhere() {
    let (_dir, path) = log();
    let text = |n: usize| format!("{n}{}\n", "y".repeat(n % 5_000));
    let all: Vec<String> = (0..400).map(text).collect();
    fs::write(&path, all.iter().map(|text| record(text, "stdout", 1)).collect::<String>()).unwrap();
    assert_eq!(drain(&mut Reader::open(&json(&path)).unwrap(), Window::ALL), all.concat());
    for count in [1, 17, 150, 399, 400] {
        assert_eq!(tail(&path, count as u64, Window::ALL), all[all.len() - count..].concat());
    }
}

#[test]
fn an_absent_log_is_empty() {
    let path = Path::new("/no/such/console.log");
    assert_eq!(drain(&mut Reader::open(&json(path)).unwrap(), Window::ALL), "");
    assert_eq!(tail(path, 3, Window::ALL), "");
}

#[test]
fn from_a_place_to_another_each_output_has_its_own() {
    let (_dir, path) = log();
    fs::write(&path, [record("a\n", "stdout", 0), record("b\n", "stderr", 0)].concat()).unwrap();
    let first = place(&path);
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    let mut write = |text: String| std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    write([record("c\n", "stdout", 0), record("d\n", "stderr", 0)].concat());
    let second = place(&path);
    write(record("e\n", "stdout", 0));
    fs::rename(&path, numbered(&path, 1)).unwrap();
    fs::write(&path, lines(0..2)).unwrap();
    let end = place(&path);
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    std::io::Write::write_all(&mut file, lines(2..4).as_bytes()).unwrap();
    let starts = Starts { stdout: Some(first), stderr: Some(second) };
    let mut reader = Reader::between(&json(&path), starts, Some(end)).unwrap().unwrap();
    assert_eq!(drain(&mut reader, Window::ALL), "c\ne\n0\n1\n");
    assert!(reader.is_whole());
    let stderr = Starts { stdout: None, stderr: Some(first) };
    let mut reader = Reader::between(&json(&path), stderr, Some(end)).unwrap().unwrap();
    assert_eq!(drain(&mut reader, Window::ALL), "[d\n]");
    // Rotated away, and a file of the same number that is another's.
    let foreign = LogPlace { created: first.created + 1, ..first };
    assert!(Reader::between(&json(&path), Starts { stdout: Some(foreign), stderr: None }, None).unwrap().is_none());
    fs::remove_file(numbered(&path, 1)).unwrap();
    assert!(Reader::between(&json(&path), starts, Some(end)).unwrap().is_none());
}

#[test]
fn a_file_rotated_away_meanwhile_is_missed() {
    let (_dir, path) = log();
    fs::write(&path, lines(0..1)).unwrap();
    let starts = Starts { stdout: Some(LogPlace { offset: 0, ..place(&path) }), stderr: None };
    let mut reader = Reader::between(&json(&path), starts, None).unwrap().unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, lines(5..6)).unwrap();
    assert_eq!(drain(&mut reader, Window::ALL), "0\n5\n");
    assert!(!reader.is_whole());
}

/// Rotates as a shim does; `following` is the new file.
fn rotate(path: &Path, following: &str) {
    fs::rename(path, numbered(path, 1)).unwrap();
    fs::write(path, following).unwrap();
}

fn append(path: &Path, text: &str) {
    let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
}

#[test]
fn an_output_that_was_silent_is_followed_behind_a_rotation() {
    let (_dir, path) = log();
    fs::write(&path, lines(0..3)).unwrap();
    let mut reader = Reader::tail(&json(&path), 2, Window::ALL).unwrap();
    let mut none = Reader::tail(&json(&path), 0, Window::ALL).unwrap();
    assert_eq!(drain(&mut reader, Window::ALL), numbers(1..3));
    append(&path, &lines(3..4));
    rotate(&path, &[lines(4..5), record("late\n", "stderr", 5)].concat());
    assert_eq!(drain(&mut reader, Window::ALL), "3\n4\n[late\n]");
    assert_eq!(drain(&mut none, Window::ALL), "3\n4\n[late\n]");
    append(&path, &record("later\n", "stderr", 6));
    assert_eq!(drain(&mut reader, Window::ALL), "[later\n]");
}

#[test]
fn an_output_that_was_silent_is_followed_in_a_file_that_was_emptied() {
    let (_dir, path) = log();
    fs::write(&path, lines(0..3)).unwrap();
    let mut reader = Reader::tail(&json(&path), 1, Window::ALL).unwrap();
    assert_eq!(drain(&mut reader, Window::ALL), numbers(2..3));
    // Copied and emptied, in place.
    fs::write(&path, "").unwrap();
    assert_eq!(drain(&mut reader, Window::ALL), "");
    append(&path, &[record("new\n", "stderr", 4), lines(5..6)].concat());
    assert_eq!(drain(&mut reader, Window::ALL), "[new\n]5\n");
}

#[test]
fn an_output_begins_although_the_file_of_its_start_is_gone() {
    let (_dir, path) = log();
    fs::write(&path, lines(0..2)).unwrap();
    let stdout = LogPlace { offset: 0, ..place(&path) };
    rotate(&path, &record("old\n", "stderr", 2));
    let starts = Starts { stdout: Some(stdout), stderr: Some(place(&path)) };
    let mut reader = Reader::between(&json(&path), starts, None).unwrap().unwrap();
    fs::rename(&path, numbered(&path, 2)).unwrap();
    // The open file keeps its inode from being reused.
    let _old = fs::File::open(numbered(&path, 2)).unwrap();
    fs::remove_file(numbered(&path, 2)).unwrap();
    fs::remove_file(numbered(&path, 1)).unwrap();
    fs::write(&path, [record("new\n", "stderr", 4), lines(5..6)].concat()).unwrap();
    assert_eq!(drain(&mut reader, Window::ALL), "0\n1\n[new\n]5\n");
    assert!(!reader.is_whole());
}

#[test]
fn between_two_places_an_output_that_was_silent_is_read_behind_a_rotation() {
    let (_dir, path) = log();
    fs::write(&path, record("told\n", "stderr", 0)).unwrap();
    let delivered = place(&path);
    append(&path, &lines(0..2));
    // One output at the very end of the file that is left, too.
    for stdout in [delivered, place(&path)] {
        let starts = Starts { stdout: Some(stdout), stderr: Some(delivered) };
        let (_dir, copy) = log();
        fs::hard_link(&path, &copy).unwrap();
        rotate(&copy, &[record("missed\n", "stderr", 3), lines(4..5)].concat());
        let end = place(&copy);
        append(&copy, &lines(5..6));
        let mut reader = Reader::between(&json(&copy), starts, Some(end)).unwrap().unwrap();
        let before = if stdout == delivered { "0\n1\n" } else { "" };
        assert_eq!(drain(&mut reader, Window::ALL), format!("{before}[missed\n]4\n"));
        assert!(reader.is_whole());
    }
}

#[test]
fn an_end_in_a_file_that_was_emptied_is_not_reached() {
    let (_dir, path) = log();
    fs::write(&path, lines(0..1)).unwrap();
    let start = place(&path);
    append(&path, &lines(1..3));
    let starts = Starts { stdout: Some(start), stderr: None };
    let mut reader = Reader::between(&json(&path), starts, Some(place(&path))).unwrap().unwrap();
    fs::write(&path, "").unwrap();
    assert_eq!(drain(&mut reader, Window::ALL), "");
    assert!(!reader.is_whole());
}

use super::*;

fn open(path: PathBuf, max_size: u64, max_files: u32) -> Log {
    let mut log = Log::new(&isulad_shim::process::Log::JsonFile { path, max_size, max_files }, false);
    log.open();
    log
}

fn texts(path: &std::path::Path) -> Vec<String> {
    let value = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
    fs::read_to_string(path).unwrap().lines().map(|line| value(line)["log"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn whole_lines_are_written_and_the_rest_waits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("console.log");
    let mut log = open(path.clone(), 0, 0);
    assert_eq!(log.write(Stream::Stdout, b"a\nb\xffc\n\"d", LINE_LIMIT), 6);
    assert_eq!(texts(&path), ["a\n", "b\u{fffd}c\n"]);
    log.write_rest(Stream::Stderr, b"\"d");
    assert_eq!(texts(&path)[2], "\"d");
    let last = fs::read_to_string(&path).unwrap().lines().last().unwrap().to_owned();
    assert!(last.starts_with("{\"log\":\"\\\"d\",\"stream\":\"stderr\",\"time\":\"20") && last.ends_with("Z\"}"));
}

#[test]
fn a_long_line_is_split_between_characters() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("console.log");
    let mut log = open(path.clone(), 0, 0);
    let line = "x".repeat(LINE_LIMIT - 1) + "é" + &"y".repeat(10) + "\n";
    assert_eq!(log.write(Stream::Stdout, line.as_bytes(), LINE_LIMIT), line.len());
    let texts = texts(&path);
    assert_eq!((texts.len(), texts[0].len()), (2, LINE_LIMIT - 1));
    assert_eq!(texts.concat(), line);
}

#[test]
fn a_full_file_is_rotated_and_the_oldest_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("console.log");
    let mut log = open(path.clone(), 300, 3);
    for number in 0..40 {
        log.write(Stream::Stdout, format!("line {number}\n").as_bytes(), LINE_LIMIT);
    }
    let mut kept = Vec::new();
    for name in ["console.log.2", "console.log.1", "console.log"] {
        let file = dir.path().join(name);
        assert!(fs::metadata(&file).unwrap().len() <= 300);
        kept.extend(texts(&file));
    }
    let newest: Vec<_> = (40 - kept.len()..40).map(|number| format!("line {number}\n")).collect();
    assert_eq!(kept, newest);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
}

#[test]
fn a_single_file_is_replaced_when_full() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("console.log");
    let mut log = open(path.clone(), 150, 1);
    log.write(Stream::Stdout, b"1\n2\n3\n4\n", LINE_LIMIT);
    assert_eq!(texts(&path), ["3\n", "4\n"]);
}

#[test]
fn a_torn_record_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("console.log");
    open(path.clone(), 0, 0).write(Stream::Stdout, b"a\n", LINE_LIMIT);
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        fs::write(&path, [&whole[..], &whole[..length]].concat()).unwrap();
        open(path.clone(), 0, 0).write(Stream::Stdout, b"b\n", LINE_LIMIT);
        assert_eq!(texts(&path), ["a\n", "b\n"], "cut at {length}");
    }
}

#[test]
fn a_full_disk_drops_records_and_nothing_else() {
    let mut log = open("/dev/full".into(), 0, 0);
    assert_eq!(log.write(Stream::Stdout, b"a\nb\n", LINE_LIMIT), 4);
    assert_eq!(log.target.as_ref().unwrap().dropped, 2);
}

/// Prints the speed of both forms: lines of 80 bytes, a full pipe at a time.
#[test]
fn records_of_the_cri_form_take_no_longer_than_those_of_json() {
    use isulad_shim::process::Log as Described;
    const ROUNDS: usize = 5;
    let dir = tempfile::tempdir().unwrap();
    let line = format!("{}\n", "word ".repeat(16).trim_end());
    let chunk = line.repeat(64 * 1024 / line.len());
    let lines_per_second = |described: &Described| {
        let mut log = Log::new(described, false);
        log.open();
        let begin = std::time::Instant::now();
        for _ in 0..64 {
            assert_eq!(log.write(Stream::Stdout, chunk.as_bytes(), LINE_LIMIT), chunk.len());
        }
        (64 * chunk.len() / line.len()) as f64 / begin.elapsed().as_secs_f64()
    };
    let json = Described::JsonFile { path: dir.path().join("console.log"), max_size: 0, max_files: 1 };
    let cri = Described::Cri { path: dir.path().join("0.log") };
    // By turns, and the best of each: other programs take time from both.
    let rounds: Vec<[f64; 2]> = (0..ROUNDS).map(|_| [&json, &cri].map(lines_per_second)).collect();
    let best = |index: usize| rounds.iter().map(|round| round[index]).fold(0.0, f64::max);
    let (json, cri) = (best(0), best(1));
    println!("json-file {json:.0} lines/s, cri {cri:.0} lines/s");
    assert!(cri >= json, "json-file {json:.0} lines/s, cri {cri:.0} lines/s");
}

//! Habits that can be counted. The limits are those of today: a change may better them, and then tightens the number
//! here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The modules of the engine, from the bottom up: each names only modules of the layers before its own.
const LAYERS: [&[&str]; 13] = [
    &["config", "container_log", "journal", "layout", "memory", "rootfs", "runtime", "session", "shim_process"],
    &["definition", "ledger"],
    &["spec"],
    &["moves", "node"],
    &["records"],
    &["exec", "image", "oom", "usage", "volume"],
    &["files", "health"],
    &["supervisor"],
    &["effects"],
    // The composition root.
    &["engine"],
    &["containers", "recovery"],
    &["api"],
    &["server"],
];
/// Percent of comment lines that avoid a subject: *what*, *who*, *nobody*, *told* …
const RIDDLES: f64 = 1.0;
/// Lines of a source file, of 95 in 100.
const LINES: usize = 335;

const MEMBERS: [&str; 7] = ["engine", "shim", "cri-api", "store", "cli", "migrations", "integration"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a member lies in the workspace").to_owned()
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn all_sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    MEMBERS.iter().for_each(|member| sources(&root().join(member), &mut found));
    assert!(found.len() > 300, "the sources have moved");
    found
}

/// The names of an enum's variants, in order: lines with one level of indentation that begin with a capital.
fn variants(text: &str, name: &str) -> Vec<String> {
    let begin = text.find(&format!("pub enum {name} {{")).unwrap_or_else(|| panic!("there is no enum {name}"));
    let body = &text[begin..];
    let end = body.find("\n}").expect("an enum ends");
    let variant = |line: &str| {
        let word = line.strip_prefix("    ").filter(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))?;
        Some(word.chars().take_while(|c| c.is_ascii_alphanumeric()).collect())
    };
    body[..end].lines().filter_map(variant).collect()
}

/// The words of the first list in backticks after `marker`.
fn listed(text: &str, marker: &str) -> Vec<String> {
    let (_, after) = text.split_once(marker).unwrap_or_else(|| panic!("`{marker}` is not in the text"));
    let list = after.split('`').nth(1).expect("a list in backticks");
    list.split(',').map(|word| word.split_whitespace().collect()).collect()
}

#[test]
fn the_architecture_lists_all_phases_and_events() {
    let text = read(root().join("docs/architecture.md"));
    let domain = root().join("engine/domain/src/container");
    assert_eq!(listed(&text, "the phases are"), variants(&read(domain.join("mod.rs")), "Phase"));
    let mut events = listed(&text, "The events (`event.rs`):");
    let mut known = variants(&read(domain.join("event.rs")), "Event");
    events.sort();
    known.sort();
    assert_eq!(events, known);
}

#[test]
fn comments_have_subjects() {
    let riddles =
        ["what", "who", "whom", "whoever", "whose", "nobody", "told", "tell", "tells", "said", "say", "says", "heard"];
    let (mut lines, mut found) = (0_u32, 0_u32);
    for path in all_sources() {
        for line in read(&path).lines().filter_map(|line| line.trim_start().strip_prefix("//")) {
            let words = line.trim_start_matches(['/', '!']).to_lowercase();
            if words.trim().is_empty() {
                continue;
            }
            lines += 1;
            let mut words = words.split(|c: char| !c.is_alphanumeric() && c != '_');
            found += u32::from(words.any(|word| riddles.contains(&word)));
        }
    }
    let percent = f64::from(found) * 100.0 / f64::from(lines);
    assert!(percent <= RIDDLES, "{found} of {lines} lines of comments, {percent:.1} %: see docs/glossary.md");
}

#[test]
fn files_stay_small() {
    let mut lengths: Vec<usize> = all_sources().iter().map(|path| read(path).lines().count()).collect();
    lengths.sort_unstable();
    let p95 = lengths[lengths.len() * 95 / 100];
    assert!(p95 <= LINES, "95 of 100 files have up to {p95} lines");
}

/// The modules of the engine, and which others each names outside of its tests.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let base = root().join("engine/src");
    let mut files = Vec::new();
    sources(&base, &mut files);
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files {
        let inner = file.strip_prefix(&base).expect("it lies there").to_string_lossy().into_owned();
        if inner.contains("tests") || inner == "lib.rs" || inner == "main.rs" {
            continue;
        }
        let module = inner.split('/').next().unwrap_or_default().trim_end_matches(".rs").to_owned();
        let text = read(&file);
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let code: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        // Each name is read from the line that has it.
        let hidden = code.iter().find(|line| line.contains("crate::{") || line.contains("super::super::super"));
        assert_eq!(hidden, None, "{inner} hides the modules that it names");
        let named = code.iter().flat_map(|line| line.split("crate::").skip(1));
        let names = named.map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>());
        let others = names.filter(|name| *name != module && !name.is_empty());
        graph.entry(module.clone()).or_default().extend(others);
    }
    graph
}

#[test]
fn modules_name_only_lower_layers() {
    let graph = imports();
    let layer = |module: &str| LAYERS.iter().position(|layer| layer.contains(&module));
    for (module, named) in &graph {
        let own = layer(module).unwrap_or_else(|| panic!("module `{module}` has no layer"));
        // Names without a layer are of the crates below the engine.
        let up: Vec<&String> = named.iter().filter(|other| layer(other).is_some_and(|other| other >= own)).collect();
        assert!(up.is_empty(), "`{module}` names {up:?}");
    }
    let listed: BTreeSet<&str> = LAYERS.iter().copied().flatten().copied().collect();
    let gone: Vec<&&str> = listed.iter().filter(|module| !graph.contains_key(**module)).collect();
    assert!(gone.is_empty(), "{gone:?} are no modules of the engine");
    let allowed = ["cause", "clock", "domain", "journal", "panics", "warnings"];
    let found: Vec<&String> = graph["ledger"].iter().filter(|name| !allowed.contains(&name.as_str())).collect();
    assert!(found.is_empty(), "`ledger` names {found:?}");
}

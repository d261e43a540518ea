//! The arrows of the architecture, read from the manifests and the sources.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The allowed dependencies within the workspace.
const ARROWS: [(&str, &[&str]); 11] = [
    (
        "engine",
        &[
            "cri-api",
            "engine-domain",
            "engine-host",
            "engine-images",
            "engine-networks",
            "isulad-shim",
            "migrations",
            "store",
        ],
    ),
    ("engine-domain", &[]),
    ("engine-host", &["engine-domain", "isulad-shim"]),
    ("engine-images", &["engine-domain", "engine-host"]),
    ("engine-networks", &["engine-domain", "engine-host", "isulad-shim"]),
    ("isulad-shim", &[]),
    ("cri-api", &[]),
    ("store", &[]),
    ("cli", &["cri-api"]),
    ("migrations", &["store"]),
    ("integration", &["cri-api"]),
];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a member lies in the workspace").to_owned()
}

/// The names of a manifest's `[section]`s and the keys in each.
fn manifest(path: &Path) -> BTreeMap<String, Vec<(String, String)>> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut sections: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let mut section = String::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
        } else if let Some((key, value)) = line.split_once('=') {
            let key = key.trim().split('.').next().unwrap_or_default().trim_matches('"').to_owned();
            sections.entry(section.clone()).or_default().push((key, value.trim().to_owned()));
        }
    }
    sections
}

fn members() -> Vec<(String, PathBuf)> {
    let root = manifest(&workspace().join("Cargo.toml"));
    let list = &root["workspace"].iter().find(|(key, _)| key == "members").expect("the workspace has members").1;
    let names = list.split('"').skip(1).step_by(2);
    names
        .map(|directory| {
            let path = workspace().join(directory);
            let package = manifest(&path.join("Cargo.toml"));
            let name = package["package"].iter().find(|(key, _)| key == "name").expect("a package has a name");
            (name.1.trim_matches('"').to_owned(), path)
        })
        .collect()
}

#[test]
fn dependencies_point_one_way() {
    let members = members();
    let names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    for (name, path) in &members {
        let allowed = ARROWS.iter().find(|(member, _)| member == name);
        let (_, allowed) = allowed.unwrap_or_else(|| panic!("member `{name}` has no place in the architecture"));
        for (section, keys) in manifest(&path.join("Cargo.toml")) {
            if !section.ends_with("dependencies") {
                continue;
            }
            for (key, _) in keys.iter().filter(|(key, _)| names.contains(&key.as_str())) {
                assert!(allowed.contains(&key.as_str()), "`{name}` must not depend on `{key}` ([{section}])");
            }
        }
    }
    assert_eq!(members.len(), ARROWS.len(), "a member is gone: {names:?}");
}

#[test]
fn versions_are_named_in_one_place() {
    for (name, path) in members() {
        for (section, keys) in manifest(&path.join("Cargo.toml")) {
            for (key, value) in keys.iter().filter(|_| section.ends_with("dependencies")) {
                let shared = value.contains("workspace = true") || value == "true";
                assert!(shared, "`{name}` names a version of `{key}` itself");
            }
        }
    }
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            // The fuzzer's build directory has foreign sources.
            if !path.ends_with("fuzz/target") {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn code_lines(path: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(path).expect("a source can be read");
    let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line.trim().to_owned()));
    lines.filter(|(_, line)| !line.starts_with("//")).collect()
}

#[test]
fn unsafe_lives_in_sys_modules() {
    let word = format!("un{}", "safe ");
    // Programs without a library, and nothing but system calls.
    let programs = ["engine/pause", "engine/init"].map(|program| workspace().join(program));
    for (_, path) in members() {
        let mut files = Vec::new();
        sources(&path, &mut files);
        files.retain(|file| !programs.iter().any(|program| file.starts_with(program)));
        for file in files.iter().filter(|file| !file.components().any(|part| part.as_os_str() == "sys")) {
            let inner = file.file_name().is_some_and(|name| name == "sys.rs");
            let found = code_lines(file).into_iter().find(|(_, line)| line.contains(&word) && !inner);
            assert_eq!(found, None, "in {}: move it into a `sys` module", file.display());
        }
    }
}

#[test]
fn the_domain_knows_only_itself() {
    let mut files = Vec::new();
    sources(&workspace().join("engine/domain/src"), &mut files);
    files.retain(|file| !file.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "testing"));
    assert!(files.len() > 5, "the domain has moved: {files:?}");
    for file in files {
        for (number, line) in code_lines(&file) {
            let place = format!("{}:{number}: {line}", file.display());
            if let Some(path) = line.trim_start_matches("pub ").strip_prefix("use ") {
                let first = path.split("::").next().unwrap_or_default().trim_end_matches(';');
                let allowed = matches!(first, "std" | "super" | "self")
                    || path.starts_with("crate::")
                    // The modules of the file itself are allowed.
                    || file.with_extension("").join(format!("{first}.rs")).exists()
                    || file.with_file_name(format!("{first}.rs")).exists()
                    || file.with_file_name(first).is_dir();
                assert!(allowed, "{place}");
            }
            for foreign in
                ["std::fs", "std::net", "std::time", "std::thread", "std::process", "tokio", "tonic", "serde"]
            {
                let named = line.contains(&format!("{foreign}::"));
                assert!(!named, "{place}");
            }
        }
    }
}

/// The files below `engine/src` with a line of code, outside of the given places, that names one of the words.
fn naming(words: &[&str], dir: &str, places: &[&str]) -> Vec<String> {
    let base = workspace().join("engine/src");
    let mut files = Vec::new();
    sources(&base.join(dir), &mut files);
    assert!(!files.is_empty(), "`{dir}` has moved");
    files.retain(|file| !places.iter().any(|place| file.starts_with(base.join(place))));
    let lines = files.iter().flat_map(|file| {
        let lines = code_lines(file).into_iter();
        lines.map(move |(number, line)| (line.clone(), format!("{}:{number}: {line}", file.display())))
    });
    lines.filter(|(line, _)| words.iter().any(|word| line.contains(word))).map(|(_, place)| place).collect()
}

#[test]
fn wire_types_stop_in_the_api() {
    let found = naming(&["cri_api::", "crate::api"], "", &["api", "server.rs"]);
    assert_eq!(found, Vec::<String>::new());
    let found = naming(&["cri_api", "tonic", "crate::api"], "containers", &[]);
    assert_eq!(found, Vec::<String>::new(), "the verbs know no API");
}

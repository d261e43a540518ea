use std::fs;
use std::os::unix::fs::symlink;

use super::*;
use crate::rootfs::open_root;

struct Tree {
    _outside: tempfile::TempDir,
    root: PathBuf,
}

/// `etc/passwd`, `etc/dir/`, and links out of the tree, beside which there is an `outside` file.
fn tree() -> Tree {
    let outside = tempfile::tempdir().unwrap();
    let root = outside.path().join("root");
    fs::create_dir_all(root.join("etc/dir")).unwrap();
    fs::write(outside.path().join("outside"), "out").unwrap();
    fs::write(root.join("etc/passwd"), "in").unwrap();
    for (name, target) in [
        ("abs", "/etc/passwd"),
        ("up", "../../../../outside"),
        ("updir", "../.."),
        ("dir", "etc/dir"),
        ("loop", "loop"),
        ("slash", "etc/dir/"),
        ("dangling", "/etc/new"),
    ] {
        symlink(target, root.join(name)).unwrap();
    }
    Tree { root, _outside: outside }
}

fn view(tree: &Tree) -> View {
    View::new(open_root(&tree.root).unwrap(), false)
}

/// Where it leads, as a word: `dir:`, `file:`, `link:` or `none:` and the path in the container.
fn led(view: &View, path: &str, follow: bool) -> Result<String, String> {
    let found = view.find(OsStr::new(path), follow).map_err(|error| error.to_string())?;
    Ok(match found {
        Found::Directory { above } => format!("dir:{}", last(&above).path.display()),
        Found::Other(node) if node.kind() == FileType::Symlink => format!("link:{}", node.path.display()),
        Found::Other(node) => format!("file:{}", node.path.display()),
        Found::Missing { above, name } => format!("none:{}", last(&above).path.join(name).display()),
    })
}

#[test]
fn many_mounts_are_laid_in_linear_time() {
    let growth = crate::latest::cost::growth(8_000, |count| {
        let dir = tempfile::tempdir().unwrap();
        let mut view = View::new(crate::rootfs::open_root(dir.path()).unwrap(), false);
        for n in 0..count {
            view.lay_memory(Path::new(&format!("/{n}"))).unwrap();
        }
        assert!(matches!(view.find(OsStr::new("/7"), true), Err(FilesError::InMemory { .. })));
    });
    assert!(growth < 10.0, "{growth}");
}

#[test]
fn every_path_leads_to_somewhere_inside() {
    let tree = tree();
    let view = view(&tree);
    for (path, follow, expected) in [
        ("/", false, "dir:/"),
        ("", false, "dir:/"),
        ("/../../..", false, "dir:/"),
        ("/etc/../etc/./passwd", false, "file:/etc/passwd"),
        ("/abs", true, "file:/etc/passwd"),
        ("/abs", false, "link:/abs"),
        ("/up", true, "none:/outside"),
        ("/updir/etc", true, "dir:/etc"),
        ("/dir", false, "link:/dir"),
        ("/dir/", false, "dir:/etc/dir"),
        ("/dir/.", false, "dir:/etc/dir"),
        ("/dir/..", false, "dir:/etc"),
        ("/slash", true, "dir:/etc/dir"),
        ("/dangling", true, "none:/etc/new"),
        ("/etc/nothing", false, "none:/etc/nothing"),
    ] {
        assert_eq!(led(&view, path, follow).as_deref(), Ok(expected), "{path}");
    }
    for (path, why) in [
        ("/etc/passwd/", "is not a directory"),
        ("/etc/passwd/x", "is not a directory"),
        ("/nothing/x", "no such file or directory: `/nothing`"),
        ("/loop", "too many links"),
        ("/loop/x", "too many links"),
    ] {
        let refusal = led(&view, path, true).unwrap_err();
        assert!(refusal.contains(why), "{path}: {refusal}");
    }
}

#[test]
fn mounts_of_a_container_that_does_not_run_are_found_where_they_will_be() {
    let tree = tree();
    let sources = tempfile::tempdir().unwrap();
    let source = sources.path().join("source");
    fs::create_dir_all(source.join("deep")).unwrap();
    fs::write(source.join("file"), "").unwrap();
    symlink("/etc/passwd", source.join("out")).unwrap();
    symlink("../../etc", source.join("up")).unwrap();
    let mut view = view(&tree);
    view.lay(Path::new("/dir"), &source, false).unwrap();
    view.lay(Path::new("/etc/passwd"), &source.join("file"), true).unwrap();
    view.lay_memory(Path::new("/memory")).unwrap();
    view.lay(Path::new("/etc/gone"), Path::new("/no/such/source"), false).unwrap();
    for (path, expected) in [
        ("/etc/dir/deep", "dir:/etc/dir/deep"),
        ("/dir/deep/../file", "file:/etc/dir/file"),
        // Links in a mount are the container's, too.
        ("/dir/out", "file:/etc/passwd"),
        ("/dir/up", "dir:/etc"),
        ("/dir/../passwd", "file:/etc/passwd"),
    ] {
        assert_eq!(led(&view, path, true).as_deref(), Ok(expected), "{path}");
    }
    assert!(led(&view, "/memory/x", true).unwrap_err().contains("only while the container runs"));
    assert!(led(&view, "/etc/gone", true).unwrap_err().contains("whose source cannot be opened"));
    let Found::Other(node) = view.find(OsStr::new("/etc/passwd"), false).unwrap() else { panic!() };
    assert!(node.mounted && node.read_only);
    // A later mount lies over those beneath it.
    view.lay(Path::new("/etc"), &source, false).unwrap();
    assert_eq!(led(&view, "/etc/dir", true).as_deref(), Ok("none:/etc/dir"));
}

#[test]
fn missing_directories_are_made_inside() {
    let tree = tree();
    let view = view(&tree);
    let mut made = Vec::new();
    let make = |path: &str, made: &mut Vec<PathBuf>| {
        view.make_dirs(vec![view.root()], OsStr::new(path), &mut |path| made.push(path.to_path_buf()))
            .map(|above| last(&above).path.clone())
    };
    assert_eq!(make("updir/updir/a/b", &mut made).unwrap(), Path::new("/a/b"));
    assert_eq!(made, [Path::new("/a"), Path::new("/a/b")]);
    assert_eq!(
        make("dangling/c", &mut made).unwrap(),
        Path::new("/etc/new/c"),
        "a link to nothing is where it is made"
    );
    assert!(tree.root.join("etc/new/c").is_dir());
    assert!(make("etc/passwd/x", &mut made).unwrap_err().to_string().contains("is not a directory"));
    let read_only = View::new(open_root(&tree.root).unwrap(), true);
    let refused = read_only.make_dirs(vec![read_only.root()], OsStr::new("new"), &mut |_| {});
    assert!(matches!(refused, Err(FilesError::ReadOnly { .. })));
}

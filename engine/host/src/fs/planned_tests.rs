//! Roots with links and mounts of every kind; the mounts are only planned.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;
use crate::cause::chain;

/// `root` beside `host`, where mounts come from, and `outside`, which nothing may reach.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["root/etc", "root/run/app", "host/etc", "outside"] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("root/etc/passwd"), "root").unwrap();
        fs::write(dir.path().join("host/etc/passwd"), "host").unwrap();
        fs::write(dir.path().join("outside/passwd"), "outside").unwrap();
        Self(dir)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn link(self, target: &str, name: &str) -> Self {
        symlink(target, self.at("root").join(name)).unwrap();
        self
    }

    fn planned(&self, mounts: &[(&str, Option<&str>)]) -> PlannedRoot {
        let mut planned = PlannedRoot::open(&self.at("root")).unwrap();
        for (place, source) in mounts {
            let content = source.map_or(Content::Fresh, |source| Content::Host(self.at(source)));
            planned.mount(PathBuf::from(place), content);
        }
        planned
    }
}

fn text(located: &Located) -> Option<String> {
    let file = located.found.as_ref().filter(|found| found.kind == FileType::RegularFile)?;
    Some(io::read_to_string(fs::File::from(file.reopen().unwrap())).unwrap())
}

/// Where it leads, whether in a mount, and the text of the file there.
fn seen(planned: &PlannedRoot, path: &str) -> (String, bool, Option<String>) {
    let located = planned.locate(Path::new(path)).unwrap();
    (located.path.display().to_string(), located.mounted, text(&located))
}

fn expected(path: &str, mounted: bool, text: Option<&str>) -> (String, bool, Option<String>) {
    (path.to_owned(), mounted, text.map(str::to_owned))
}

#[test]
fn a_mount_is_seen_instead_of_the_covered_directory() {
    let machine = Machine::new();
    assert_eq!(seen(&machine.planned(&[]), "/etc/passwd"), expected("/etc/passwd", false, Some("root")));
    for (mounts, text) in [
        (&[("/etc/passwd", Some("host/etc/passwd"))][..], Some("host")),
        (&[("/etc", Some("host/etc"))], Some("host")),
        (&[("/etc", None)], None),
        (&[("/etc", None), ("/etc/passwd", Some("host/etc/passwd"))], Some("host")),
        (&[("/etc", Some("host/etc")), ("/etc/passwd", Some("outside/passwd"))], Some("outside")),
        (&[("/etc", Some("host/none"))], None),
    ] {
        let planned = machine.planned(mounts);
        assert_eq!(seen(&planned, "/etc/passwd"), expected("/etc/passwd", true, text), "{mounts:?}");
        assert_eq!(seen(&planned, "/etc/none/below"), expected("/etc/none/below", mounts[0].0 == "/etc", None));
        assert_eq!(seen(&planned, "/run/app"), expected("/run/app", false, None));
    }
    let planned = machine.planned(&[("/etc/passwd", Some("outside/passwd"))]);
    let covered = planned.locate_covered(Path::new("/etc/passwd")).unwrap();
    assert_eq!((text(&covered).as_deref(), covered.mounted), (Some("root"), false));
}

#[test]
fn links_lead_through_the_mounts_and_never_out() {
    let outside = Machine::new().at("outside").display().to_string();
    let machine = Machine::new()
        .link("run", "var-run")
        .link("/etc/passwd", "users")
        .link("../../../../etc", "up")
        .link(&outside, "out")
        .link("app/../../etc/passwd", "run/winding");
    let bare = machine.planned(&[]);
    assert_eq!(seen(&bare, "/var-run/app/x"), expected("/run/app/x", false, None));
    assert_eq!(seen(&bare, "/users"), expected("/etc/passwd", false, Some("root")));
    assert_eq!(seen(&bare, "/up/passwd"), expected("/etc/passwd", false, Some("root")));
    assert_eq!(seen(&bare, "/../../etc/passwd"), expected("/etc/passwd", false, Some("root")));
    assert_eq!(seen(&bare, "/out/passwd"), expected(&format!("{outside}/passwd"), false, None));
    assert_eq!(seen(&bare, "/run/winding"), expected("/etc/passwd", false, Some("root")));
    let planned = machine.planned(&[("/etc", Some("host/etc")), ("/run", None)]);
    for path in ["/users", "/up/passwd"] {
        assert_eq!(seen(&planned, path), expected("/etc/passwd", true, Some("host")), "{path}");
    }
    assert_eq!(seen(&planned, "/var-run/winding"), expected("/run/winding", true, None), "the link is covered");

    // In a mount too: its links are taken with the container's root as `/`.
    fs::create_dir(machine.at("host/links")).unwrap();
    symlink("/etc/passwd", machine.at("host/links/users")).unwrap();
    symlink("../etc/passwd", machine.at("host/links/climbing")).unwrap();
    let planned = machine.planned(&[("/run", Some("host/links"))]);
    for path in ["/run/users", "/run/climbing"] {
        assert_eq!(seen(&planned, path), expected("/etc/passwd", false, Some("root")), "{path}");
    }
}

#[test]
fn links_that_lead_nowhere_are_named() {
    let machine = Machine::new().link("loop", "loop").link("run", "var-run");
    let planned = machine.planned(&[]);
    let refused = |path: &str| chain(&planned.locate(Path::new(path)).unwrap_err());
    assert_eq!(refused("/loop/x"), "`/loop/x` leads through more than 40 links");
    assert_eq!(refused("/etc/passwd/x"), "`/etc/passwd` is not a directory");
    assert_eq!(refused(&"/x".repeat(300)), format!("`{}` is deeper than 256 directories", "/x".repeat(300)));
    let plain = |path: &str| planned.locate_plain(Path::new(path)).map_err(|error| chain(&error));
    assert_eq!(plain("/var-run/app").unwrap_err(), "`/var-run` is a link");
    assert_eq!(plain("/run/app").unwrap().found.unwrap().kind, FileType::Directory);
    assert!(plain("/none/below").unwrap().found.is_none());
    assert_eq!(planned.locate(Path::new("/")).unwrap().path, Path::new("/"));
}

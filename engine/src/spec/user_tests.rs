//! Lookups in files as found in the wild, and in files made to mislead.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;

const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/sh
nina:x:1007:1008:Nina:/home/nina:/bin/sh
otto:x:1009:1010::
77:x:1011:1012::/home/digits:
twin:x:1013:1:first:/first:
twin:x:1014:2:second:/second:
";

const GROUP: &str = "\
root:x:0:
nina:x:1008:nina
friends:x:1100:otto,nina
again:x:1100:nina
wheel:x:10:root,nina
88:x:1200:
";

fn identity(uid: u32, gid: u32, groups: &[u32], home: &str) -> Identity {
    let groups = [&[gid], groups].concat();
    Identity { uid, gid, groups, home: home.to_owned() }
}

#[test]
fn names_and_ids_in_every_mix() {
    let cases = [
        ("", identity(0, 0, &[10], "/root")),
        ("root", identity(0, 0, &[10], "/root")),
        ("0", identity(0, 0, &[10], "/root")),
        (":", identity(0, 0, &[10], "/root")),
        ("nina", identity(1007, 1008, &[1100, 10], "/home/nina")),
        ("1007", identity(1007, 1008, &[1100, 10], "/home/nina")),
        ("nina:", identity(1007, 1008, &[1100, 10], "/home/nina")),
        ("nina:friends", identity(1007, 1100, &[], "/home/nina")),
        ("nina:5", identity(1007, 5, &[], "/home/nina")),
        ("1007:friends", identity(1007, 1100, &[], "/home/nina")),
        ("4242:2424", identity(4242, 2424, &[], "/")),
        ("4242", identity(4242, 0, &[], "/")),
        (":friends", identity(0, 1100, &[], "/root")),
        ("otto", identity(1009, 1010, &[1100], "/")),
        // A number is an id also where a name looks like it.
        ("77", identity(77, 0, &[], "/")),
        ("nina:88", identity(1007, 88, &[], "/home/nina")),
        ("twin", identity(1013, 1, &[], "/first")),
        ("2147483647", identity(2_147_483_647, 0, &[], "/")),
    ];
    for (user, expected) in cases {
        assert_eq!(resolve(user, PASSWD, GROUP).unwrap(), expected, "{user:?}");
    }
}

#[test]
fn missing_users_and_groups_are_named() {
    for (user, expected) in [
        ("ghost", "no user `ghost`"),
        ("nina:ghosts", "no group `ghosts`"),
        ("-1", "no user `-1`"),
        ("1.5", "no user `1.5`"),
        ("2147483648", "id 2147483648 is out of range"),
        ("99999999999999999999", "is out of range"),
        ("0:4294967295", "id 4294967295 is out of range"),
    ] {
        let text = resolve(user, PASSWD, GROUP).unwrap_err().to_string();
        assert!(text.contains(expected), "{user:?}: {text}");
    }
}

#[test]
fn malformed_lines_are_skipped() {
    let passwd = "\n#nina:x:1:1::/wrong:\nnina\nnina:x\nnina:x:one:1::/wrong:\nnina:x:1:-1::/wrong:\n:x:5:5::/wrong:\n\
                  nina:x:99999999999:1::/wrong:\n  nina:x:1007:1008:Nina:/right:/bin/sh:more:fields  \nnina:x:1:1::/late:\n";
    let group = "::::\nfriends\nfriends:x\nfriends:x:many:\nfriends:x:1100\n\u{fffd}:x:7:nina,\n+:::\nempty:x:8:,,\n";
    assert_eq!(resolve("nina", passwd, group).unwrap(), identity(1007, 1008, &[7], "/right"));
    assert_eq!(resolve("nina:friends", passwd, group).unwrap().gid, 1100);
    assert!(resolve("", passwd, group).is_ok());
    for nobody in ["+", "#nina"] {
        assert!(resolve(nobody, passwd, group).is_err(), "{nobody}");
    }
}

struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("root")
    }

    fn with_etc(self) -> Self {
        fs::create_dir_all(self.path().join("etc")).unwrap();
        self
    }

    fn lookup(&self, user: &str, group_add: &[&str]) -> Result<Identity, String> {
        let mut process = super::super::tests::definition().process;
        process.user = user.to_owned();
        process.group_add = group_add.iter().map(|name| (*name).to_owned()).collect();
        let root = PlannedRoot::open(&self.path()).map_err(|error| error.to_string())?;
        lookup(&root, &process).map_err(|error| match error {
            SpecError::User { user, source } => format!("{user}: {source}"),
            other => panic!("unexpected: {other}"),
        })
    }
}

#[test]
fn without_files_ids_still_work() {
    let root = Root::new();
    assert!(root.lookup("", &[]).unwrap_err().contains("No such file"));
    fs::create_dir(root.path()).unwrap();
    for root in [root, Root::new().with_etc()] {
        assert_eq!(root.lookup("", &[]).unwrap(), identity(0, 0, &[], "/"));
        assert_eq!(root.lookup("5:6", &["7", "7", "8"]).unwrap(), identity(5, 6, &[7, 8], "/"));
        assert_eq!(root.lookup("nina", &[]).unwrap_err(), "nina: no user `nina` in the container's passwd file");
        assert_eq!(
            root.lookup("1", &["friends"]).unwrap_err(),
            "friends: no group `friends` in the container's group file"
        );
    }
}

#[test]
fn links_never_lead_out_of_the_root() {
    let root = Root::new().with_etc();
    let outside = root.0.path().join("outside");
    fs::write(&outside, "spy:x:1:1::/:\n").unwrap();
    let inside = root.path().join("real");
    fs::write(&inside, "inner:x:2:2::/:\n").unwrap();
    let passwd = root.path().join("etc/passwd");
    let climbing = format!("{}{}", "../".repeat(40), outside.to_str().unwrap().trim_start_matches('/'));
    for target in [outside.to_str().unwrap(), &climbing, "../../outside", "/proc/self/root/etc/passwd"] {
        symlink(target, &passwd).unwrap();
        assert!(root.lookup("spy", &[]).unwrap_err().contains("no user `spy`"), "{target}");
        fs::remove_file(&passwd).unwrap();
    }
    // Both lead to the root's own file, because `..` at the top is the top.
    for target in ["/real", "../real", "../../../../real"] {
        symlink(target, &passwd).unwrap();
        assert_eq!(root.lookup("inner", &[]).unwrap().uid, 2, "{target}");
        fs::remove_file(&passwd).unwrap();
    }
    // Links in a circle, and the directory itself a link out.
    symlink("passwd", &passwd).unwrap();
    assert!(root.lookup("0", &[]).unwrap_err().contains("cannot read `/etc/passwd`"));
    fs::remove_dir_all(root.path().join("etc")).unwrap();
    let etc = root.0.path().join("etc-outside");
    fs::create_dir(&etc).unwrap();
    fs::rename(&outside, etc.join("passwd")).unwrap();
    symlink(&etc, root.path().join("etc")).unwrap();
    assert!(root.lookup("spy", &[]).unwrap_err().contains("no user `spy`"));
}

#[test]
fn only_regular_files_of_a_sane_size_are_read() {
    let root = Root::new().with_etc();
    let passwd = root.path().join("etc/passwd");
    // Without a writer, an open that waited would wait for ever.
    nix::unistd::mkfifo(&passwd, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(root.lookup("", &[]).unwrap_err().contains("`/etc/passwd` of the container is not a regular file"));
    fs::remove_file(&passwd).unwrap();
    fs::create_dir(&passwd).unwrap();
    assert!(root.lookup("", &[]).unwrap_err().contains("is not a regular file"));
    fs::remove_dir(&passwd).unwrap();
    fs::File::create(&passwd).unwrap().set_len(1 << 40).unwrap();
    assert!(root.lookup("", &[]).unwrap_err().contains("is larger than"));
    fs::write(&passwd, [b"\xff\xfe:x:1:1::/:\nnina:x:3:4:\xc3\x28:/n:\n".as_slice(), &[b'x'; 100_000]].concat())
        .unwrap();
    assert_eq!(root.lookup("nina", &[]).unwrap(), identity(3, 4, &[], "/n"));
}

proptest::proptest! {
    /// Whatever the files contain, an answer is one of the ids in the files or in the request.
    #[test]
    fn no_text_makes_a_lookup_panic(user in "[a-z0-9:]{0,8}", passwd in "([a-z]{1,2}:?|[0-9]{1,3}:|\n|x:){0,40}", group in "([a-z]{1,2}[:,]?|[0-9]{1,3}:|\n|x:){0,40}") {
        if let Ok(found) = resolve(&user, &passwd, &group) {
            let known = |id: u32| id == 0 || [&user, &passwd, &group].iter().any(|text| {
                text.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.parse() == Ok(id))
            });
            proptest::prop_assert!(known(found.uid) && known(found.gid) && found.groups.iter().all(|gid| known(*gid)));
        }
    }
}

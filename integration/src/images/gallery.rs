//! Images that several tests use: made once, when first wanted, and taken away with the last of the test's program.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev, mknodat};

use super::{Image, Tape, pack};
use crate::companion::Companion;
use crate::rootfs::BUSYBOX;

/// Holds the directory until the program ends, also when it is killed.
static ROOM: LazyLock<Companion> = LazyLock::new(|| {
    let dir = Companion::directory();
    let words = ["sh", "-c", "echo ready >&2; exec sleep 1000000"];
    Companion::start(&dir, &words, |line| (line == "ready").then_some(())).0
});

/// A new path for files that may stay until the program ends. Nothing is there.
pub fn scratch(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    ROOM.dir().join(format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed)))
}

/// One layer: busybox, with no settings but a command.
pub static BASIC: LazyLock<Image> = LazyLock::new(|| {
    let archive = scratch("busybox.tar");
    pack(&BUSYBOX, &archive);
    Image::empty(&scratch("basic")).layer(&archive).config(&["--config.cmd=sh", "--config.env=PATH=/bin"])
});

/// Three layers with all kinds of files, and with most changes that a layer can make to those below.
pub static ODD: LazyLock<Image> = LazyLock::new(|| {
    let (first, second, third) = (scratch("odd-1"), scratch("odd-2"), scratch("odd-3"));
    odd_first(&first);
    odd_second(&second);
    odd_third(&third);
    let archives = [first, second, third].map(|dir| {
        let archive = dir.with_extension("tar");
        pack(&dir, &archive);
        archive
    });
    archives.iter().fold(Image::empty(&scratch("odd")), |image, archive| image.layer(archive))
});

/// One layer with ten thousand entries.
pub static CROWD: LazyLock<Image> = LazyLock::new(|| {
    let mut tape = Tape::new().directory("./");
    for dir in 0..100 {
        tape = tape.directory(&format!("d{dir}/"));
        for file in 0..99 {
            tape = tape.file(&format!("d{dir}/f{file}"), format!("{dir} {file}\n").as_bytes());
        }
    }
    Image::empty(&scratch("crowd")).tape(&tape.finish())
});

/// Busybox, and layers with a file each on it: 127 in all.
pub static DEEP: LazyLock<Image> = LazyLock::new(|| {
    let image = super::Layout::new(&scratch("deep"));
    let archive = scratch("busybox.tar");
    pack(&BUSYBOX, &archive);
    let mut layers = vec![fs::read(&archive).expect("it was written")];
    layers.extend((1..127).map(|number| {
        let tape = Tape::new().directory("layers/").file(&format!("layers/{number}"), b"here\n");
        let tape = tape.file("layers/last", format!("{number}\n").as_bytes());
        // Removes the file that the layer before has brought.
        tape.file(&format!("layers/.wh.{}", number - 1), b"").finish()
    }));
    let manifest = image.image(&serde_json::json!({"config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]}}), &layers);
    image.single(manifest)
});

fn write(path: &Path, contents: &[u8], mode: u32) {
    fs::write(path, contents).expect("the directory is ours");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
}

fn directory(path: &Path, mode: u32) {
    fs::create_dir_all(path).expect("the directory is ours");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
}

fn attribute(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).expect("the filesystem has extended attributes");
}

fn device(path: &Path, kind: FileType, numbers: (u32, u32)) {
    let number = makedev(numbers.0, numbers.1);
    mknodat(CWD, path, kind, Mode::from_raw_mode(0o640), number).expect("root may make devices");
}

/// Sets every time below `dir`, each another one, with nanoseconds; the directories' last.
fn times(dir: &Path, base: u64) {
    let mut number = 0;
    set_times(dir, base, &mut number);
}

fn set_times(path: &Path, base: u64, number: &mut u64) {
    let kind = fs::symlink_metadata(path).expect("it is there").file_type();
    if kind.is_dir() {
        let mut inside: Vec<_> = fs::read_dir(path).expect("it is there").flatten().map(|it| it.path()).collect();
        inside.sort();
        inside.iter().for_each(|path| set_times(path, base, number));
    }
    if kind.is_dir() || kind.is_file() {
        *number += 1;
        let time = SystemTime::UNIX_EPOCH + Duration::new(base + *number * 1_000, 123_456_789);
        let times = FileTimes::new().set_modified(time).set_accessed(time);
        File::open(path).and_then(|file| file.set_times(times)).expect("it is ours");
    }
}

fn odd_first(root: &Path) {
    directory(root, 0o755);
    for (name, mode) in [("bin", 0o755), ("secret", 0o700), ("tmp", 0o1777), ("shared", 0o2775), ("kept", 0o755)] {
        directory(&root.join(name), mode);
    }
    for name in ["opaque/deep", "replaced", "gone-dir/deep", "implicit/deep/deeper", "empty"] {
        directory(&root.join(name), 0o755);
    }
    write(&root.join("bin/setuid"), b"setuid", 0o4755);
    write(&root.join("bin/setgid"), b"setgid", 0o2711);
    write(&root.join("secret/owned"), b"owned", 0o640);
    write(&root.join("secret/nothing"), b"", 0o000);
    for (name, owner, group) in [("secret/owned", 1000, 1001), ("shared", 0, 2000), ("secret", 70_000, 4_000_000)] {
        chown(root.join(name), Some(owner), Some(group)).expect("root may");
    }
    // A change of owner takes these bits away.
    fs::set_permissions(root.join("shared"), fs::Permissions::from_mode(0o2775)).expect("it is ours");
    for name in ["opaque/old", "opaque/deep/old", "gone", "gone-dir/deep/file", "replaced/file", "kept/file"] {
        write(&root.join(name), name.as_bytes(), 0o644);
    }
    write(&root.join("becomes-dir"), b"a file", 0o600);
    write(&root.join("implicit/deep/deeper/file"), b"below", 0o644);
    fs::set_permissions(root.join("implicit"), fs::Permissions::from_mode(0o711)).expect("it is ours");
    chown(root.join("implicit/deep"), Some(5), Some(6)).expect("root may");
    symlink("/bin/setuid", root.join("absolute")).expect("it is ours");
    symlink("../../../outside", root.join("bin/outside")).expect("it is ours");
    symlink("nowhere", root.join("dangling")).expect("it is ours");
    lchown(root.join("dangling"), Some(1), Some(2)).expect("root may");
    write(&root.join("hard-1"), b"one file", 0o644);
    fs::hard_link(root.join("hard-1"), root.join("kept/hard-2")).expect("it is ours");
    fs::hard_link(root.join("hard-1"), root.join("tmp/hard-3")).expect("it is ours");
    device(&root.join("null"), FileType::CharacterDevice, (1, 3));
    device(&root.join("disk"), FileType::BlockDevice, (259, 70_000));
    device(&root.join("pipe"), FileType::Fifo, (0, 0));
    attribute(&root.join("kept/file"), "user.colour", b"blue\0and\xff");
    attribute(&root.join("kept"), "user.of-directory", b"yes");
    // cap_net_raw, permitted and effective.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    attribute(&root.join("bin/setgid"), "security.capability", &capability);
    let long = "n".repeat(255);
    for name in
        ["a b", "new\nline", "tab\t", "ünïcødé", "*?[]{}", "back\\slash", "-dash", "\"quoted'", long.as_str(), "..."]
    {
        write(&root.join("kept").join(name), name.as_bytes(), 0o644);
    }
    directory(&root.join(format!("kept/{}/{}", "d".repeat(200), "e".repeat(200))), 0o755);
    let mut sparse = File::create(root.join("sparse")).expect("it is ours");
    std::io::Seek::seek(&mut sparse, std::io::SeekFrom::Start(1 << 20)).expect("files can be sparse");
    std::io::Write::write_all(&mut sparse, b"end").expect("it is ours");
    times(root, 1_000_000_000);
}

/// Takes away, covers, replaces and adds.
fn odd_second(root: &Path) {
    directory(root, 0o755);
    for name in ["opaque", "bin"] {
        directory(&root.join(name), 0o755);
    }
    for name in [".wh.gone", ".wh.gone-dir", "opaque/.wh..wh..opq", "bin/.wh.setuid"] {
        write(&root.join(name), b"", 0o644);
    }
    write(&root.join("opaque/new"), b"new", 0o644);
    write(&root.join("replaced"), b"was a directory", 0o644);
    directory(&root.join("becomes-dir"), 0o750);
    write(&root.join("becomes-dir/inside"), b"inside", 0o644);
    write(&root.join("hard-1"), b"another file", 0o644);
    directory(&root.join("empty"), 0o711);
    times(root, 1_200_000_000);
}

/// Brings removed files back, and removes a file that does not exist.
fn odd_third(root: &Path) {
    directory(root, 0o755);
    directory(&root.join("gone-dir"), 0o705);
    write(&root.join("gone-dir/back"), b"back", 0o644);
    write(&root.join("gone"), b"back too", 0o600);
    write(&root.join(".wh.never-was"), b"", 0o644);
    times(root, 1_300_000_000);
}

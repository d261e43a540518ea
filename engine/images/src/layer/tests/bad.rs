//! Archives that must be refused, or must not get anywhere.

use std::fs;
use std::io::Read as _;

use super::*;

#[test]
fn names_that_lead_upwards_are_refused() {
    for name in ["../canary/x", "a/../../canary/x", "..", "/../x"] {
        let text = bad(&Tar::new().file(name, "x").end());
        assert_eq!(text, format!("entry `{name}` of the layer cannot be unpacked: its name has a `..` component"));
    }
    let text = bad(&Tar::new().file("a", "x").hard_link("b", "../../canary/bird").end());
    assert_eq!(text, "entry `b` of the layer cannot be unpacked: its name has a `..` component");
}

#[test]
fn bad_entries_are_named_with_their_problem() {
    let wrong = |kind: u8| header(kind, "it", 0);
    let with = |change: &dyn Fn(&mut Header)| {
        let mut header = header(b'0', "it", 0);
        change(&mut header);
        Tar::new().header(header)
    };
    let it = |text: &str| format!("entry `it` of the layer cannot be unpacked: {text}");
    let long = "n".repeat(256);
    for (tar, expected) in [
        (Tar::new().header(wrong(b'M')), it("its type `M` is not supported")),
        (Tar::new().header(wrong(b'2')), it("it is a symbolic link to nothing")),
        (Tar::new().hard_link("it", "there"), it("`there`, which it is a hard link to, is not in the layer")),
        (Tar::new().hard_link("it", "a/b/c"), it("`a/b/c`, which it is a hard link to, is not in the layer")),
        (Tar::new().hard_link("it", "it"), it("`it`, which it is a hard link to, is not in the layer")),
        (Tar::new().dir("d").hard_link("it", "d"), it("`d`, which it is a hard link to, is a directory")),
        (Tar::new().hard_link("it", "/"), it("`/`, which it is a hard link to, is a directory")),
        (Tar::new().file(".wh.d", "").hard_link("it", "d"), it("`d`, which it is a hard link to, is not in the layer")),
        (
            Tar::new().dir("it").file("it/f", "x").hard_link("it", "it/f"),
            it("`it/f`, which it is a hard link to, is not in the layer"),
        ),
        (with(&|header| header.as_old_mut().uid = *b"99999999"), it("its uid `99999999` is not a number that fits")),
        (with(&|header| header.set_uid(u64::from(u32::MAX))), it("its uid `4294967295` is not a number that fits")),
        (with(&|header| header.set_gid(1 << 40)), it("its gid `1099511627776` is not a number that fits")),
        (with(&|header| header.as_old_mut().mode[0] = b'x'), it("its mode `x000644` is not a number that fits")),
        (
            with(&|header| header.as_old_mut().size = [0xff; 12]),
            it("its size `������������` is not a number that fits"),
        ),
        (Tar::new().pax(&[("uid", b"1x")]).file("it", ""), it("its uid `1x` is not a number that fits")),
        (Tar::new().pax(&[("mtime", b"soon")]).file("it", ""), it("its mtime `soon` is not a number that fits")),
        (
            Tar::new().pax(&[("path", b"a\0b")]).file("it", ""),
            "entry `a\\u{0}b` of the layer cannot be unpacked: its name has a zero byte".to_owned(),
        ),
        (
            Tar::new().pax(&[("path", long.as_bytes())]).file("it", ""),
            format!("entry `{long}` of the layer cannot be unpacked: its name is too long"),
        ),
        (
            Tar::new().pax(&[]).pax(&[]).file("it", ""),
            "entry `PaxHeader` of the layer cannot be unpacked: it is described twice".to_owned(),
        ),
        (Tar::new().header(header(b'x', "h", 3)).payload(b"3 a").file("it", ""), it("its extended header is damaged")),
        (
            Tar::new().file("f", "x").file("f/it", "y"),
            "entry `f/it` of the layer cannot be unpacked: `f`, which it is to lie in, is not a directory".to_owned(),
        ),
        (
            Tar::new().symlink("l", "nowhere").file("l/it", "y"),
            "entry `l/it` of the layer cannot be unpacked: `l`, which it is to lie in, is not a directory".to_owned(),
        ),
        (
            Tar::new().symlink("l", "l").file("l/it", "y"),
            "entry `l/it` of the layer cannot be unpacked: `l`, which it is to lie in, is not a directory".to_owned(),
        ),
        (
            Tar::new().file(".", "x"),
            "entry `.` of the layer cannot be unpacked: only a directory can take the place of the layer's root"
                .to_owned(),
        ),
        (
            Tar::new().symlink("/", "x"),
            "entry `/` of the layer cannot be unpacked: only a directory can take the place of the layer's root"
                .to_owned(),
        ),
        (Tar::new().file("", "x"), "entry `` of the layer cannot be unpacked: it has no name".to_owned()),
        (
            Tar::new().file(".wh.", ""),
            "entry `.wh.` of the layer cannot be unpacked: it is a whiteout of nothing".to_owned(),
        ),
        (
            Tar::new().file("a/.wh...", ""),
            "entry `a/.wh...` of the layer cannot be unpacked: it is a whiteout of nothing".to_owned(),
        ),
        (
            Tar::new().file(".wh.a/b", ""),
            "entry `.wh.a/b` of the layer cannot be unpacked: it lies within a whiteout".to_owned(),
        ),
    ] {
        assert_eq!(bad(&tar.end()), expected);
    }
}

#[test]
fn a_broken_structure_is_named_with_its_place() {
    let file = Tar::new().file("a", "x");
    for (bytes, expected) in [
        (b"not a tar".to_vec(), "the layer is no tar archive, nor one compressed with gzip or zstd"),
        (vec![b'x'; 4096], "the layer is no tar archive, nor one compressed with gzip or zstd"),
        (
            b"BZh91AY&SY".to_vec(),
            "the layer is compressed with bzip2, which is not supported; gzip and zstd are, as are plain tars (`bzip2 -dc` makes a plain tar of it)",
        ),
        (
            b"\xfd7zXZ\0\0\0".to_vec(),
            "the layer is compressed with xz, which is not supported; gzip and zstd are, as are plain tars (`xz -dc` makes a plain tar of it)",
        ),
        (
            file.clone().raw(&[b'x'; 512]).bytes(),
            "the layer's archive is damaged at byte 1536: the checksum of a header is wrong",
        ),
        (
            file.clone().raw(&[0; 512]).file("b", "x").bytes(),
            "the layer's archive is damaged at byte 2048: there is something after its end",
        ),
        (
            Tar::new().long(b'L', b"n").end(),
            "the layer's archive is damaged at byte 1536: it ends where an entry is described",
        ),
        (
            Tar::new().long(b'L', b"n").bytes(),
            "the layer's archive ends too early, within `././@LongLink` or what follows it",
        ),
        (
            file.clone().header(header(b'0', "b", 4096)).raw(&[1; 700]).bytes(),
            "the layer's archive ends too early, within `b` or what follows it",
        ),
    ] {
        assert_eq!(bad(&bytes), expected);
    }
}

#[test]
fn links_lead_nowhere_but_into_the_layer() {
    let place = Place::new();
    let out = place.canary().into_os_string().into_string().unwrap();
    for target in [out.as_str(), "../../canary", "../../../../../../../../..", "/"] {
        let place = Place::new();
        let bytes = Tar::new().symlink("l", target).file("l/bird", "dead").dir("l/new").hard_link("h", "l/bird").end();
        // The target exists within the layer only if it is its root.
        match place.unpack(&bytes) {
            Ok(_) => assert_eq!(read(place.path("bird")), "dead"),
            Err(error) => assert!(chain(&error).contains("`l`, which it is to lie in, is not a directory"), "{error}"),
        }
        place.check_canary();
    }
    // With the same path inside, it is that one.
    let inside = format!("{out}/");
    let bytes =
        Tar::new().pax(&[("path", inside.as_bytes())]).dir("d").pax(&[("linkpath", out.as_bytes())]).symlink("l", "");
    let bytes = bytes.file("l/bird", "dead").end();
    let unpacked = place.unpack(&bytes).unwrap();
    assert_eq!(unpacked.facts.size, 4);
    assert_eq!(read(place.path(format!(".{out}/bird"))), "dead");
    // The final component is never followed: not by files, nodes, hard links, or the setting of attributes.
    let place = Place::new();
    let out = place.canary().join("bird").into_os_string().into_string().unwrap();
    let bytes = Tar::new()
        .pax(&[("linkpath", out.as_bytes())])
        .symlink("l", "")
        .hard_link("h", "l")
        .file("l", "mine")
        .pax(&[("linkpath", out.as_bytes())])
        .symlink("m", "")
        .dir("m")
        .end();
    place.unpack(&bytes).unwrap();
    assert_eq!(read(place.path("l")), "mine");
    assert!(place.path("m").is_dir());
    assert_eq!(fs::read_link(place.path("h")).unwrap().to_str(), Some(out.as_str()));
}

#[test]
fn a_cut_archive_never_goes_unnamed() {
    let whole = Tar::new()
        .dir("d/")
        .long(b'L', &b"n".repeat(150))
        .file("x", vec![7; 1300])
        .pax(&[("path", b"other"), ("SCHILY.xattr.user.a", b"1\n2")])
        .file("x", "content")
        .symlink("s", "d")
        .file("d/.wh.gone", "")
        .end();
    for length in (0..whole.len()).step_by(512).flat_map(|block| [block, block + 1, block + 511]) {
        let place = Place::new();
        match place.unpack(&whole[..length]) {
            // Between two entries an archive may end without the blocks that mark its end.
            Ok(unpacked) => {
                assert_eq!(length % 512, 0);
                assert_eq!(assemble(&place.dir(), std::io::sink()).unwrap(), unpacked.facts);
            }
            Err(LayerError::Ends { .. } | LayerError::NotAnArchive) => {}
            Err(error) => panic!("at {length}: {}", chain(&error)),
        }
    }
}

#[test]
fn limits_are_kept_and_named() {
    let try_with = |limits: Limits, bytes: &[u8]| {
        let place = Place::new();
        unpack(bytes, &place.dir(), &limits, &|| false).map_or_else(|error| chain(&error), |_| "unpacked".to_owned())
    };
    let tar = Tar::new().file("a/b/c/d", [b'x'; 5000]).end();
    let length = tar.len() as u64;
    assert_eq!(try_with(Limits { bytes: length, ..small() }, &tar), "unpacked");
    assert_eq!(
        try_with(Limits { bytes: length - 1, ..small() }, &tar),
        format!(
            "the layer unpacks to more than {} bytes; `layer-limit` in daemon.json sets how much is allowed",
            length - 1
        )
    );
    assert_eq!(try_with(Limits { entries: 4, ..small() }, &tar), "unpacked");
    assert_eq!(try_with(Limits { entries: 3, ..small() }, &tar), "the layer has more than 3 entries");
    let bomb = zstd::encode_all(std::io::repeat(0).take(40 << 20), 3).unwrap();
    assert_eq!(
        try_with(small(), &bomb),
        "the layer unpacks to more than 1000 times its size, which no honest one does"
    );
    let long = vec![b'n'; 2 << 20];
    assert!(bad(&Tar::new().long(b'L', &long).file("a", "").end()).ends_with("more than 1048576 bytes describe it"));
    let many = (0..5000).fold(Tar::new(), |tar, _| tar.header(header(b'g', "g", 0)));
    assert!(try_with(small(), &many.end()).ends_with("more than 1048576 bytes describe it"));
}

#[test]
fn unpacking_stops_on_request() {
    let place = Place::new();
    let asked = std::cell::Cell::new(0);
    let tar = Tar::new().file("a", "x").file("b", vec![0; 1 << 20]).end();
    let stopped = unpack(&tar[..], &place.dir(), &small(), &|| {
        asked.set(asked.get() + 1);
        asked.get() > 4
    });
    assert!(matches!(stopped, Err(LayerError::Stopped)));
    assert_eq!(asked.get(), 5);
}

#[test]
fn a_failing_source_is_a_read_error() {
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the line is dead"))
        }
    }
    let tar = Tar::new().file("a", vec![3; 100_000]).end();
    for bytes in [
        tar[..2000].to_vec(),
        compression::gzip(&tar)[..40].to_vec(),
        zstd::encode_all(&tar[..], 1).unwrap()[..20].to_vec(),
    ] {
        let place = Place::new();
        let error = unpack(bytes.chain(Broken), &place.dir(), &small(), &|| false).unwrap_err();
        assert_eq!(chain(&error), "cannot read the layer: the line is dead");
    }
}

//! Layers whose files or recipe were changed after unpacking.

use std::fs;
use std::io::Write;

use super::*;
use crate::layer::recipe::{Reader, Writer};
use crate::layer::{FACTS, RECIPE, read_facts};

fn layer() -> Place {
    good(&Tar::new().file("d/kept", "kept").file("twice", "first").file("twice", "second").dir("e").end())
}

fn error(place: &Place) -> String {
    chain(&assemble(&place.dir(), std::io::sink()).unwrap_err()).replace(place.dir().to_str().unwrap(), "LAYER")
}

#[test]
fn a_changed_file_is_named() {
    type Change = (fn(&Place), &'static str);
    let changes: [Change; 7] = [
        (
            |place| fs::remove_file(place.path("d/kept")).unwrap(),
            "file `d/kept` of the layer at `LAYER` is missing: No such file or directory (os error 2)",
        ),
        (
            |place| fs::remove_file(place.dir().join("shadow/0")).unwrap(),
            "file `twice` of the layer at `LAYER` has changed",
        ),
        (|place| fs::write(place.path("d/kept"), "kep").unwrap(), "file `d/kept` of the layer at `LAYER` has changed"),
        (|place| fs::write(place.path("d/kept"), "kepT").unwrap(), "file `d/kept` of the layer at `LAYER` has changed"),
        (
            |place| fs::write(place.path("d/kept"), "kept.").unwrap(),
            "file `d/kept` of the layer at `LAYER` has changed",
        ),
        (
            |place| fs::write(place.dir().join("shadow/0"), "fiRst").unwrap(),
            "file `twice` of the layer at `LAYER` has changed",
        ),
        (
            |place| {
                fs::rename(place.path("d"), place.canary().join("d")).unwrap();
                std::os::unix::fs::symlink("../../canary/d", place.path("d")).unwrap();
            },
            "file `d/kept` of the layer at `LAYER` has changed",
        ),
    ];
    for (change, expected) in changes {
        let place = layer();
        change(&place);
        assert_eq!(error(&place), expected);
    }
}

#[test]
fn a_fifo_in_a_files_place_does_not_block() {
    let place = layer();
    fs::remove_file(place.path("d/kept")).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, place.path("d/kept"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert_eq!(error(&place), "file `d/kept` of the layer at `LAYER` has changed");
}

#[test]
fn a_damaged_recipe_is_an_error() {
    let place = layer();
    let path = place.dir().join(RECIPE);
    let whole = fs::read(&path).unwrap();
    for position in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[position] ^= 1;
        fs::write(&path, &bytes).unwrap();
        if let Ok(facts) = assemble(&place.dir(), std::io::sink()) {
            // Not every bit of a frame's header means something.
            assert_eq!(facts.diff_id, read_facts(&place.dir()).unwrap().diff_id);
        }
        fs::write(&path, &whole[..position]).unwrap();
        assert!(error(&place).starts_with("recipe `LAYER/recipe.zst` is damaged: "));
    }
}

#[test]
fn steps_that_make_no_sense_are_refused() {
    let place = layer();
    let path = place.dir().join(RECIPE);
    let magic = b"isulad layer recipe 1\n";
    for (steps, expected) in [
        (&b"\x07"[..], "a step is of no known kind"),
        (b"\x00\xff\xff\xff\xff", "a step is too long"),
        (b"\x01\xff\xff", "it ends too early"),
        (b"\x03\0\0\0\0\0\0\0\0x", "it goes on after its end"),
    ] {
        fs::remove_file(place.dir().join("shadow/0")).ok();
        fs::write(&path, zstd::encode_all(&[magic, steps].concat()[..], 1).unwrap()).unwrap();
        assert_eq!(error(&place), format!("recipe `LAYER/recipe.zst` is damaged: {expected}"));
    }
    fs::write(&path, zstd::encode_all(&b"something else entirely"[..], 1).unwrap()).unwrap();
    assert_eq!(error(&place), "recipe `LAYER/recipe.zst` is damaged: it does not begin as one");
    // An endless recipe ends at the expected length.
    let mut writer = zstd::Encoder::new(fs::File::create(&path).unwrap(), 1).unwrap();
    writer.write_all(magic).unwrap();
    for _ in 0..10_000 {
        writer.write_all(&[&[0, 0, 0, 1, 0][..], &[0; 65536]].concat()).unwrap();
    }
    writer.finish().unwrap();
    assert!(error(&place).starts_with("the layer at `LAYER` is not what it was: digest sha256:"));
    // A name that leads outside leads nowhere.
    for name in ["../../canary/bird", "/etc/passwd", "", "."] {
        fs::remove_file(&path).unwrap();
        let mut writer = Writer::create(path.clone()).unwrap();
        writer.content(name.as_bytes(), 5, 0).unwrap();
        writer.finish(5).unwrap();
        assert!(Reader::open(&path).is_ok());
        let text = error(&place);
        assert!(text.starts_with(&format!("file `{name}` of the layer at `LAYER` ")), "{text}");
    }
}

#[test]
fn facts_are_read_or_refused() {
    let place = layer();
    let facts = read_facts(&place.dir()).unwrap();
    assert_eq!((facts.entries, facts.size), (5, 15));
    fs::write(place.dir().join(FACTS), "{}").unwrap();
    let error = chain(&read_facts(&place.dir()).unwrap_err());
    assert!(error.contains("does not describe a layer: missing field `diffId`"), "{error}");
    fs::remove_file(place.dir().join(FACTS)).unwrap();
    assert!(chain(&read_facts(&place.dir()).unwrap_err()).starts_with("cannot open `"));
}

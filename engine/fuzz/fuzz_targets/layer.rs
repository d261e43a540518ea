//! Any bytes as a layer: nothing outside the layer's directory is touched, nothing panics, and an unpacked layer can be
//! put together again as it was.

#![no_main]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use engine_images::layer::{Limits, assemble, unpack};
use libfuzzer_sys::fuzz_target;
use tar_sums::correct;

#[path = "../tar_sums.rs"]
mod tar_sums;

const LIMITS: Limits = Limits { bytes: 4 << 20, entries: 500, ratio: 500, ratio_floor: 1 << 20 };

fuzz_target!(|bytes: &[u8]| {
    // Wrong sums end everything early, and chance finds no right ones.
    let bytes = correct(bytes);
    let top = tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" }).unwrap();
    let (layer, canary) = (top.path().join("layer"), top.path().join("canary"));
    fs::create_dir(&layer).unwrap();
    fs::create_dir(&canary).unwrap();
    fs::write(canary.join("bird"), "sings").unwrap();
    if let Ok(unpacked) = unpack(&bytes[..], &layer, &LIMITS, &|| false) {
        assert_eq!(unpacked.source.1, bytes.len() as u64);
        let facts = assemble(&layer, std::io::sink()).expect("what was unpacked is whole");
        assert_eq!(facts, unpacked.facts);
    }
    let bird = fs::symlink_metadata(canary.join("bird")).expect("the canary is where it was");
    assert!(bird.is_file() && bird.nlink() == 1 && bird.len() == 5);
    assert_eq!(fs::read_dir(&canary).unwrap().count(), 1);
    assert_eq!(fs::read_dir(top.path()).unwrap().count(), 2);
});

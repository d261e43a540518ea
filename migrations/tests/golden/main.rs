//! Every shape ever stored stays decodable: the files under `golden/` have the content of real journals.
//!
//! After a new shape or sample, `cargo test -p migrations --test golden -- --ignored` writes the missing files, and
//! never touches an existing one. See `golden/README.md`.

mod v1;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::PathBuf;

use migrations::codec;
use migrations::kinds::{self, CONTAINER_STREAM, IMAGE_STREAM, VOLUME_STREAM, kind, row_schema};
use migrations::{Shape, Upcasts};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value with its encoding in a file.
struct Sample {
    /// Path below `golden/`.
    file: String,
    shape: Shape,
    schema: u16,
    bytes: Vec<u8>,
    /// Fails unless the bytes decode to the value.
    check: Check,
}

type Check = Box<dyn Fn(&[u8])>;

impl Sample {
    fn new<T>(file: String, shape: Shape, schema: u16, value: T) -> Self
    where
        T: Serialize + DeserializeOwned + PartialEq + Debug + 'static,
    {
        let bytes = codec::encode(&value);
        let check = Box::new(move |bytes: &[u8]| {
            assert_eq!(codec::decode::<T>(bytes).expect("the shape has not changed"), value);
        });
        Self { file, shape, schema, bytes, check }
    }

    fn path(&self) -> PathBuf {
        folder().join(&self.file)
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden")
}

fn samples() -> Vec<Sample> {
    v1::samples()
}

#[test]
fn every_file_decodes_to_its_value() {
    for sample in samples() {
        let path = sample.path();
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        println!("{}", sample.file);
        (sample.check)(&bytes);
        assert_eq!(sample.bytes, bytes, "{}: the encoding has changed", sample.file);
    }
}

#[test]
fn every_file_converts_to_the_current_shape() {
    let upcasts = Upcasts::current();
    for sample in samples() {
        let bytes = std::fs::read(sample.path()).unwrap();
        let (schema, bytes) = upcasts.to_current(sample.shape, sample.schema, bytes).unwrap();
        match sample.shape {
            Shape::Event(number) => {
                assert_eq!(kind(number).map(|kind| kind.schema), Some(schema));
                kinds::check_event(number, &bytes).unwrap().unwrap();
            }
            Shape::Row(stream) => {
                assert_eq!(row_schema(stream), Some(schema));
                kinds::check_row(stream, &bytes).unwrap().unwrap();
            }
        }
    }
}

#[test]
fn every_schema_of_every_kind_has_a_file() {
    let kept: BTreeSet<_> = samples().into_iter().map(|sample| (sample.shape, sample.schema)).collect();
    let events =
        kinds::kinds().flat_map(|kind| (1..=kind.schema).map(move |schema| (Shape::Event(kind.number), schema)));
    let rows = [CONTAINER_STREAM, IMAGE_STREAM, VOLUME_STREAM]
        .into_iter()
        .flat_map(|stream| (1..=row_schema(stream).unwrap()).map(move |schema| (Shape::Row(stream), schema)));
    let missing: Vec<_> = events.chain(rows).filter(|wanted| !kept.contains(wanted)).collect();
    assert!(missing.is_empty(), "without a golden file: {missing:?}");
}

#[test]
fn every_file_belongs_to_a_sample() {
    let known: BTreeSet<_> = samples().iter().map(Sample::path).collect();
    for version in std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir())
    {
        for file in std::fs::read_dir(version).unwrap() {
            let path = file.unwrap().path();
            assert!(known.contains(&path), "{}: no sample reads it any more", path.display());
        }
    }
}

#[test]
#[ignore = "writes the files that are missing"]
fn write_missing_files() {
    for sample in samples() {
        let path = sample.path();
        if !path.exists() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &sample.bytes).unwrap();
            println!("written: {}", sample.file);
        }
    }
}

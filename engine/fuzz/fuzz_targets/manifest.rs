//! Any bytes as a manifest, an index, a config, or the list of an archive.

#![no_main]

use engine_images::manifest::write::parse_archive;
use engine_images::manifest::{Document, ImageConfig, Platform, check_layers};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let document = Document::parse(bytes, None);
    let config = ImageConfig::parse(bytes);
    let _ = parse_archive(bytes);
    match &document {
        Ok(Document::Index(index)) => {
            let _ = Platform::host().choose(index);
        }
        // Anything may be both at once.
        Ok(Document::Manifest(manifest)) => {
            let _ = config.as_ref().map(|config| check_layers(manifest, config));
        }
        Err(_) => {}
    }
    if let Ok(document) = &document {
        let again = Document::parse(bytes, Some(document.media_type())).expect("a document parses by its own media type");
        assert_eq!(again.media_type(), document.media_type());
    }
});

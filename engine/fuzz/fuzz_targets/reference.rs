//! Any text as a name of an image: a name that parses is written the same way ever after.

#![no_main]

use engine_images::reference::Reference;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(reference) = text.parse::<Reference>() else { return };
    for written in [reference.to_string(), reference.familiar()] {
        let again: Reference = written.parse().expect("what we write we read");
        assert_eq!(again, reference);
        assert_eq!(again.to_string(), reference.to_string());
    }
});

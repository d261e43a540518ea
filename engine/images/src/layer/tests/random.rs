//! Properties of all archives.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Item {
    File(String, Vec<u8>),
    Dir(String),
    Symlink(String, String),
    HardLink(String, String),
    Fifo(String),
}

/// Few names, so that they meet.
fn name() -> impl Strategy<Value = String> {
    let component = prop_oneof![
        4 => prop::sample::select(vec!["a", "b", "c", "d"]),
        1 => prop::sample::select(vec![".wh.a", ".wh.b", ".wh..wh..opq", ".", "", "..", ".wh..wh.x"]),
    ];
    prop::collection::vec(component, 1..4).prop_map(|components| components.join("/"))
}

fn item() -> impl Strategy<Value = Item> {
    let content = prop_oneof![prop::collection::vec(any::<u8>(), 0..40), prop::collection::vec(0..4_u8, 500..1600)];
    let target = prop_oneof![name(), Just("../../../canary".to_owned()), Just("/".to_owned()), Just("../a".to_owned())];
    prop_oneof![
        4 => (name(), content).prop_map(|(name, content)| Item::File(name, content)),
        3 => name().prop_map(Item::Dir),
        2 => (name(), target.clone()).prop_map(|(name, target)| Item::Symlink(name, target)),
        2 => (name(), target).prop_map(|(name, target)| Item::HardLink(name, target)),
        1 => name().prop_map(Item::Fifo),
    ]
}

fn add(tar: Tar, item: &Item) -> Tar {
    match item {
        Item::File(name, content) => tar.file(name, content),
        Item::Dir(name) => tar.dir(name),
        Item::Symlink(name, target) => tar.symlink(name, target),
        Item::HardLink(name, target) => tar.hard_link(name, target),
        Item::Fifo(name) => tar.node(b'6', name, 0, 0),
    }
}

/// Leaves out items that cannot be unpacked after those before them: so that long archives are good ones.
fn possible(items: &[Item]) -> Vec<u8> {
    let mut kept = Tar::new();
    for item in items {
        let longer = add(kept.clone(), item);
        if Place::new().unpack(&longer.clone().end()).is_ok() {
            kept = longer;
        }
    }
    kept.end()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_unpacked_archive_comes_back(items in prop::collection::vec(item(), 1..14)) {
        good(&possible(&items));
    }

    #[test]
    fn no_damage_goes_outside_or_unseen(
        items in prop::collection::vec(item(), 1..5),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = items.iter().fold(Tar::new(), add).end();
        for (index, byte) in &damage {
            let position = index.index(bytes.len());
            bytes[position] = *byte;
        }
        // Right checksums, so that the damage gets further than that.
        for block in bytes.as_chunks_mut::<512>().0 {
            if block[257..262] == *b"ustar" {
                let mut header = Header::from_byte_slice(block).clone();
                header.set_cksum();
                *block = *header.as_bytes();
            }
        }
        let place = Place::new();
        if let Ok(unpacked) = place.unpack(&bytes) {
            prop_assert_eq!(unpacked.facts.diff_id, sha256(&bytes));
            prop_assert_eq!(assemble(&place.dir(), std::io::sink()).unwrap(), unpacked.facts);
        }
        place.check_canary();
    }
}

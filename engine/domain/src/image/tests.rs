use super::testing::*;
use super::*;
use crate::id::{Digest, Timestamp};

fn tag(name: &str, since: u64) -> Command {
    Command::Tag { name: name.to_owned(), since }
}

fn untag(name: &str) -> Command {
    Command::Untag { name: name.to_owned() }
}

/// The image after these commands, of which none is refused, and the number of events they made.
fn after(commands: &[Command]) -> (Option<Image>, usize) {
    let mut count = 0;
    let image = commands.iter().fold(None, |image: Option<Image>, command| {
        let events = decide(ID, image.as_ref(), command).unwrap();
        count += events.len();
        events.iter().fold(image, evolve)
    });
    (image, count)
}

fn names(image: Option<Image>) -> Vec<(String, u64)> {
    image.unwrap().names.into_iter().map(|held| (held.name, held.since)).collect()
}

fn held(names: &[(&str, u64)]) -> Vec<(String, u64)> {
    names.iter().map(|(name, since)| ((*name).to_owned(), *since)).collect()
}

#[test]
fn a_new_image_has_its_names() {
    let (image, _) = after(&[add(&["a", "b", "a"], 4)]);
    let image = image.unwrap();
    assert_eq!((image.id, image.version, &image.facts), (ID, 1, &facts()));
    assert_eq!(names(Some(image)), held(&[("a", 4), ("b", 4)]));
}

#[test]
fn an_image_added_again_gains_names_and_keeps_its_facts() {
    let pinned = Facts {
        manifest: Digest([9; 32]),
        size: 1,
        added_at: Timestamp(20),
        used_at: Timestamp(1),
        pinned: true,
        ..facts()
    };
    let again = Command::Add { source: Source::Loaded, facts: pinned, names: vec!["b".to_owned()], since: 5 };
    let (image, count) = after(&[add(&["a"], 4), again, add(&["a"], 6)]);
    let image = image.unwrap();
    assert_eq!((count, image.version), (3, 3), "a pull of what is here is told too");
    assert_eq!(image.facts, Facts { pinned: true, ..facts() });
    assert_eq!(names(Some(image)), held(&[("a", 6), ("b", 5)]));
}

#[test]
fn a_repeated_command_makes_no_event() {
    assert_eq!(after(&[add(&["a"], 4), tag("a", 4), untag("x")]).1, 1);
    let (image, count) = after(&[add(&["a"], 4), tag("a", 5), untag("a"), tag("b", 6)]);
    assert_eq!((count, names(image)), (4, held(&[("b", 6)])), "a later number is news: it takes the name from others");
}

#[test]
fn a_removed_image_may_come_again() {
    let (image, _) = after(&[add(&["a"], 4), tag("b", 5), Command::Remove]);
    assert_eq!(image, None);
    let (image, _) = after(&[add(&["a"], 4), Command::Remove, add(&["c"], 9)]);
    assert_eq!(image.as_ref().unwrap().version, 1, "its stream begins anew");
    assert_eq!(names(image), held(&[("c", 9)]));
}

#[test]
fn commands_on_an_absent_image_are_rejected() {
    for command in [tag("a", 1), untag("a"), Command::Remove] {
        assert_eq!(decide(ID, None, &command), Err(Rejection::NoSuchImage), "{command:?}");
    }
    for event in [Event::Tagged { name: "a".to_owned(), since: 1 }, Event::Removed] {
        assert_eq!(evolve(None, &event), None);
    }
}

#[test]
fn names_have_to_fit_into_a_record() {
    let long = |byte: u8, length: usize| char::from(byte).to_string().repeat(length);
    let half = Image::NAMES_LIMIT / 2 - 16;
    let (image, _) = after(&[add(&[&long(b'a', half), &long(b'b', half)], 1)]);
    let full = image.unwrap();
    let refused = Err(Rejection::TooManyNames { id: ID });
    assert_eq!(decide(ID, Some(&full), &tag("c", 2)), refused);
    assert_eq!(decide(ID, Some(&full), &add(&["c"], 2)), refused);
    // A name that the image holds already takes no further space.
    assert!(decide(ID, Some(&full), &add(&[&long(b'a', half)], 2)).is_ok());
    assert!(decide(ID, Some(&full), &tag(&long(b'a', half), 2)).is_ok());
    let less = evolve(Some(full), &Event::Untagged { name: long(b'a', half) }).unwrap();
    assert!(decide(ID, Some(&less), &tag("c", 2)).is_ok());
    assert_eq!(decide(ID, None, &add(&[&long(b'a', Image::NAMES_LIMIT)], 2)), refused);
    let text = Rejection::TooManyNames { id: ID }.to_string();
    assert!(text.contains("remove some"), "{text}");
}

use std::collections::BTreeMap;

use super::*;
use crate::id::Timestamp;

fn name() -> VolumeName {
    "data".parse().unwrap()
}

fn create() -> Command {
    let labels = BTreeMap::from([("tier".to_owned(), "db".to_owned())]);
    Command::Create { labels, anonymous: false, at: Timestamp(5) }
}

fn turn(volume: Option<Volume>, command: &Command) -> Option<Volume> {
    decide(&name(), volume.as_ref(), command).unwrap().iter().fold(volume, evolve)
}

fn ready() -> Volume {
    turn(None, &create()).unwrap()
}

fn removing() -> Volume {
    turn(Some(ready()), &Command::Remove).unwrap()
}

#[test]
fn a_volume_lives_until_its_data_is_deleted() {
    let made = ready();
    assert_eq!((&made.name, made.version, made.phase, made.created_at), (&name(), 1, Phase::Ready, Timestamp(5)));
    assert_eq!(made.labels["tier"], "db");
    let going = removing();
    assert_eq!((going.version, going.phase), (2, Phase::Removing));
    assert_eq!(turn(Some(going), &Command::ReportRemoved), None);
}

#[test]
fn a_repeated_command_makes_no_event() {
    for (volume, command) in [
        (Some(ready()), create()),
        (Some(ready()), Command::ReportRemoved),
        (Some(removing()), Command::Remove),
        (None, Command::ReportRemoved),
    ] {
        assert_eq!(decide(&name(), volume.as_ref(), &command), Ok(vec![]), "{command:?}");
    }
}

#[test]
fn invalid_commands_are_rejected() {
    assert_eq!(decide(&name(), None, &Command::Remove), Err(Rejection::NoSuchVolume));
    assert_eq!(decide(&name(), Some(&removing()), &create()), Err(Rejection::BeingRemoved));
    let labelled = |length| Command::Create {
        labels: BTreeMap::from([("k".to_owned(), "v".repeat(length))]),
        anonymous: true,
        at: Timestamp(5),
    };
    let room = Volume::LABELS_LIMIT - 17;
    assert!(decide(&name(), None, &labelled(room)).is_ok());
    assert_eq!(decide(&name(), None, &labelled(room + 1)), Err(Rejection::LabelsTooLong));
}

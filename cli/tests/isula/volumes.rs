//! Volumes: requests and output.

use cri_api::isula::v1::*;

use super::daemon::Script;
use super::{Outcome, play};

#[test]
fn requests_about_volumes() {
    let filter = |key: &str, value: &str| Filter { key: key.into(), value: value.into() };
    let labels = [("a".to_owned(), "b".to_owned())].into();
    let anonymous = format!("{}\n", "f".repeat(64));
    let cases: Vec<(&[&str], String, &str)> = vec![
        (
            &["volume", "create", "--label", "a=b", "-d=local", "v"],
            format!("CreateVolume {:?}", CreateVolumeRequest { name: "v".into(), driver: "local".into(), labels }),
            "v\n",
        ),
        (&["volume", "create"], format!("CreateVolume {:?}", CreateVolumeRequest::default()), &anonymous),
        (
            &["volume", "ls", "-qf", "name=x"],
            format!("ListVolumes {:?}", ListVolumesRequest { filters: vec![filter("name", "x")] }),
            "",
        ),
        (
            &["volume", "rm", "-f", "v"],
            format!("RemoveVolume {:?}", RemoveVolumeRequest { volume: "v".into(), force: true }),
            "v\n",
        ),
        (
            &["volume", "prune", "-af", "--filter=label=a"],
            format!("PruneVolumes {:?}", PruneVolumesRequest { all: true, filters: vec![filter("label", "a")] }),
            "Deleted Volumes:\nv\nw\n\nTotal reclaimed space: 7B\n",
        ),
        (
            &["volume", "prune", "-f"],
            format!("PruneVolumes {:?}", PruneVolumesRequest::default()),
            "Total reclaimed space: 7B\n",
        ),
    ];
    for (words, wanted, stdout) in cases {
        let (ended, asked) = play(Script::default(), words);
        assert_eq!((ended, asked), (Outcome::of(0, stdout, ""), vec![wanted]), "{words:?}");
    }
    let (ended, asked) = play(Script::default(), &["volume", "prune"]);
    assert_eq!((ended.code, asked.len()), (Some(1), 0), "{ended:?}");
}

#[test]
fn a_table_of_volumes() {
    let volume = |name: &str| Volume { name: name.into(), driver: "local".into(), ..Volume::default() };
    let script = Script { volumes: vec![volume("b"), volume("a")], ..Script::default() };
    let wanted = "DRIVER\tVOLUME NAME\nlocal \ta          \nlocal \tb          \n";
    assert_eq!(play(script.clone(), &["volume", "ls"]).0, Outcome::of(0, wanted, ""));
    assert_eq!(play(script, &["volume", "ls", "-q"]).0, Outcome::of(0, "a\nb\n", ""));
}

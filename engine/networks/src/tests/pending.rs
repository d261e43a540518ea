//! Detaching that has failed: kept, tried again, and given up in the end.

use std::sync::Arc;

use super::*;
use crate::pending::{Patience, Pending};
use crate::ports::Ports;

#[tokio::test]
async fn a_failed_detach_is_retried_also_after_a_restart() {
    let stand = Stand::new();
    stand.good("one");
    stand.attach(&["one"]).await.unwrap();
    stand.plugin("one", "exit 1");
    let error = detach(&stand.settings(), &stand.place(), None).await.unwrap_err();
    let dir = stand.at("pending");
    let pending = Arc::new(Pending::new(dir.clone(), Arc::default()));
    pending.put_off(&stand.settings(), &stand.place(), "abc", chain(&error)).await.unwrap();
    assert_eq!(fs::read_dir(stand.at("bundle")).unwrap().count(), 0);
    assert!(pending.needs(&stand.at("netns/isula-abc-1")));
    assert!(pending.needs(&stand.at("elsewhere/../netns/isula-abc-1")), "the directory has another spelling");
    assert!(!pending.needs(&stand.at("netns/isula-abc-2")));
    assert_eq!(pending.warnings().len(), 1);
    assert!(pending.warnings()[0].starts_with("container abc: its network is not given back"));
    // Another daemon finds it.
    let later = Arc::new(Pending::new(dir.clone(), Arc::default()));
    assert!(later.resume(&stand.settings()).is_empty());
    assert_eq!(later.warnings().len(), 1);
    stand.good("one");
    until("it is not tried again", || later.warnings().is_empty() && pending.warnings().is_empty()).await;
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    stand.assert_nothing_left();
}

#[tokio::test]
async fn ports_are_kept_until_their_plugin_gives_them_back() {
    let stand = Stand::new();
    stand.good("one");
    stand.good("ports");
    let mut order = stand.order(&["ports", "one"]);
    order.ports = vec![Published { host_ip: None, host_port: 8080, container_port: 80, protocol: Protocol::Tcp }];
    attach(&stand.settings(), &stand.first_runs, &stand.place(), order).await.unwrap();
    stand.plugin("ports", "exit 1");
    detach(&stand.settings(), &stand.place(), None).await.unwrap_err();
    let kept = Record::read(&stand.place().record).unwrap().unwrap().ports;
    assert_eq!(kept.len(), 1);
    let (ports, dir) = (Arc::<Ports>::default(), stand.at("pending"));
    let pending = Arc::new(Pending::new(dir, ports.clone()));
    pending.put_off(&stand.settings(), &stand.place(), "abc", "DEL failed".to_owned()).await.unwrap();
    let refusal = ports.take("other", &kept).unwrap_err().to_string();
    assert!(refusal.contains("by container abc-1, whose network is not given back yet"), "{refusal}");
    assert_eq!(pending.users("net"), ["container abc, which has not given it back yet"]);
    // The other plugin of the chain has nothing to do with them.
    stand.plugin("one", "exit 1");
    stand.good("ports");
    until("they are not free", || ports.take("other", &kept).is_ok()).await;
    assert_eq!(pending.warnings().len(), 1);
    stand.good("one");
    until("it is not tried again", || pending.warnings().is_empty()).await;
    stand.assert_nothing_left();
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_kept_aside() {
    let stand = Stand::new();
    fs::write(stand.place().record, "").unwrap();
    detach(&stand.settings(), &stand.place(), None).await.unwrap_err();
    let pending = Arc::new(Pending::new(stand.at("pending"), Arc::default()));
    pending.put_off(&stand.settings(), &stand.place(), "abc", "it is empty".to_owned()).await.unwrap();
    stand.assert_nothing_left();
    // Another one of the same container takes nothing from the first.
    fs::write(stand.place().record, "{").unwrap();
    fs::write(stand.place().busy, "").unwrap();
    pending.put_off(&stand.settings(), &stand.place(), "abc", "it is cut".to_owned()).await.unwrap();
    stand.assert_nothing_left();
    assert_eq!(fs::read_dir(stand.at("pending")).unwrap().count(), 2);
    for pending in [pending, Arc::new(Pending::new(stand.at("pending"), Arc::default()))] {
        assert!(pending.resume(&stand.settings()).is_empty());
        let warnings = pending.warnings();
        assert_eq!(warnings.len(), 2);
        assert!(warnings.iter().all(|it| it.contains("abc-unreadable-") && it.contains(".given-up")), "{warnings:?}");
    }
}

/// Nothing is tried again while the test looks.
const NEVER: Patience =
    Patience { first_pause: Duration::from_secs(1000), longest_pause: Duration::from_secs(1000), attempts: 1 };

#[tokio::test]
async fn a_postponed_detach_is_known_before_its_record_is_moved() {
    let stand = Stand::new();
    stand.good("one");
    let netns = stand.attach(&["one"]).await.unwrap().netns;
    // A reader of the record waits until it is written.
    let bytes = fs::read(stand.place().record).unwrap();
    fs::remove_file(stand.place().record).unwrap();
    assert!(Command::new("mkfifo").arg(stand.place().record).status().unwrap().success());
    let pending = Arc::new(Pending::new(stand.at("pending"), Arc::default()).patient(NEVER));
    let (owned, settings, place) = (pending.clone(), stand.settings(), stand.place());
    let putting = tokio::spawn(async move { owned.put_off(&settings, &place, "abc", "x".to_owned()).await });
    let places = [stand.place().record, stand.at("pending/abc-1.json")];
    let end = tokio::time::Instant::now() + PATIENCE;
    let mut reader = loop {
        assert!(tokio::time::Instant::now() < end, "the record is not read");
        let writing = |path: &PathBuf| {
            let mut options = fs::File::options();
            std::os::unix::fs::OpenOptionsExt::custom_flags(options.write(true), libc::O_NONBLOCK).open(path).ok()
        };
        if let Some(reader) = places.iter().find_map(writing) {
            break reader;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert!(stand.place().record.exists() || pending.needs(&netns), "the sweep would remove its namespace");
    reader.write_all(&bytes).unwrap();
    drop(reader);
    putting.await.unwrap().unwrap();
    assert!(!stand.place().record.exists() && pending.needs(&netns));
}

#[tokio::test]
async fn a_record_that_cannot_be_moved_stays_and_is_not_pending() {
    let stand = Stand::new();
    stand.good("one");
    let netns = stand.attach(&["one"]).await.unwrap().netns;
    let ports = Arc::<Ports>::default();
    let pending = Arc::new(Pending::new(stand.at("pending"), ports).patient(NEVER));
    // A directory in the record's way.
    fs::create_dir_all(stand.at("pending/abc-1.json")).unwrap();
    pending.put_off(&stand.settings(), &stand.place(), "abc", "x".to_owned()).await.unwrap_err();
    assert!(stand.place().record.exists() && stand.place().busy.exists());
    assert!(!pending.needs(&netns) && pending.warnings().is_empty());
    fs::remove_dir(stand.at("pending/abc-1.json")).unwrap();
    pending.put_off(&stand.settings(), &stand.place(), "abc", "x".to_owned()).await.unwrap();
    assert!(pending.needs(&netns));
}

#[tokio::test]
async fn a_moved_record_is_retried_although_the_clean_up_fails() {
    let stand = Stand::new();
    stand.good("one");
    stand.attach(&["one"]).await.unwrap();
    stand.plugin("one", "exit 1");
    let error = detach(&stand.settings(), &stand.place(), None).await.unwrap_err();
    // A directory, which cannot be removed as a file.
    fs::remove_file(stand.place().busy).unwrap();
    fs::create_dir(stand.place().busy).unwrap();
    fs::create_dir(stand.at("pending")).unwrap();
    fs::write(stand.at("pending/abc-1.call"), "").unwrap();
    let pending = Arc::new(Pending::new(stand.at("pending"), Arc::default()));
    pending.put_off(&stand.settings(), &stand.place(), "abc", chain(&error)).await.unwrap();
    assert_eq!((stand.place().record.exists(), pending.warnings().len()), (false, 1));
    stand.good("one");
    until("it is not tried again", || pending.warnings().is_empty()).await;
    fs::remove_dir(stand.place().busy).unwrap();
    stand.assert_nothing_left();
}

#[tokio::test]
async fn leftovers_of_a_killed_daemon_are_removed() {
    let stand = Stand::new();
    stand.good("one");
    stand.attach(&["one"]).await.unwrap();
    let dir = stand.at("pending");
    let pending = Arc::new(Pending::new(dir.clone(), Arc::default()).patient(NEVER));
    pending.put_off(&stand.settings(), &stand.place(), "abc", "x".to_owned()).await.unwrap();
    for name in ["gone.call", "unreadable.call", "abc-1.json.7-0.tmp"] {
        fs::write(dir.join(name), "").unwrap();
    }
    fs::write(dir.join("unreadable.given-up"), "").unwrap();
    let next = Arc::new(Pending::new(dir.clone(), Arc::default()).patient(NEVER));
    assert!(next.resume(&stand.settings()).is_empty());
    let left = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: std::collections::BTreeSet<_> = left.collect();
    let wanted = ["abc-1.call", "abc-1.json", "unreadable.given-up"].map(str::to_owned);
    assert_eq!(left, wanted.into_iter().collect());
}

#[tokio::test]
async fn a_lasting_failure_is_given_up_with_a_warning_and_a_file() {
    let stand = Stand::new();
    stand.plugin("ports", &format!("[ $CNI_COMMAND = ADD ] || exit 1; echo '{RESULT}'"));
    let (dir, ports) = (stand.at("pending"), Arc::<Ports>::default());
    let patience =
        Patience { first_pause: Duration::from_millis(1), longest_pause: Duration::from_millis(2), attempts: 3 };
    let pending = Arc::new(Pending::new(dir.clone(), ports.clone()).patient(patience));
    let mut published = Vec::new();
    for number in 0..20 {
        let mut order = stand.order(&["ports"]);
        order.container = format!("abc-{number}");
        order.netns = stand.at(&format!("netns/isula-abc-{number}"));
        let host_port = 20_000 + number;
        let port = Published { host_ip: None, host_port, container_port: 80, protocol: Protocol::Sctp };
        order.ports = vec![port];
        published.push(port);
        attach(&stand.settings(), &stand.first_runs, &stand.place(), order).await.unwrap();
        pending.put_off(&stand.settings(), &stand.place(), "abc", "x".to_owned()).await.unwrap();
    }
    let given_up = |pending: &Pending| {
        let warnings = pending.warnings();
        warnings.len() == 20 && warnings.iter().all(|warning| warning.contains("which is not tried again"))
    };
    let unpinned = || fs::read_dir(stand.at("netns")).unwrap().count() == 0;
    until("it is tried for ever", || given_up(&pending) && unpinned()).await;
    let tries = stand.log().iter().filter(|call| call.contains("DEL")).count();
    assert_eq!(tries, 20 * 3);
    assert!(pending.users("net").is_empty());
    ports.take("other", &published).unwrap();
    let next = Arc::new(Pending::new(dir.clone(), ports));
    assert!(next.resume(&stand.settings()).is_empty() && given_up(&next), "the next daemon tries none again");
    for entry in fs::read_dir(&dir).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    assert!(next.warnings().is_empty(), "a removed file is not warned of");
}

#[tokio::test]
async fn a_mended_configuration_wakes_attempts_that_began_before_it_was_put_off_again() {
    let stand = Stand::new();
    stand.good("one");
    let mut record = stand.attach(&["one"]).await.unwrap();
    let bytes = fs::read(stand.place().record).unwrap();
    let pending = Arc::new(Pending::new(stand.at("pending"), Arc::default()).patient(NEVER));
    for _ in 0..2 {
        fs::write(stand.place().record, &bytes).unwrap();
        pending.put_off(&stand.settings(), &stand.place(), "abc", "x".to_owned()).await.unwrap();
        // The attempts have begun: they wait for their pause to be over.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }
    record.networks[0].list["mended"] = true.into();
    pending.retry_changed(&record);
    until("nothing is tried", || pending.warnings().is_empty()).await;
    stand.assert_nothing_left();
}

//! Pulls with a broken connection, a busy registry, or a caller that goes away.

use integration::process::{Process, Signal};
use integration::{Fault, Faulty, Node, command, deadline, registry};

use super::{assert_nothing_of_images, id, listed, node, noisy, pushed};

/// A proxy before the shared registry, an image behind it, and its name there.
fn behind(seed: u64, sizes: &[usize], name: &str) -> (Faulty, integration::Image, String) {
    let image = noisy(seed, sizes);
    let name = pushed(&image, name);
    let faulty = Faulty::before(&registry::SHARED);
    let name = name.replace(&registry::SHARED.host(), &faulty.host());
    (faulty, image, name)
}

#[test]
fn a_broken_download_goes_on_where_it_was() {
    let node = node();
    let (faulty, image, name) = behind(10, &[900_000], "resumed:1");
    let (digest, size) = image.layers()[0].clone();
    for (skip, at) in [(0, 300_000), (0, 1), (0, 200_000)] {
        let layer = digest.clone();
        faulty.rule(skip, 1, move |seen| seen.gets_blob(&layer), Fault::Cut(at));
    }
    node.ok(&["pull", &name]);
    assert_eq!(id(&node, &name), image.id());
    let seen = faulty.seen();
    let ranges: Vec<_> = seen.iter().filter(|seen| seen.gets_blob(&digest)).map(|seen| seen.range.as_deref()).collect();
    assert_eq!(ranges, [None, Some("bytes=300000-"), Some("bytes=300001-"), Some("bytes=500001-")]);
    assert_eq!(faulty.sent_of(&digest), size, "no byte came twice");
    node.assert_clean_end();
}

/// A download that breaks again and again without progress is given up.
#[test]
fn a_download_that_never_gets_on() {
    let node = node();
    let (faulty, image, name) = behind(11, &[100_000], "never:1");
    let digest = image.layers()[0].0.clone();
    let layer = digest.clone();
    faulty.always(move |seen| seen.gets_blob(&layer), Fault::Cut(0));
    let refusal = node.isula(&["pull", &name]).refused(1);
    assert!(refusal.contains(&digest[7..19]), "the layer is named: {refusal}");
    let tried = faulty.count(|seen| seen.gets_blob(&digest));
    assert!((2..20).contains(&tried), "{tried} attempts");
    assert_nothing_of_images(&node);
    faulty.release();
    node.ok(&["pull", &name]);
    node.assert_clean_end();
}

#[test]
fn a_busy_registry_is_asked_again() {
    let node = node();
    let (faulty, image, name) = behind(12, &[50_000, 50_000], "busy:1");
    let (first, second) = (image.layers()[0].0.clone(), image.layers()[1].0.clone());
    let soon = vec![("Retry-After".to_owned(), "1".to_owned())];
    let layers = [first.clone(), second.clone()];
    faulty.once(|seen| seen.path.contains("/manifests/"), Fault::Status(429, soon.clone()));
    faulty.rule(0, 2, move |seen| seen.gets_blob(&layers[0]), Fault::Status(500, vec![]));
    let layers = [first.clone(), second.clone()];
    faulty.rule(0, 1, move |seen| seen.gets_blob(&layers[1]), Fault::Status(429, soon));
    node.ok(&["pull", &name]);
    assert_eq!(faulty.count(|seen| seen.gets_blob(&first)), 3);
    assert_eq!(faulty.count(|seen| seen.gets_blob(&second)), 2);
    node.assert_clean_end();
}

#[test]
fn a_refusal_is_not_asked_again() {
    let node = node();
    let (faulty, image, name) = behind(13, &[50_000], "refused:1");
    for (status, word) in [(403, "denies"), (404, "does not have")] {
        let layer = image.layers()[0].0.clone();
        faulty.once(move |seen| seen.gets_blob(&layer), Fault::Status(status, vec![]));
        let refusal = node.isula(&["pull", &name]).refused(1);
        assert!(refusal.contains(word), "{refusal}");
        assert_eq!(faulty.count(|seen| seen.gets_blob(&image.layers()[0].0)), 1, "{status}");
        assert_nothing_of_images(&node);
        faulty.forget();
    }
    node.ok(&["pull", &name]);
    node.assert_clean_end();
}

/// Starts a pull that hangs within its second layer; the first may be done.
fn hanging(node: &Node, faulty: &Faulty, image: &integration::Image, name: &str) -> std::process::Child {
    let layer = image.layers()[1].0.clone();
    faulty.once(move |seen| seen.gets_blob(&layer), Fault::Stall(5000));
    let pull = node.spawn(&["pull", name]);
    let layer = image.layers()[1].0.clone();
    faulty.until("the download hangs", move |seen| seen.gets_blob(&layer) && seen.sent == 5000);
    pull
}

fn given_up(faulty: &Faulty, image: &integration::Image) {
    let layer = image.layers()[1].0.clone();
    deadline::until("the connection is closed", || faulty.count(|seen| seen.open && seen.gets_blob(&layer)) == 0);
}

#[test]
fn a_caller_that_goes_away_leaves_nothing() {
    let node = node();
    let (faulty, image, name) = behind(14, &[50_000, 400_000], "cancelled:1");
    for signal in [Signal::KILL, Signal::INT] {
        let pull = hanging(&node, &faulty, &image, &name);
        Process::of(pull.id().cast_signed()).expect("it runs").signal(signal);
        assert_ne!(command::finish(pull, deadline::PATIENCE).expect("it ends").code(), 0);
        given_up(&faulty, &image);
        assert_nothing_of_images(&node);
        faulty.forget();
    }
    faulty.release();
    node.ok(&["pull", &name]);
    assert_eq!(id(&node, &name), image.id());
    node.assert_clean_end();
}

#[test]
fn one_of_two_callers_goes_away() {
    let node = node();
    let (faulty, image, name) = behind(15, &[50_000, 400_000], "one-of-two:1");
    let first = hanging(&node, &faulty, &image, &name);
    let second = node.spawn(&["pull", "-q", &name]);
    // The second has joined, or will find no other pull: it may come late. Either way it gets the image.
    Process::of(first.id().cast_signed()).expect("it runs").signal(Signal::KILL);
    let _ = command::finish(first, deadline::PATIENCE);
    faulty.release();
    let output = command::finish(second, deadline::PATIENCE).expect("it ends");
    assert_eq!(output.ok(), image.id());
    node.assert_clean_end();
}

#[test]
fn the_daemon_stops_in_the_middle() {
    let mut node = node();
    let (faulty, image, name) = behind(16, &[50_000, 400_000], "stopped:1");
    let pull = hanging(&node, &faulty, &image, &name);
    assert_eq!(node.terminate().code(), Some(0), "a pull does not keep it");
    let output = command::finish(pull, deadline::PATIENCE).expect("it ends");
    assert_ne!(output.code(), 0);
    node.launch();
    // Whole blobs are kept for a while, for another attempt.
    assert_eq!(listed(&node), Vec::<String>::new());
    integration::deadline::until("nothing is left half made", || node.ingest().is_empty());
    faulty.release();
    node.ok(&["pull", &name]);
    assert_eq!(listed(&node), [format!("{name} {}", image.id())]);
    node.assert_clean_end();
}

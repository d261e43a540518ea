//! Names of images: given, moved, taken away; removals, refused ones and lists.

use integration::images::{self, BASIC, Image};
use serde_json::json;

use super::{
    assert_nothing_of_images, diff_ids, docker_archive, id, inspect, listed, node, noise, noisy, pushed, written,
};

/// Loads an image with one layer of its own under these names, and gives its id.
fn loaded(node: &integration::Node, names: &[&str], seed: u64) -> String {
    let config =
        json!({"created": format!("2020-01-0{seed}T00:00:00Z"), "config": {"Labels": {"seed": seed.to_string()}}});
    let file = written(node, "names.tar", &docker_archive(&[(names, config, &[noise("x", 5000, seed)])]));
    node.ok(&["load", "-i", &file]);
    names.first().map_or_else(String::new, |name| id(node, name))
}

#[test]
fn given_moved_and_taken() {
    let node = node();
    let first = loaded(&node, &["a:1"], 1);
    node.ok(&["tag", "a:1", "b"]);
    node.ok(&["tag", &first, "host.example:5000/deep/c:x"]);
    node.ok(&["tag", &first[7..19], "d:1"]);
    let mut names: Vec<_> = inspect(&node, &first)["RepoTags"].as_array().expect("it has names").clone();
    names.sort_by_key(ToString::to_string);
    assert_eq!(json!(names), json!(["a:1", "b:latest", "d:1", "host.example:5000/deep/c:x"]));
    // Names that are spelled at length are the same.
    assert_eq!(id(&node, "docker.io/library/a:1"), first);
    // A name moves; the image that had it stays, without it.
    let second = loaded(&node, &["a:1"], 2);
    assert_ne!(first, second);
    assert_eq!((id(&node, "a:1"), id(&node, "d:1")), (second.clone(), first.clone()));
    node.ok(&["tag", "d:1", "a:1"]);
    assert_eq!(id(&node, "a:1"), first);
    assert!(listed(&node).contains(&format!("<none>:<none> {second}")), "{:?}", listed(&node));
    // Tagged again as it is: nothing happens.
    let seq = node.seq();
    node.ok(&["tag", "d:1", "a:1"]);
    assert_eq!(node.seq(), seq);
    for (words, complaint) in [
        (["tag", "nothing:1", "x:1"], "nothing:1"),
        (["tag", "a:1", "UPPER:1"], "UPPER"),
        (["tag", "a:1", &format!("x@{first}")], "digest"),
    ] {
        let refusal = node.isula(&words).refused(1);
        assert!(refusal.contains(complaint), "{refusal}");
    }
    // By name: the name goes; with the last of them the image.
    assert_eq!(node.ok(&["rmi", "d:1"]), "Untagged: d:1\nImage \"d:1\" removed");
    let refusal = node.isula(&["rmi", &first]).refused(1);
    assert!(refusal.contains("-f") || refusal.contains("force"), "several names: {refusal}");
    node.ok(&["rmi", "b"]);
    node.ok(&["rmi", "host.example:5000/deep/c:x"]);
    let printed = node.ok(&["rmi", "a:1"]);
    assert_eq!(printed, format!("Untagged: a:1\nDeleted: {first}\nImage \"a:1\" removed"));
    let printed = node.ok(&["rmi", &second[7..20]]);
    assert!(printed.contains(&format!("Deleted: {second}")), "{printed}");
    let refusal = node.isula(&["rmi", "a:1"]).refused(1);
    assert!(refusal.contains("a:1"), "{refusal}");
    assert_nothing_of_images(&node);
    // Several at once: those that are there go.
    let third = loaded(&node, &["x:1", "y:1"], 3);
    let output = node.isula(&["rmi", "nothing", "x:1"]);
    assert_eq!(output.code(), 1);
    assert!(output.text().contains("Untagged: x:1"), "{output:?}");
    node.ok(&["tag", "y:1", "z:1"]);
    node.ok(&["rmi", "-f", &third]);
    assert_nothing_of_images(&node);
    node.assert_clean_end();
}

#[test]
fn in_use() {
    let node = node();
    let name = pushed(&BASIC, "in-use:1");
    node.ok(&["pull", &name]);
    node.ok(&["create", "--name", "c", &name]);
    let refusal = node.isula(&["rmi", &name]).refused(1);
    let container = node.inspect("c")["Id"].as_str().expect("it has an id").to_owned();
    assert!(refusal.contains(&container[..12]) || refusal.contains("`c`"), "its user is named: {refusal}");
    assert_eq!(id(&node, &name), BASIC.id());
    // Another name may go.
    node.ok(&["tag", &name, "other:1"]);
    node.ok(&["rmi", "other:1"]);
    // By force it loses its names, and is there as long as it is needed.
    node.ok(&["rmi", "-f", &name]);
    assert_eq!(listed(&node), [format!("<none>:<none> {}", BASIC.id())]);
    node.ok(&["start", "c"]);
    node.wait("c");
    node.isula(&["rmi", &BASIC.id()]).refused(1);
    assert!(!node.ok(&["image", "prune", "-f"]).contains("sha256:"));
    node.ok(&["rm", "c"]);
    node.ok(&["image", "prune", "-f"]);
    assert_nothing_of_images(&node);
    // A mounted image is in use too, or is unmounted with it.
    node.ok(&["pull", &name]);
    node.ok(&["image", "mount", &name]);
    let output = node.isula(&["rmi", &name]);
    assert!(output.code() == 0 || output.stderr.contains("mount"), "{}", output.stderr);
    node.remove_images();
    assert_nothing_of_images(&node);
    node.assert_clean_end();
}

#[test]
fn pruned() {
    let mut node = node();
    let name = pushed(&BASIC, "pruned:1");
    node.ok(&["pull", &name]);
    loaded(&node, &["a:1"], 1);
    loaded(&node, &["b:1"], 2);
    loaded(&node, &["a:1"], 3);
    node.ok(&["create", "--name", "c", &name]);
    // Without an answer there is no prune.
    let output = node.isula(&["image", "prune"]);
    assert_eq!(listed(&node).len(), 4, "{output:?}");
    let printed = node.ok(&["image", "prune", "-f"]);
    assert!(printed.contains("sha256:"), "{printed}");
    assert_eq!(listed(&node).len(), 3, "the one without a name is gone");
    let printed = node.ok(&["image", "prune", "-a", "-f", "--filter", "label=seed=2"]);
    assert!(printed.contains("b:1"), "{printed}");
    assert_eq!(listed(&node).len(), 2);
    node.restart();
    node.ok(&["image", "prune", "-a", "-f"]);
    assert_eq!(listed(&node), [format!("{name} {}", BASIC.id())], "the one that is used stays");
    node.ok(&["rm", "c"]);
    node.ok(&["image", "prune", "-af"]);
    assert_nothing_of_images(&node);
    node.assert_clean_end();
}

#[test]
fn layers_that_two_images_share() {
    let node = node();
    let image = noisy(40, &[100_000, 50_000]);
    let more = image.clone().tape(&noise("more", 30_000, 4000));
    let fewer = noisy(41, &[10]);
    // `more` is in the same layout, and has its name.
    let below = Image::empty(&images::scratch("below")).tape(&noise("4000", 100_000, 4000));
    let names = [pushed(&more, "shared:more"), pushed(&below, "shared:below"), pushed(&fewer, "shared:fewer")];
    names.iter().for_each(|name| drop(node.ok(&["pull", name])));
    assert_eq!(diff_ids(&node, &names[0])[0], diff_ids(&node, &names[1])[0], "made as meant");
    let read = |name: &str| {
        let view = node.ok(&["image", "mount", name]);
        let tree = integration::tree::read(view.as_ref());
        node.ok(&["image", "unmount", name]);
        tree
    };
    let before = read(&names[0]);
    node.ok(&["rmi", &names[1]]);
    integration::tree::assert_same(&read(&names[0]), &before);
    node.ok(&["pull", &names[1]]);
    let below = read(&names[1]);
    node.ok(&["rmi", &names[0]]);
    integration::tree::assert_same(&read(&names[1]), &below);
    node.ok(&["rmi", &names[1], &names[2]]);
    assert_nothing_of_images(&node);
    node.assert_clean_end();
}

#[test]
fn listed_filtered_and_formatted() {
    let node = node();
    let (a, b, c) = (loaded(&node, &["a:1", "repo/a:2"], 1), loaded(&node, &["b:1"], 2), loaded(&node, &["c:1"], 3));
    let table = node.ok(&["images"]);
    let head: Vec<&str> = table.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(head, ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]);
    let row = table.lines().find(|line| line.starts_with("b ")).expect("it is listed");
    let words: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(words[..3], ["b", "1", &b[7..19]]);
    assert!(words[3].len() == 10 && words[4].len() == 8, "a date and a time: {row}");
    assert!(words[5].ends_with('B') && words[5].contains('.'), "{row}");
    assert_eq!(table.lines().count(), 5);
    assert_eq!(node.ok(&["image", "ls"]), table);
    let filtered = |filters: &[&str]| {
        let flags: Vec<&str> = filters.iter().flat_map(|filter| ["-f", filter]).collect();
        let text = node.ok(&[&["images", "--format", "{{.Repository}}:{{.Tag}}"], flags.as_slice()].concat());
        let mut names: Vec<String> = text.lines().map(str::to_owned).collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(filtered(&["reference=a"]), "a:1");
    assert_eq!(filtered(&["reference=*:1"]), "a:1 b:1 c:1");
    assert_eq!(filtered(&["reference=repo/*"]), "repo/a:2");
    assert_eq!(filtered(&["label=seed"]), "a:1 b:1 c:1 repo/a:2");
    assert_eq!(filtered(&["label=seed=2"]), "b:1");
    assert_eq!(filtered(&["label=seed=2", "label=seed=3"]), "b:1 c:1", "of one key, either");
    assert_eq!(filtered(&["label=seed=2", "reference=a"]), "", "of different keys, all");
    assert_eq!(filtered(&["before=b:1"]), "a:1 repo/a:2");
    assert_eq!(filtered(&["since=b:1"]), "c:1");
    assert_eq!(filtered(&["dangling=true"]), "");
    let refusal = node.isula(&["images", "-f", "colour=blue"]);
    assert!(refusal.code() != 0 && refusal.stderr.contains("colour"), "{}", refusal.stderr);
    node.isula(&["images", "-f", "since=nothing:1"]).refused(1);

    let ids: Vec<String> = node.ok(&["images", "-q", "--no-trunc"]).lines().map(str::to_owned).collect();
    assert!([&a, &b, &c].iter().all(|id| ids.contains(id)), "{ids:?}");
    let rows = node.ok(&["images", "--format", "json", "-f", "reference=b"]);
    let row: serde_json::Value = serde_json::from_str(rows.lines().next().expect("there is one")).expect("it is JSON");
    assert_eq!((&row["Repository"], &row["Tag"]), (&json!("b"), &json!("1")));
    // An unambiguous beginning of its id identifies an image; a name comes first.
    assert_eq!(id(&node, &a[7..15]), a);
    node.ok(&["tag", "b:1", &format!("{}:latest", &a[7..15])]);
    assert_eq!(id(&node, &a[7..15]), b);
    node.isula(&["image", "inspect", "nothing"]).refused(1);
    node.assert_clean_end();
}

#[test]
fn history_as_it_was_built() {
    let node = node();
    let image = Image::empty(&images::scratch("history"))
        .tape(&noise("a", 1000, 1))
        .config(&["--config.env=A=b", "--history.created_by=the builder", "--history.comment=a word"])
        .tape(&noise("b", 2000, 2));
    let name = pushed(&image, "history:1");
    node.ok(&["pull", &name]);
    let text = node.ok(&["history", "--no-trunc", &name]);
    assert!(text.contains("the builder") && text.contains("a word") && text.contains(&image.id()), "{text}");
    let entries = image.configuration()["history"].as_array().expect("it has a history").len();
    assert_eq!(text.lines().count(), entries + 1, "{text}");
    assert_eq!(node.ok(&["history", "-q", "--no-trunc", &name]).lines().next(), Some(image.id().as_str()));
    // An image without a history.
    loaded(&node, &["plain:1"], 4);
    node.ok(&["history", "plain:1"]);
    node.isula(&["history", "nothing"]).refused(1);
    node.assert_clean_end();
}

//! Images: requests, output, pulls for new containers.

use cri_api::isula::v1::layer_progress::State;
use cri_api::isula::v1::pull_progress::Progress;
use cri_api::isula::v1::*;

use super::daemon::{DIGEST, Daemon, ID, Script, layer};
use super::{Outcome, bare, isula, outcome, play};

fn message(progress: Progress) -> PullProgress {
    PullProgress { progress: Some(progress) }
}

/// A pull of two layers, of which one is here.
pub(crate) fn pulled() -> Vec<PullProgress> {
    let (new, old) = (format!("sha256:{}", "1".repeat(64)), format!("sha256:{}", "2".repeat(64)));
    let size = |digest: &str| LayerSize { digest: digest.into(), size: 100 };
    let mut all = vec![
        message(Progress::Resolved(PullResolved { digest: DIGEST.into(), layers: vec![size(&new), size(&old)] })),
        message(Progress::Layer(layer(&old, State::Exists, 100, 100))),
    ];
    all.extend((0..100).map(|bytes| message(Progress::Layer(layer(&new, State::Pulling, bytes, 100)))));
    all.push(message(Progress::Layer(layer(&new, State::Retrying, 99, 100))));
    all.push(message(Progress::Layer(layer(&new, State::Storing, 100, 100))));
    all.push(message(Progress::Layer(layer(&new, State::Done, 100, 100))));
    all.push(message(Progress::Done(PullDone { id: DIGEST.into(), reference: "a@b".into(), up_to_date: false })));
    all
}

const PROGRESS: &str = "Image \"a\" pulling\n222222222222: Already exists\n111111111111: Pulling\n\
                        111111111111: Retrying\n111111111111: Pull complete\nImage \"a\" pulled\n";

fn pulling() -> Script {
    Script { pulled: pulled(), ..Script::default() }
}

#[test]
fn pull() {
    assert_eq!(play(pulling(), &["pull", "a"]).0, Outcome::of(0, "", PROGRESS));
    let (ended, asked) = play(pulling(), &["image", "pull", "-q", "--platform", "linux/arm64", "a"]);
    assert_eq!(ended, Outcome::of(0, &format!("{DIGEST}\n"), ""));
    let wanted = PullRequest { image: "a".into(), platform: "linux/arm64".into(), credentials: None };
    assert_eq!(asked, [format!("Pull {wanted:?}")]);
    let refused = Script { refused: [("a".into(), "no such name".into())].into(), ..Script::default() };
    let stderr = "Image \"a\" pulling\nError response from daemon: no such name\n";
    assert_eq!(play(refused, &["pull", "a"]).0, Outcome::of(1, "", stderr));
    // A stream that ends before its last message is no success.
    assert_eq!(play(Script::default(), &["pull", "-q", "a"]).0.code, Some(1));
}

#[test]
fn a_missing_image_is_pulled_for_a_new_container() {
    let missing = || Script { missing: vec!["a".into()], ..pulling() };
    let verbs = |asked: Vec<String>| -> Vec<String> {
        asked.iter().map(|one| one.split(' ').next().unwrap().to_owned()).collect()
    };
    let unable = format!("Unable to find image 'a' locally\n{PROGRESS}");
    let (ended, asked) = play(missing(), &["create", "a"]);
    assert_eq!(ended, Outcome::of(0, &format!("{ID}\n"), &unable));
    assert_eq!(verbs(asked), ["Create", "Pull", "Create"]);
    let (ended, asked) = play(missing(), &["run", "-d", "--pull=missing", "a"]);
    assert_eq!(
        (ended, verbs(asked)),
        (Outcome::of(0, &format!("{ID}\n"), &unable), ["Run", "Pull", "Run"].map(Into::into).into())
    );
    let (ended, asked) = play(missing(), &["create", "--pull", "always", "a"]);
    assert_eq!(ended, Outcome::of(0, &format!("{ID}\n"), PROGRESS));
    assert_eq!(verbs(asked), ["Pull", "Create"]);
    let (ended, asked) = play(missing(), &["create", "--pull=never", "a"]);
    assert_eq!(ended, Outcome::of(125, "", "Error response from daemon: No such image:a\n"));
    assert_eq!(verbs(asked), ["Create"]);
    assert_eq!(outcome(bare().args(["create", "--pull=perhaps", "a"])).code, Some(125));
    // A directory of the host is never pulled.
    assert_eq!(verbs(play(missing(), &["create", "--pull=always", "--external-rootfs=/r", "a"]).1), ["Create"]);
}

#[test]
fn requests_about_images() {
    let image = || "a".to_owned();
    let filter = |key: &str, value: &str| Filter { key: key.into(), value: value.into() };
    let cases: Vec<(&[&str], String, &str)> = vec![
        (&["tag", "a", "b:1"], format!("Tag {:?}", TagRequest { image: image(), name: "b:1".into() }), ""),
        (
            &["rmi", "-f", "a"],
            format!("RemoveImage {:?}", RemoveImageRequest { image: image(), force: true }),
            "Untagged: a:latest\nDeleted: sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\nImage \"a\" removed\n",
        ),
        (
            &["images", "-q", "-f", "dangling=true"],
            format!("ListImages {:?}", ListImagesRequest { filters: vec![filter("dangling", "true")] }),
            "",
        ),
        (&["history", "-q", "a"], format!("History {:?}", ImageRequest { image: image() }), ""),
        (&["image", "mount", "a"], format!("Mount {:?}", ImageRequest { image: image() }), "/views/a\n"),
        (&["image", "unmount", "a"], format!("Unmount {:?}", ImageRequest { image: image() }), ""),
        (
            &["image", "prune", "-f"],
            format!("PruneImages {:?}", PruneImagesRequest::default()),
            "Total reclaimed space: 1.500KB\n",
        ),
        (
            &["logout", "host:5000"],
            format!("Logout {:?}", LogoutRequest { server: "host:5000".into() }),
            "Logout Succeeded\n",
        ),
    ];
    for (words, wanted, stdout) in cases {
        let (ended, asked) = play(Script::default(), words);
        assert_eq!((ended, asked), (Outcome::of(0, stdout, ""), vec![wanted]), "{words:?}");
    }
    let refused = Script { refused: [("b".into(), "in use".into())].into(), ..Script::default() };
    let (ended, asked) = play(refused, &["image", "rm", "b", "a"]);
    assert_eq!((ended.code, ended.stderr.as_str(), asked.len()), (Some(1), "Error response from daemon: in use\n", 2));
}

#[test]
fn a_prune_asks_first() {
    let (ended, asked) = play(Script::default(), &["image", "prune", "-a"]);
    assert_eq!((ended.code, asked.len()), (Some(1), 0), "{ended:?}");
    assert!(ended.stderr.contains("WARNING! This will remove all images that no container uses."), "{ended:?}");
    let all = play(Script::default(), &["image", "prune", "-af"]).0.stdout;
    assert_eq!(all, format!("Deleted Images:\nUntagged: a:1\nDeleted: {DIGEST}\n\nTotal reclaimed space: 1.500KB\n"));
}

#[test]
fn tables() {
    let images = vec![
        ImageSummary { id: format!("sha256:{}", "b".repeat(64)), size: 7, ..ImageSummary::default() },
        ImageSummary {
            id: format!("sha256:{}", "a".repeat(64)),
            tags: vec!["busybox:latest".into()],
            size: 12_944_671,
            created_at: 1_136_214_245_000_000_000,
            ..ImageSummary::default()
        },
    ];
    let wanted = "REPOSITORY\tTAG   \tIMAGE ID    \tCREATED            \tSIZE    \n\
                  busybox   \tlatest\taaaaaaaaaaaa\t2006-01-02 15:04:05\t12.345MB\n\
                  <none>    \t<none>\tbbbbbbbbbbbb\t-                  \t7B      \n";
    let script = Script { images, ..Script::default() };
    for words in [&["images"][..], &["image", "ls"], &["images", "--format=table"]] {
        assert_eq!(play(script.clone(), words).0, Outcome::of(0, wanted, ""), "{words:?}");
    }
    let history = vec![
        HistoryEntry { id: DIGEST.into(), created_by: "RUN a\n\tb".into(), size: 1, ..HistoryEntry::default() },
        HistoryEntry { created_by: "x".repeat(50), comment: "c".into(), ..HistoryEntry::default() },
    ];
    let wanted = format!(
        "IMAGE       \tCREATED\t{:45}\tSIZE\tCOMMENT\naaaaaaaaaaaa\t-      \t{:45}\t1B  \t       \n<missing>   \t-      \t{}...\t0B  \tc      \n",
        "CREATED BY",
        r"RUN a\n\tb",
        "x".repeat(42)
    );
    assert_eq!(play(Script { history, ..Script::default() }, &["history", "a"]).0, Outcome::of(0, &wanted, ""));
}

#[test]
fn inspect_finds_containers_then_images_then_volumes() {
    let one = |name: &str, kind: &str| [(name.to_owned(), format!("{{\"Kind\":\"{kind}\"}}"))].into();
    let mut script = Script { details: one("a", "container"), volume_details: one("v", "volume"), ..Script::default() };
    script.image_details = one("a", "image");
    script.image_details.insert("i".into(), "{\"Kind\":\"image\"}".into());
    let shown = |words: &[&str]| play(script.clone(), words).0;
    assert_eq!(shown(&["inspect", "-f={{.Kind}}", "a", "i", "v"]), Outcome::of(0, "container\nimage\nvolume\n", ""));
    for words in [&["inspect", "--type=image", "-f={{.Kind}}", "a"][..], &["image", "inspect", "-f={{.Kind}}", "a"]] {
        assert_eq!(shown(words), Outcome::of(0, "image\n", ""), "{words:?}");
    }
    let gone = "Error response from daemon: No such volume:a\n";
    assert_eq!(shown(&["volume", "inspect", "a"]), Outcome::of(1, "", gone));
    assert_eq!(shown(&["inspect", "--type", "bogus", "a"]).code, Some(125));
}

#[test]
fn groups_explain_themselves() {
    for words in [&["image", "--help"][..], &["image"], &["help", "image"]] {
        let help = outcome(bare().args(words));
        assert!(help.code == Some(0) && help.stdout.contains("  unmount "), "{help:?}");
    }
    for words in [&["image", "rm", "--help"][..], &["help", "image", "rm"], &["image", "help", "rm"]] {
        let help = outcome(bare().args(words));
        assert!(help.stdout.contains("Usage: isula image rm [OPTIONS] IMAGE [IMAGE...]"), "{help:?}");
    }
    let ended = outcome(bare().args(["image", "bogus"]));
    assert_eq!(ended, Outcome::of(1, "", "isula: 'image bogus' is not an isula command.\nSee 'isula image --help'.\n"));
    let ended = outcome(bare().args(["image", "tag", "a"]));
    assert_eq!(ended.stderr, "\"image tag\" requires exactly 2 arguments.\nSee 'isula image tag --help'.\n");
    let daemon = Daemon::start(Script::default());
    for words in [&["-H", &daemon.host(), "image", "ls", "-q"][..], &["image", "-H", &daemon.host(), "ls", "-q"]] {
        assert_eq!(outcome(bare().args(words)), Outcome::of(0, "", ""), "{words:?}");
    }
    let script = outcome(bare().args(["completion", "bash"])).stdout;
    assert!(script.contains("isula__subcmd__image__subcmd__prune") || script.contains("isula__image__prune"));
}

#[test]
fn login_without_a_terminal() {
    let daemon = Daemon::start(Script { refused: [("bad".into(), "denied".into())].into(), ..Script::default() });
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "hush\n").unwrap();
    let run = |words: &[&str]| {
        let stdin = std::fs::File::open(secret.path()).unwrap();
        outcome(isula(&daemon).arg("login").args(words).stdin(stdin))
    };
    assert_eq!(run(&["-u", "me", "--password-stdin", "h"]), Outcome::of(0, "Login Succeeded\n", ""));
    let wanted = LoginRequest { server: "h".into(), username: "me".into(), password: "hush".into() };
    assert_eq!(daemon.asked(), [format!("Login {wanted:?}")]);
    let plain = run(&["-u=me", "-p=hush"]);
    assert!(plain.code == Some(0) && plain.stderr.starts_with("WARNING! Using --password is insecure"), "{plain:?}");
    daemon.asked();
    for words in [
        &["-u=me"][..],
        &["--password-stdin"],
        &["-u=me", "-phush", "--password-stdin"],
        &["-phush", "a", "b"],
        &["-u=", "-phush"],
    ] {
        let ended = run(words);
        assert_eq!((ended.code, ended.stderr.contains("hush")), (Some(125), false), "{words:?} {ended:?}");
    }
    assert_eq!(daemon.asked(), [""; 0]);
    assert_eq!(run(&["-u=bad", "--password-stdin"]), Outcome::of(1, "", "Error response from daemon: denied\n"));
}

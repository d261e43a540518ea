use proptest::prelude::*;

use super::*;

const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn of(text: &str) -> Reference {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn names_become_whole_and_are_shown_short() {
    let long = format!("a/b@sha256:{HEX}");
    let both = format!("a:1@sha256:{HEX}");
    for (text, whole, short) in [
        ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("user/app", "docker.io/user/app:latest", "user/app:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("index.docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("docker.io/library/x/y", "docker.io/library/x/y:latest", "library/x/y:latest"),
        ("host:5000/a/b:tag", "host:5000/a/b:tag", "host:5000/a/b:tag"),
        ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
        ("Upper/x", "Upper/x:latest", "Upper/x:latest"),
        ("quay.io/x", "quay.io/x:latest", "quay.io/x:latest"),
        ("[::1]:5000/x:y", "[::1]:5000/x:y", "[::1]:5000/x:y"),
        ("[fe80::1]/x", "[fe80::1]/x:latest", "[fe80::1]/x:latest"),
        ("host:5000", "docker.io/library/host:5000", "host:5000"),
        ("docker.io/a.b/c", "docker.io/a.b/c:latest", "docker.io/a.b/c:latest"),
        ("a__b--c.d_e", "docker.io/library/a__b--c.d_e:latest", "a__b--c.d_e:latest"),
        (&long, &format!("docker.io/a/b@sha256:{HEX}"), &long),
        (&both, &format!("docker.io/library/a:1@sha256:{HEX}"), &both),
    ] {
        let reference = of(text);
        assert_eq!((reference.to_string().as_str(), reference.familiar().as_str()), (whole, short), "{text}");
    }
}

#[test]
fn invalid_names_are_refused_with_a_reason() {
    let hex_tagged = format!("{HEX}:latest");
    let tag = format!("a:{}", "t".repeat(129));
    let repository = format!("h.x/{}", "r".repeat(256));
    let upper_digest = format!("a@sha256:{}", HEX.to_uppercase());
    for (text, why) in [
        ("", "empty"),
        ("Busybox", "lower case"),
        ("a//b", "empty component"),
        ("/a", "empty component"),
        ("a/", "empty component"),
        ("localhost/", "no repository"),
        ("a:", "tag is empty"),
        (":tag", "no repository"),
        ("a:-x", "not a tag"),
        ("a: x", "not a tag"),
        ("a:b:c", "not a component"),
        ("a/b:c/d", "not a component"),
        ("a..b", "not a component"),
        ("a___b", "not a component"),
        ("-a", "not a component"),
        ("a-", "not a component"),
        ("ä", "not a component"),
        ("a b", "not a component"),
        ("h.x:0/a", "not a port"),
        ("h.x:65536/a", "not a port"),
        ("h.x:+1/a", "not a port"),
        ("h.x:/a", "not a port"),
        ("-h.x/a", "not a host name"),
        ("h..x/a", "not a host name"),
        ("0_a.a/a", "not a host name"),
        ("http://h.x/a", "not a port"),
        ("[::1/a", "closing"),
        ("[::g]/a", "IPv6"),
        ("[::1]x/a", "after"),
        ("a@sha512:00", "only sha256"),
        ("a@sha256:00", "64"),
        ("a@", "only sha256"),
        (HEX, "an id"),
        (&hex_tagged, "an id"),
        (&tag, "128"),
        (&repository, "255"),
        (&upper_digest, "64"),
    ] {
        let error = text.parse::<Reference>().expect_err(text).to_string();
        assert!(
            error.contains(why) && error.starts_with(&format!("`{}", &text[..text.len().min(9)])),
            "{text}: {error}"
        );
    }
    assert!("x".repeat(5000).parse::<Reference>().unwrap_err().to_string().len() < 400);
}

#[test]
fn limits_are_reached() {
    assert_eq!(of(&format!("a:{}", "t".repeat(128))).tag().unwrap().len(), 128);
    assert_eq!(of(&format!("h.x/{}", "r".repeat(255))).repository().len(), 255);
    assert_eq!(of("h.x:65535/a").registry(), "h.x:65535");
}

#[test]
fn parts_can_be_taken_and_replaced() {
    let digest = Digest([7; 32]);
    let reference = of("h.x:1/a/b:t");
    assert_eq!(reference.repository_name(), "h.x:1/a/b");
    assert_eq!(reference.with_digest(digest).to_string(), format!("h.x:1/a/b@{digest}"));
    assert_eq!(reference.with_digest(digest).tagged(), None);
    let both = of(&format!("h.x:1/a/b:t@{digest}"));
    assert_eq!((both.tag(), both.digest()), (Some("t"), Some(&digest)));
    assert_eq!(both.tagged(), Some(reference));
}

fn name() -> impl Strategy<Value = String> {
    let component = "[a-z0-9]{1,8}((\\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}";
    let host = "([a-z0-9]{1,8}\\.[a-z]{2,3}|localhost|[A-Z][a-z]{0,3}|\\[::[1-9a-f]{1,4}\\])(:[1-9][0-9]{0,3})?/";
    let digest = "[0-9a-f]{64}";
    let tag = "[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}";
    (
        proptest::option::of(host),
        proptest::collection::vec(component, 1..4),
        proptest::option::of(tag),
        proptest::option::of(digest),
    )
        .prop_map(|(host, mut path, tag, digest)| {
            // A dot before the first slash would make a host of it.
            if host.is_none() && path.len() > 1 {
                path[0] = path[0].replace('.', "-");
            }
            let tag = tag.map_or(String::new(), |tag| format!(":{tag}"));
            let digest = digest.map_or(String::new(), |digest| format!("@sha256:{digest}"));
            format!("{}{}{tag}{digest}", host.unwrap_or_default(), path.join("/"))
        })
}

proptest! {
    #[test]
    fn both_spellings_lead_back(text in name()) {
        let reference: Reference = text.parse().unwrap();
        prop_assert_eq!(&reference.to_string().parse::<Reference>().unwrap(), &reference);
        prop_assert_eq!(&reference.familiar().parse::<Reference>().unwrap(), &reference);
        prop_assert!(reference.tag().is_some() || reference.digest().is_some());
    }

    #[test]
    fn no_text_is_too_odd(text in "\\PC{0,256}", bytes in proptest::collection::vec(any::<u8>(), 0..1024)) {
        for text in [text, String::from_utf8_lossy(&bytes).into_owned()] {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(&reference.to_string().parse::<Reference>().unwrap(), &reference);
                prop_assert_eq!(&reference.familiar().parse::<Reference>().unwrap(), &reference);
            }
        }
    }

    #[test]
    fn no_arrangement_of_separators_is_too_odd(text in "[a-zA0-1./:@_\\[\\]-]{0,40}") {
        if let Ok(reference) = text.parse::<Reference>() {
            prop_assert_eq!(&reference.to_string().parse::<Reference>().unwrap(), &reference);
            prop_assert_eq!(&reference.familiar().parse::<Reference>().unwrap(), &reference);
        }
    }
}

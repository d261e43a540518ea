use super::*;
use crate::manifest::{CONFIG_LIMIT, Document, MANIFEST_LIMIT};

#[tokio::test]
async fn a_name_becomes_a_document() {
    let fake = Fake::new(|_| manifest_reply().with("Docker-Content-Digest", &digest_of(&manifest()).to_string())).await;
    let resolved = resolve(&registry(), &name(&fake)).await.unwrap();
    assert_eq!(resolved.digest, digest_of(&manifest()));
    assert_eq!((resolved.bytes, resolved.media_type.as_str()), (manifest(), OCI_MANIFEST));
    assert!(matches!(resolved.document, Document::Manifest(_)));
    assert_eq!(resolved.source.host(), fake.address.to_string());
    let asked = &fake.asked()[0];
    assert_eq!(asked.path, "/v2/a/b/manifests/t");
    for media_type in ["oci.image.index", "oci.image.manifest", "docker.distribution.manifest.list", "manifest.v2"] {
        assert!(asked.header("accept").unwrap().contains(media_type), "{asked:?}");
    }
    assert!(asked.header("user-agent").unwrap().starts_with("isulad/"));
}

#[tokio::test]
async fn digests_are_compared() {
    let digest = digest_of(&manifest());
    let fake = Fake::new(|_| manifest_reply()).await;
    let by_digest = format!("{}/a/b:other@{digest}", fake.address);
    assert_eq!(resolve(&registry(), &by_digest).await.unwrap().digest, digest);
    assert_eq!(fake.asked()[0].path, format!("/v2/a/b/manifests/{digest}"));

    let other = digest_of(b"other");
    let error = error_text(resolve(&registry(), &format!("{}/a/b@{other}", fake.address)).await);
    assert!(error.contains(&digest.to_string()) && error.contains(&other.to_string()), "{error}");

    let fake = Fake::new(move |_| manifest_reply().with("Docker-Content-Digest", &other.to_string())).await;
    let error = error_text(resolve(&registry(), &name(&fake)).await);
    assert!(error.contains(&digest.to_string()) && error.contains(&other.to_string()), "{error}");
    assert_eq!(fake.asked().len(), 1, "it would be the same again");
}

#[tokio::test]
async fn passing_failures_pass() {
    let fake = Fake::new(|asked| match asked.before {
        0 | 1 => Reply::new(500, "<html>"),
        2 => Reply::new(429, "").with("Retry-After", "7"),
        3 => manifest_reply().broken_after(20),
        4 => manifest_reply().stalled_after(20),
        _ => manifest_reply(),
    })
    .await;
    assert_eq!(resolve(&impatient(), &name(&fake)).await.unwrap().bytes, manifest());
    assert_eq!(fake.asked().len(), 6);

    let fake = Fake::new(|_| Reply::new(502, r#"{"errors":[{"code":"X","message":"storage is away"}]}"#)).await;
    let error = error_text(resolve(&registry(), &name(&fake)).await);
    assert!(error.contains("502") && error.contains("storage is away"), "{error}");
    assert_eq!(fake.asked().len(), 6);
}

#[tokio::test]
async fn lasting_failures_are_not_retried() {
    for (status, body, expected) in [
        (404, "", "does not have"),
        (403, r#"{"errors":[{"code":"DENIED","message":"not yours"}]}"#, "not yours"),
        (400, "", "answers 400"),
        (204, "", "cannot be used"),
        (200, "garbage", "cannot be used"),
        (200, r#"{"schemaVersion":1}"#, "schema 1"),
    ] {
        let fake = Fake::new(move |_| Reply::new(status, body)).await;
        let error = error_text(resolve(&registry(), &name(&fake)).await);
        assert!(error.contains(expected) && error.contains(&fake.address.to_string()), "{status}: {error}");
        assert_eq!(fake.asked().len(), 1);
    }
}

#[tokio::test]
async fn a_refused_connection_is_not_retried() {
    let fake = Fake::new(|_| manifest_reply()).await;
    let (unreachable, address) = (name(&fake), fake.address.to_string());
    drop(fake);
    // The listener closes when its task has ended; the port is not given to others meanwhile.
    tokio::task::yield_now().await;
    let error = error_text(resolve(&registry(), &unreachable).await);
    assert!(error.contains("cannot reach") && error.contains(&address) && error.contains("refused"), "{error}");
}

#[tokio::test]
async fn a_manifest_has_a_limit_with_and_without_a_content_length() {
    let long = vec![b' '; MANIFEST_LIMIT as usize + 1];
    for with_length in [true, false] {
        let reply = Reply::ok(long.clone());
        let reply = if with_length { reply } else { reply.without_length() };
        let fake = Fake::new(move |_| reply.clone()).await;
        let error = error_text(resolve(&registry(), &name(&fake)).await);
        assert!(error.contains("more than 4194304 bytes"), "{error}");
        assert_eq!(fake.asked().len(), 1);
    }
}

#[tokio::test]
async fn documents_below_are_verified() {
    let fake = Fake::new(|asked| match asked.path.rsplit('/').next().unwrap() {
        "t" => manifest_reply(),
        path if path == describe(b"right").digest.to_string() => Reply::ok("right"),
        _ => Reply::ok("wrong"),
    })
    .await;
    let registry = registry();
    let source = resolve(&registry, &name(&fake)).await.unwrap().source;
    assert_eq!(registry.manifest(&source, &describe(b"right")).await.unwrap(), b"right");
    assert_eq!(registry.small_blob(&source, &describe(b"right"), CONFIG_LIMIT).await.unwrap(), b"right");
    let error = error_text(registry.small_blob(&source, &describe(b"night"), CONFIG_LIMIT).await);
    assert!(error.contains("instead of"), "{error}");
    for length in ["wron", "wrong!"] {
        assert!(registry.manifest(&source, &describe(length.as_bytes())).await.is_err());
    }
    let before = fake.asked().len();
    let error = error_text(registry.small_blob(&source, &describe(b"right"), 4).await);
    assert!(error.contains("more than 4 bytes") && fake.asked().len() == before, "{error}");
}

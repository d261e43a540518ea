use super::blobs::receive_from;
use super::*;

fn with_mirrors(mirrors: &[&Fake]) -> Registry {
    let mut settings = settings(Path::new("/nonexistent"));
    settings.mirrors = mirrors.iter().map(|fake| format!("http://{}/hub", fake.address).parse().unwrap()).collect();
    Registry::new(settings)
}

#[tokio::test]
async fn the_next_mirror_is_asked_when_one_has_nothing() {
    for status in [404, 401, 403, 500] {
        let empty = Fake::new(move |_| Reply::new(status, "")).await;
        let full = Fake::new(|_| manifest_reply()).await;
        let resolved = resolve(&with_mirrors(&[&empty, &full]), "busybox:1").await.unwrap();
        assert_eq!(resolved.source.host(), full.address.to_string());
        assert_eq!(full.asked()[0].path, "/hub/v2/library/busybox/manifests/1");
        assert_eq!(empty.asked().len(), if status == 500 { 2 } else { 1 }, "not for long when others are left");
    }
}

#[tokio::test]
async fn a_wrong_or_useless_answer_is_none() {
    let digest = digest_of(&manifest());
    let wrong = Fake::new(|_| Reply::ok("{}")).await;
    let full = Fake::new(|_| manifest_reply()).await;
    for name in ["busybox".to_owned(), format!("busybox@{digest}")] {
        let resolved = resolve(&with_mirrors(&[&wrong, &full]), &name).await.unwrap();
        assert_eq!(resolved.source.host(), full.address.to_string());
    }
}

#[tokio::test]
async fn content_that_the_first_lacks_comes_from_the_next() {
    const SIZE: usize = 200 << 10;
    let first = with_blobs(|asked| match asked.before {
        0 if asked.path.ends_with(&digest_of(&content(SIZE)).to_string()) => {
            Reply::ok(content(SIZE)).broken_after(1000)
        }
        _ => Reply::new(404, ""),
    })
    .await;
    let second = with_blobs(|asked| match asked.range() {
        Some(from) => Reply::part(&content(SIZE), from),
        None => Reply::ok("config"),
    })
    .await;
    let registry = with_mirrors(&[&first, &second]);
    let source = resolve(&registry, "busybox").await.unwrap().source;
    assert_eq!(source.host(), first.address.to_string());
    assert_eq!(registry.small_blob(&source, &describe(b"config"), 10).await.unwrap(), b"config");
    let (received, _) = receive_from(&registry, &source, &describe(&content(SIZE))).await;
    assert!(received.unwrap() == content(SIZE));
    assert_eq!(second.asked().last().unwrap().range(), Some(1000));
}

#[tokio::test]
async fn credentials_that_were_given_are_not_for_mirrors() {
    let mirror = Fake::new(|asked| match asked.header("authorization") {
        None => Reply::new(401, "").with("WWW-Authenticate", "Basic"),
        Some(_) => panic!("a mirror was asked"),
    })
    .await;
    let other = Fake::new(|_| manifest_reply()).await;
    let credentials = Credentials::password("me", "geheim");
    let name = "busybox".parse().unwrap();
    with_mirrors(&[&mirror, &other]).resolve(&name, Some(&credentials)).await.unwrap();
    assert_eq!(mirror.asked().len(), 1);
}

#[tokio::test]
async fn a_failure_everywhere_quotes_all_endpoints() {
    let remote = |endpoint, port| {
        let base = format!("http://127.0.0.1:{port}/").parse().unwrap();
        let transports = Arc::new(transport::Transports::new(Arc::new(settings(Path::new("/nonexistent")))));
        Arc::new(remote::Remote::new(transports, remote::Place { base, endpoint, attempts: 0 }, None, None))
    };
    let remotes = [remote(0, 1), remote(1, 2)];
    let not_found = |host: &str| RegistryError::NotFound { host: host.to_owned(), what: "`x`".to_owned() };
    let ask = |remote: Arc<remote::Remote>| {
        let error = not_found(&remote.host());
        async move { Err::<(), _>(error) }
    };
    let error = source::first_answer(&remotes, "`x`", ask).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("127.0.0.1:1") && text.contains("127.0.0.1:2"), "{text}");
    assert!(matches!(error, RegistryError::NoEndpoint { last, .. } if matches!(*last, RegistryError::NotFound { .. })));

    // A registry that answers over TLS is not asked without it.
    let remotes = [remote(0, 1), remote(0, 2)];
    let error = source::first_answer(&remotes, "`x`", ask).await.unwrap_err();
    assert_eq!(error.to_string(), "`127.0.0.1:1` does not have `x`");

    // One that does not answer over TLS is asked without it, and that answer counts.
    let stalled = |host| RegistryError::Stalled { host, what: "`x`".to_owned(), after: Duration::ZERO };
    let ask = |remote: Arc<remote::Remote>| {
        let host = remote.host();
        let error = if host.ends_with(":1") { stalled(host) } else { not_found(&host) };
        async move { Err::<(), _>(error) }
    };
    let error = source::first_answer(&remotes, "`x`", ask).await.unwrap_err();
    assert_eq!(error.to_string(), "`127.0.0.1:2` does not have `x`");
    let ask = |remote: Arc<remote::Remote>| {
        let error = stalled(remote.host());
        async move { Err::<(), _>(error) }
    };
    let error = source::first_answer(&remotes, "`x`", ask).await.unwrap_err();
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
}

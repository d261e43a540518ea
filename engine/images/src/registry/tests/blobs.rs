use std::sync::Mutex;

use super::*;

const SIZE: usize = 400 << 10;

/// The received content, and the further attempts as their listener gets them: number and bytes so far.
async fn receive(fake: &Fake, descriptor: &Descriptor) -> (Result<Vec<u8>, RegistryError>, Vec<(u32, u64)>) {
    receive_with(&registry(), fake, descriptor).await
}

async fn receive_with(
    registry: &Registry,
    fake: &Fake,
    descriptor: &Descriptor,
) -> (Result<Vec<u8>, RegistryError>, Vec<(u32, u64)>) {
    let source = resolve(registry, &name(fake)).await.unwrap().source;
    receive_from(registry, &source, descriptor).await
}

pub(super) async fn receive_from(
    registry: &Registry,
    source: &Source,
    descriptor: &Descriptor,
) -> (Result<Vec<u8>, RegistryError>, Vec<(u32, u64)>) {
    let retries: Arc<Mutex<Vec<(u32, u64)>>> = Arc::default();
    let noted = retries.clone();
    let mut blob = registry
        .blob(source, descriptor)
        .on_retry(move |retry| noted.lock().unwrap().push((retry.attempt, retry.received)));
    let mut bytes = Vec::new();
    let mut outcome = Ok(());
    while let Some(next) = blob.next().await {
        match next {
            Ok(next) => {
                assert!(!next.is_empty());
                bytes.extend_from_slice(&next);
            }
            Err(error) => outcome = Err(error),
        }
    }
    assert!(blob.next().await.is_none(), "over is over");
    assert_eq!(blob.received(), bytes.len() as u64);
    let retries = retries.lock().unwrap().clone();
    (outcome.map(|()| bytes), retries)
}

fn ranges(fake: &Fake) -> Vec<Option<usize>> {
    fake.asked().iter().filter(|asked| asked.path.contains("/blobs/")).map(Asked::range).collect()
}

fn part(asked: &Asked, content: &[u8]) -> Reply {
    asked.range().map_or_else(|| Reply::ok(content), |from| Reply::part(content, from))
}

#[tokio::test]
async fn a_blob_arrives_whole_and_an_empty_one_is_not_asked_for() {
    let fake = with_blobs(|asked| part(asked, &content(SIZE))).await;
    let (received, retries) = receive(&fake, &describe(&content(SIZE))).await;
    assert!(received.unwrap() == content(SIZE) && retries.is_empty());
    assert_eq!(receive(&fake, &describe(b"")).await.0.unwrap(), b"");
    assert_eq!(fake.count("/blobs/"), 1);
    assert!(fake.asked().iter().all(|asked| asked.header("accept-encoding") == Some("identity")));
}

#[tokio::test]
async fn a_broken_connection_is_resumed_where_it_broke() {
    let fake = with_blobs(|asked| part(asked, &content(SIZE)).broken_after(100 << 10)).await;
    let (received, retries) = receive(&fake, &describe(&content(SIZE))).await;
    assert!(received.unwrap() == content(SIZE));
    let breaks = [100 << 10, 200 << 10, 300 << 10];
    assert_eq!(ranges(&fake), [None, Some(breaks[0]), Some(breaks[1]), Some(breaks[2])]);
    assert_eq!(retries, breaks.map(|bytes| (1, bytes as u64)), "there was progress each time");
}

#[tokio::test]
async fn a_stalled_connection_is_given_up_and_resumed() {
    let fake = with_blobs(|asked| match asked.before {
        0 => part(asked, &content(SIZE)).stalled_after(1000),
        _ => part(asked, &content(SIZE)),
    })
    .await;
    let (received, retries) = receive_with(&impatient(), &fake, &describe(&content(SIZE))).await;
    assert!(received.unwrap() == content(SIZE));
    assert_eq!((ranges(&fake), retries), (vec![None, Some(1000)], vec![(1, 1000)]));
}

#[tokio::test]
async fn without_progress_it_ends_after_five_further_attempts() {
    let fake = with_blobs(|asked| part(asked, &content(SIZE)).broken_after(10)).await;
    let (received, retries) = receive(&fake, &describe(&content(SIZE))).await;
    let error = error_text(received);
    assert!(error.contains(&fake.address.to_string()) && error.contains("blob sha256:"), "{error}");
    assert_eq!(retries, [(1, 10), (2, 20), (3, 30), (4, 40), (5, 50)]);
    assert_eq!(ranges(&fake).len(), 6);
}

#[tokio::test]
async fn a_server_without_ranges_sends_all_again() {
    let fake = with_blobs(|asked| match asked.before {
        0 => Reply::ok(content(SIZE)).broken_after(70_000),
        1 => Reply::ok(content(SIZE)).broken_after(150_000),
        _ => Reply::ok(content(SIZE)),
    })
    .await;
    let (received, retries) = receive(&fake, &describe(&content(SIZE))).await;
    assert!(received.unwrap() == content(SIZE));
    assert_eq!(retries, [(1, 70_000), (1, 150_000)]);
}

#[tokio::test]
async fn a_range_that_is_refused_is_not_asked_for_again() {
    let fake = with_blobs(|asked| match (asked.before, asked.range()) {
        (0, _) => Reply::ok(content(SIZE)).broken_after(70_000),
        (_, Some(_)) => Reply::new(416, ""),
        (_, None) => Reply::ok(content(SIZE)),
    })
    .await;
    assert!(receive(&fake, &describe(&content(SIZE))).await.0.unwrap() == content(SIZE));
    assert_eq!(ranges(&fake), [None, Some(70_000), None]);
}

#[tokio::test]
async fn a_shorter_range_than_asked_for_is_continued() {
    let fake = with_blobs(|asked| match (asked.before, asked.range()) {
        (_, None) => Reply::ok(content(SIZE)).broken_after(70_000),
        (1, Some(from)) => {
            let range = format!("bytes {from}-{}/{SIZE}", from + 99_999);
            Reply::new(206, &content(SIZE)[from..from + 100_000]).with("Content-Range", &range)
        }
        (_, Some(from)) => Reply::part(&content(SIZE), from),
    })
    .await;
    assert!(receive(&fake, &describe(&content(SIZE))).await.0.unwrap() == content(SIZE));
    assert_eq!(ranges(&fake), [None, Some(70_000), Some(170_000)]);
}

#[tokio::test]
async fn the_wrong_part_is_refused() {
    for range in ["bytes 0-10/20", "bytes 70001-409599/409600", "", "items 70000-1/2"] {
        let fake = with_blobs(move |asked| match asked.before {
            0 => Reply::ok(content(SIZE)).broken_after(70_000),
            _ => Reply::new(206, "elsewhere").with("Content-Range", range),
        })
        .await;
        let error = error_text(receive(&fake, &describe(&content(SIZE))).await.0);
        assert!(error.contains("70000") && error.contains(range), "{error}");
        assert_eq!(ranges(&fake).len(), 2);
    }
}

#[tokio::test]
async fn a_wrong_content_length_is_refused_before_reading() {
    for (sent, expected) in [(SIZE + 1, SIZE), (SIZE - 1, SIZE)] {
        let fake = with_blobs(move |_| Reply::ok(content(sent))).await;
        let error = error_text(receive(&fake, &describe(&content(expected))).await.0);
        assert!(error.contains(&sent.to_string()) && error.contains(&expected.to_string()), "{error}");
        assert_eq!(ranges(&fake).len(), 1);
    }
}

#[tokio::test]
async fn without_a_length_the_bytes_are_counted() {
    let fake = with_blobs(|_| Reply::ok(content(SIZE)).without_length()).await;
    assert!(receive(&fake, &describe(&content(SIZE))).await.0.unwrap() == content(SIZE));

    let fake = with_blobs(|_| Reply::ok(content(SIZE + 1)).without_length()).await;
    let error = error_text(receive(&fake, &describe(&content(SIZE))).await.0);
    assert!(error.contains(&format!("more than {SIZE} bytes")), "{error}");

    let fake = with_blobs(|_| Reply::ok(content(1000)).without_length()).await;
    let error = error_text(receive(&fake, &describe(&content(SIZE))).await.0);
    assert!(error.contains(&format!("only 1000 of {SIZE} bytes")), "{error}");
}

#[tokio::test]
async fn a_busy_server_is_obeyed_within_limits() {
    let fake = with_blobs(|asked| match asked.before {
        0 => Reply::new(429, "").with("Retry-After", "3600"),
        1 => Reply::new(503, ""),
        _ => part(asked, &content(10)),
    })
    .await;
    let (received, retries) = receive(&fake, &describe(&content(10))).await;
    assert!(received.unwrap() == content(10));
    assert_eq!(retries, [(1, 0), (2, 0)]);
}

#[tokio::test]
async fn a_missing_blob_is_asked_for_once() {
    let fake = with_blobs(|_| Reply::new(404, "")).await;
    let error = error_text(receive(&fake, &describe(&content(10))).await.0);
    assert!(error.contains("does not have blob"), "{error}");
    assert_eq!(ranges(&fake).len(), 1);
}

#[tokio::test]
async fn redirects_drop_the_authorization() {
    let storage = Fake::new(|asked| part(asked, &content(SIZE)).broken_after(300_000)).await;
    let target = format!("http://{}/signed?signature=geheim", storage.address);
    let fake = with_blobs(move |asked| match asked.header("authorization") {
        Some(_) => Reply::new(307, "").with("Location", &target),
        None => Reply::new(401, "").with("WWW-Authenticate", r#"Basic realm="x""#),
    })
    .await;
    let registry = registry();
    let credentials = Credentials::password("me", "geheim");
    let resolved = registry.resolve(&name(&fake).parse().unwrap(), Some(&credentials)).await.unwrap();
    let (received, _) = receive_from(&registry, &resolved.source, &describe(&content(SIZE))).await;
    assert!(received.unwrap() == content(SIZE));
    let asked = storage.asked();
    assert_eq!(asked.iter().map(Asked::range).collect::<Vec<_>>(), [None, Some(300_000)]);
    assert!(asked.iter().all(|asked| asked.header("authorization").is_none()));
    assert_eq!(fake.count("/blobs/"), 3, "asked, asked with authorization, resumed");

    // A refusal by storage is reported without its address.
    let storage = Fake::new(|_| Reply::new(403, "")).await;
    let target = format!("http://{}/signed?signature=geheim", storage.address);
    let fake = with_blobs(move |_| Reply::new(302, "").with("Location", &target)).await;
    let error = error_text(receive(&fake, &describe(&content(SIZE))).await.0);
    assert!(error.contains(&storage.address.to_string()) && !error.contains("geheim"), "{error}");
}

#[tokio::test]
async fn redirects_end() {
    let fake = with_blobs(|asked| Reply::new(302, "").with("Location", &asked.path)).await;
    let error = error_text(receive(&fake, &describe(&content(SIZE))).await.0);
    assert!(error.contains("more than 10 times"), "{error}");
    for (target, problem) in [("file:///etc/shadow", "file address"), ("http://", "nowhere"), ("", "more than 10")] {
        let fake = with_blobs(move |_| Reply::new(302, "").with("Location", target)).await;
        let error = error_text(receive(&fake, &describe(&content(SIZE))).await.0);
        assert!(error.contains(problem), "{target}: {error}");
    }
    let fake = with_blobs(|_| Reply::new(302, "")).await;
    assert!(error_text(receive(&fake, &describe(&content(SIZE))).await.0).contains("nowhere"));
}

#[tokio::test]
async fn a_cancelled_wait_loses_nothing() {
    let fake = with_blobs(|asked| match asked.before {
        0 => part(asked, &content(SIZE)).stalled_after(100_000),
        _ => part(asked, &content(SIZE)),
    })
    .await;
    let registry = impatient();
    let source = resolve(&registry, &name(&fake)).await.unwrap().source;
    let mut blob = registry.blob(&source, &describe(&content(SIZE)));
    let mut bytes = Vec::new();
    while bytes.len() < SIZE {
        // Shorter than the stall.
        match tokio::time::timeout(Duration::from_millis(20), blob.next()).await {
            Ok(next) => bytes.extend_from_slice(&next.unwrap().unwrap()),
            Err(_) if bytes.len() == 100_000 => {
                bytes.extend_from_slice(&blob.next().await.unwrap().unwrap());
            }
            Err(_) => {}
        }
    }
    assert!(bytes == content(SIZE));
}

use base64::Engine as _;

use super::blobs::receive_from;
use super::*;

const TOKEN: &str = r#"{"token":"t0"}"#;

/// Wants a bearer token of its own service at `/token`, the `serial`th one being `t<serial>`; `good` accepts or refuses
/// a token.
async fn with_tokens(
    token: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    good: impl Fn(&Asked, &str) -> bool + Send + Sync + 'static,
) -> Fake {
    Fake::new(move |asked| {
        let bearer = asked.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        if asked.path.starts_with("/token") {
            return token(asked);
        }
        if !bearer.is_some_and(|bearer| good(asked, bearer)) {
            let host = asked.header("host").unwrap();
            let challenge =
                format!(r#"Bearer realm="http://{host}/token",service="s v c",scope="repository:a/b:pull""#);
            return Reply::new(401, r#"{"errors":[{"message":"authentication required"}]}"#)
                .with("WWW-Authenticate", &challenge);
        }
        match asked.path.contains("/manifests/t") {
            true => manifest_reply(),
            false => asked.range().map_or_else(|| Reply::ok(content(1000)), |from| Reply::part(&content(1000), from)),
        }
    })
    .await
}

fn basic(text: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text))
}

async fn resolve_with(fake: &Fake, credentials: &Credentials) -> Result<Resolved, RegistryError> {
    registry().resolve(&name(fake).parse().unwrap(), Some(credentials)).await
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_used_for_everything() {
    let fake = with_tokens(|_| Reply::ok(TOKEN), |_, token| token == "t0").await;
    let registry = registry();
    let source = resolve(&registry, &name(&fake)).await.unwrap().source;
    receive_from(&registry, &source, &describe(&content(1000))).await.0.unwrap();
    let tokens: Vec<Asked> = fake.asked().into_iter().filter(|asked| asked.path.starts_with("/token")).collect();
    assert_eq!(tokens.len(), 1);
    assert_eq!(tokens[0].path, "/token?service=s+v+c&scope=repository%3Aa%2Fb%3Apull");
    assert_eq!((tokens[0].method.as_str(), tokens[0].header("authorization")), ("GET", None));
    assert_eq!(fake.asked().len(), 4, "asked, token, asked again, blob");
}

#[tokio::test]
async fn a_password_goes_to_the_token_service() {
    let check = |asked: &Asked| match asked.header("authorization") {
        Some(value) if value == basic("me:geheim") => Reply::ok(r#"{"access_token":"t0","expires_in":300}"#),
        _ => Reply::new(401, r#"{"details":"incorrect username or password"}"#),
    };
    let fake = with_tokens(check, |_, token| token == "t0").await;
    resolve_with(&fake, &Credentials::password("me", "geheim")).await.unwrap();
    assert!(fake.asked()[1].path.ends_with("&account=me"));
    let error = error_text(resolve_with(&fake, &Credentials::password("me", "falsch")).await);
    assert!(error.contains("incorrect username or password") && !error.contains("falsch"), "{error}");
    assert!(!error.contains(&basic("me:falsch")[6..]), "{error}");
}

#[tokio::test]
async fn an_identity_token_is_exchanged() {
    let fake = with_tokens(|_| Reply::ok(TOKEN), |_, token| token == "t0").await;
    let credentials = Credentials::IdentityToken { user: String::new(), token: Secret::new("ge/heim") };
    resolve_with(&fake, &credentials).await.unwrap();
    let asked = &fake.asked()[1];
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", "/token"));
    assert_eq!(asked.header("content-type"), Some("application/x-www-form-urlencoded"));
    let form = "grant_type=refresh_token&client_id=isulad&refresh_token=ge%2Fheim&service=s+v+c&scope=repository%3Aa%2Fb%3Apull";
    assert_eq!(asked.body, form);

    let registry_token = Credentials::RegistryToken { token: Secret::new("t0") };
    resolve_with(&fake, &registry_token).await.unwrap();
    assert_eq!(fake.count("/token"), 1, "it is for the registry itself");
}

#[tokio::test]
async fn an_identity_token_is_not_passed_on_to_others() {
    let elsewhere = Fake::new(|asked| panic!("was asked: {asked:?}")).await;
    let target = format!("http://{}/", elsewhere.address);
    let fake = with_tokens(move |_| Reply::new(307, "").with("Location", &target), |_, _| false).await;
    let credentials = Credentials::IdentityToken { user: String::new(), token: Secret::new("geheim") };
    let error = error_text(resolve_with(&fake, &credentials).await);
    assert!(error.contains("pass on") && !error.contains("geheim"), "{error}");
    assert_eq!(elsewhere.asked().len(), 0);
}

#[tokio::test]
async fn a_token_that_ends_midway_is_renewed_once() {
    let token = |asked: &Asked| Reply::ok(format!(r#"{{"token":"t{}"}}"#, asked.before));
    // The first token is good for the manifest only.
    let fake = with_tokens(token, |asked, token| token != "t0" || asked.path.contains("/manifests/")).await;
    let registry = registry();
    let source = resolve(&registry, &name(&fake)).await.unwrap().source;
    let (content, other) = (describe(&content(1000)), describe(b"other"));
    let (blob, (manifest, small)) = tokio::join!(
        receive_from(&registry, &source, &content),
        futures_util::future::join(registry.manifest(&source, &other), registry.small_blob(&source, &content, 1000)),
    );
    assert!(blob.0.is_ok() && manifest.is_err() && small.is_ok());
    assert_eq!(fake.count("/token"), 2, "requests refused together renew the token together");

    let fake = with_tokens(|_| Reply::ok(TOKEN), |asked, _| asked.path.contains("/manifests/")).await;
    let source = resolve(&registry, &name(&fake)).await.unwrap().source;
    let error = error_text(receive_from(&registry, &source, &content).await.0);
    assert!(error.contains("wants a login") && error.contains("authentication required"), "{error}");
    assert_eq!(fake.count("/token"), 2, "one try with a new one");
}

#[tokio::test]
async fn a_failing_token_service_is_asked_again() {
    let token = |asked: &Asked| match asked.before {
        0 => Reply::new(503, ""),
        1 => Reply::new(429, "").with("Retry-After", "60"),
        _ => Reply::ok(TOKEN),
    };
    let fake = with_tokens(token, |_, token| token == "t0").await;
    resolve(&registry(), &name(&fake)).await.unwrap();
    for (body, problem) in [("garbage", "JSON"), ("{}", "no token"), (r#"{"token":""}"#, "no token")] {
        let fake = with_tokens(move |_| Reply::ok(body), |_, _| true).await;
        let error = error_text(resolve(&registry(), &name(&fake)).await);
        assert!(error.contains(problem) && error.contains("a token for"), "{error}");
    }
    let fake = with_tokens(|_| Reply::ok("{\"token\":\"ge\\nheim\"}"), |_, _| true).await;
    let error = error_text(resolve(&registry(), &name(&fake)).await);
    assert!(error.contains("header") && !error.contains("heim"), "{error}");
}

#[tokio::test]
async fn credentials_do_not_leave_the_machine_without_tls() {
    let fake =
        Fake::new(|_| Reply::new(401, "").with("WWW-Authenticate", r#"Bearer realm="http://192.0.2.1/t""#)).await;
    let error = error_text(resolve_with(&fake, &Credentials::password("me", "geheim")).await);
    assert!(error.contains("without TLS") && error.contains("192.0.2.1"), "{error}");
}

fn wants_password(asked: &Asked) -> Reply {
    match asked.header("authorization") {
        Some(value) if value == basic("me:geheim") => manifest_reply(),
        _ => Reply::new(401, "").with("WWW-Authenticate", r#"Basic realm="x""#),
    }
}

#[tokio::test]
async fn a_registry_may_want_the_password_itself() {
    let fake = Fake::new(wants_password).await;
    resolve_with(&fake, &Credentials::password("me", "geheim")).await.unwrap();
    let error = error_text(resolve_with(&fake, &Credentials::password("me", "falsch")).await);
    assert!(error.contains("wants a login") && !error.contains("falsch"), "{error}");
    let error = error_text(resolve(&registry(), &name(&fake)).await);
    assert!(error.contains("isula login"), "{error}");
}

#[tokio::test]
async fn a_login_is_checked_kept_used_and_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::new(settings(dir.path()));
    let fake = Fake::new(wants_password).await;
    let server = fake.address.to_string();
    let error = error_text(registry.login(&server, "me", &Secret::new("falsch")).await);
    assert_eq!(error, format!("login to `{server}` failed: Unauthorized"));
    assert!(!dir.path().join("auth.json").exists());

    assert_eq!(registry.login(&format!("http://{server}/v2/"), "me", &Secret::new("geheim")).await.unwrap(), server);
    resolve(&registry, &name(&fake)).await.unwrap();
    assert!(fake.asked().iter().any(|asked| asked.path == "/v2/"));

    assert_eq!(registry.logout(&server).await.unwrap(), server);
    assert!(resolve(&registry, &name(&fake)).await.is_err());
    assert_eq!(registry.logout(&server).await.unwrap(), server, "there is nothing left to forget, which is fine");
    assert!(registry.login("a b", "me", &Secret::new("x")).await.is_err());
    assert!(registry.login(&server, "a:b", &Secret::new("x")).await.is_err());
}

//! Proxies of the environment.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::sync::mpsc;

use engine_images::registry::Registry;

use super::images::Layout;
use super::server::Server;
use super::{error_text, resolve, run_again, settings};

/// Set in the run with proxies in its environment.
const AGAIN: &str = "ISULAD_TEST_WITH_PROXY";

#[tokio::test]
async fn a_proxy_is_for_others_than_this_machine() {
    if std::env::var_os(AGAIN).is_none() {
        let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", proxy.local_addr().unwrap());
        let (sender, receiver) = mpsc::channel();
        // Passes each request's first line on, and hangs up.
        std::thread::spawn(move || {
            for stream in proxy.incoming() {
                let mut line = String::new();
                BufReader::new(stream.unwrap()).read_line(&mut line).unwrap();
                sender.send(line).unwrap();
            }
        });
        let test = "proxy::a_proxy_is_for_others_than_this_machine";
        run_again(test, &[("HTTPS_PROXY", &address), ("http_proxy", &address), (AGAIN, "1")]);
        assert!(receiver.try_recv().unwrap().starts_with("CONNECT registry.invalid:443 "));
        assert!(receiver.try_recv().is_err(), "it was asked for more");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::new(settings(dir.path()));
    let error = error_text(resolve(&registry, "registry.invalid/image:1").await);
    assert!(error.contains("cannot reach `registry.invalid`"), "{error}");

    let server = Server::plain();
    let name = format!("{}/image:1", server.address);
    Layout::single(1000).push(&name, &["--dest-tls-verify=false"]);
    resolve(&registry, &name).await.unwrap();
}

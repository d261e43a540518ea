//! A registry that misbehaves: a proxy before a real one, or one that serves a layout's directory as it is. It counts
//! the requests and spoils the answers on demand.
//!
//! Each connection serves one request. Faults are rules: the first rule that fits a request and is not used up is
//! taken.

mod http;
mod serve;
mod shelf;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::deadline;
use crate::registry::Registry;

/// A fault of one answer.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The connection ends after this many bytes of the body.
    Cut(u64),
    /// Nothing comes after this many bytes of the body, until [`Faulty::release`].
    Stall(u64),
    /// This status, with these headers and an empty body, instead of the registry's answer.
    Status(u16, Vec<(String, String)>),
    /// This many bytes per second.
    Slow(u64),
    /// One byte of the body is another.
    Flip(u64),
    /// More than there is.
    Append(Vec<u8>),
    /// Another body, or a shorter one, with its own length.
    Instead(Vec<u8>),
}

/// A request and the state of its answer.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// The path with the query.
    pub path: String,
    pub range: Option<String>,
    pub authorization: Option<String>,
    /// 0 until the answer has begun.
    pub status: u16,
    /// Bytes of the body so far.
    pub sent: u64,
    /// The answer is under way.
    pub open: bool,
    /// The client does not have all of it yet.
    pub owed: bool,
}

impl Request {
    /// A download of the blob with this digest, whole or in part.
    pub fn gets_blob(&self, digest: &str) -> bool {
        self.method == "GET" && self.path.contains("/blobs/") && self.path.contains(digest)
    }

    pub fn gets_manifest(&self) -> bool {
        self.method == "GET" && self.path.contains("/manifests/")
    }
}

struct Rule {
    fits: Box<dyn Fn(&Request) -> bool + Send>,
    skip: usize,
    left: usize,
    fault: Fault,
}

/// User, password, and the token they get.
#[derive(Debug, Clone)]
struct Account {
    user: String,
    password: String,
    token: String,
}

#[derive(Default)]
struct Inner {
    seen: Vec<Request>,
    /// Requests before this index are not reported any more.
    forgotten: usize,
    rules: Vec<Rule>,
    account: Option<Account>,
    peak: usize,
}

impl Inner {
    fn visible(&self) -> &[Request] {
        &self.seen[self.forgotten..]
    }
}

/// Where answers come from.
enum Source {
    Registry(SocketAddr),
    Layout(PathBuf),
}

struct Shared {
    inner: Mutex<Inner>,
    released: watch::Sender<bool>,
    source: Source,
    own: SocketAddr,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of the lock panics")
    }
}

/// The running proxy; ends when dropped.
pub struct Faulty {
    shared: Arc<Shared>,
    // Ends its tasks when dropped.
    runtime: Option<tokio::runtime::Runtime>,
}

impl Faulty {
    /// # Panics
    /// When no port can be had.
    pub fn before(registry: &Registry) -> Self {
        Self::start(Source::Registry(registry.host().parse().expect("a registry's host is an address")))
    }

    /// Serves a layout under every repository name: tags are the names in its index. Nothing is checked.
    ///
    /// # Panics
    /// When no port can be had.
    pub fn serving(layout: &Path) -> Self {
        Self::start(Source::Layout(layout.to_owned()))
    }

    fn start(source: Source) -> Self {
        let builder = &mut tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().expect("a runtime can be made");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port is free");
        let own = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared { inner: Mutex::default(), released: watch::Sender::new(false), source, own });
        runtime.spawn(serve::accept(listener, shared.clone()));
        Self { shared, runtime: Some(runtime) }
    }

    /// `127.0.0.1:<port>`
    pub fn host(&self) -> String {
        self.shared.own.to_string()
    }

    /// The full name of something behind it.
    pub fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.host())
    }

    /// Spoils the next request that fits.
    pub fn once(&self, fits: impl Fn(&Request) -> bool + Send + 'static, fault: Fault) {
        self.rule(0, 1, fits, fault);
    }

    /// Spoils every request that fits.
    pub fn always(&self, fits: impl Fn(&Request) -> bool + Send + 'static, fault: Fault) {
        self.rule(0, usize::MAX, fits, fault);
    }

    /// Lets `skip` requests that fit pass, then spoils `times` of them.
    pub fn rule(&self, skip: usize, times: usize, fits: impl Fn(&Request) -> bool + Send + 'static, fault: Fault) {
        self.shared.lock().rules.push(Rule { fits: Box::new(fits), skip, left: times, fault });
    }

    /// From now on every answer is the registry's, and stalled ones go on.
    pub fn release(&self) {
        self.shared.lock().rules.clear();
        self.shared.released.send_replace(true);
    }

    /// From now on only requests with a token are served; this account gets the token.
    pub fn require_token(&self, user: &str, password: &str) {
        let token = "token-of-the-tests".to_owned();
        self.shared.lock().account = Some(Account { user: user.into(), password: password.into(), token });
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Request> {
        self.shared.lock().visible().to_vec()
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        let mut inner = self.shared.lock();
        inner.forgotten = inner.seen.len();
        inner.peak = 0;
    }

    /// How many requests fit.
    pub fn count(&self, fits: impl Fn(&Request) -> bool) -> usize {
        self.shared.lock().visible().iter().filter(|seen| fits(seen)).count()
    }

    /// Bytes sent of a blob, over all requests.
    pub fn sent_of(&self, digest: &str) -> u64 {
        self.shared.lock().visible().iter().filter(|seen| seen.gets_blob(digest)).map(|seen| seen.sent).sum()
    }

    /// The most blobs that were under way at once.
    pub fn peak(&self) -> usize {
        self.shared.lock().peak
    }

    /// Waits until a request is as wanted.
    ///
    /// # Panics
    /// When none gets so.
    #[track_caller]
    pub fn until(&self, what: &str, wanted: impl Fn(&Request) -> bool) {
        deadline::until(what, || self.count(&wanted) > 0);
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for seen in self.seen() {
                let range = seen.range.unwrap_or_default();
                eprintln!("proxy: {} {} {range} -> {} ({} bytes)", seen.method, seen.path, seen.status, seen.sent);
            }
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

//! The proxy's connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::http::Head;
use super::{Account, Fault, Request, Shared, Source, shelf};

const PIECE: usize = 16 << 10;

pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        let shared = shared.clone();
        tokio::spawn(async move {
            // Some tests let their client go away, so that an error here is expected.
            let _ = serve(client, &shared).await;
        });
    }
}

/// Its place in the list of those seen; ends with the connection, however that ends.
struct Entry<'a> {
    shared: &'a Shared,
    index: usize,
}

impl Entry<'_> {
    fn change(&self, change: impl FnOnce(&mut Request)) {
        change(&mut self.shared.lock().seen[self.index]);
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.change(|seen| seen.open = false);
    }
}

async fn serve(client: TcpStream, shared: &Shared) -> io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let Some(request) = Head::read(&mut from_client).await? else { return Ok(()) };
    let (entry, fault) = enter(shared, &request);
    if let Some(answer) = challenge(shared, &request) {
        entry.change(|seen| seen.status = answer.0.status());
        answer.0.write(&mut to_client).await?;
        return to_client.write_all(answer.1.as_bytes()).await;
    }
    if let Some(Fault::Status(status, headers)) = &fault {
        entry.change(|seen| seen.status = *status);
        return Head::answer(*status, headers).write(&mut to_client).await;
    }
    let (answer, mut body) = match &shared.source {
        Source::Layout(dir) => shelf::answer(dir, &request),
        Source::Registry(address) => match forward(*address, &request, &mut from_client).await? {
            Some(answer) => answer,
            None => return Ok(()),
        },
    };
    let answering = answered(answer, &request, fault, (&mut body, &mut to_client), &entry);
    tokio::select! {
        done = answering => done,
        gone = closed(&mut from_client) => gone,
    }
}

/// Asks the registry.
async fn forward(
    address: SocketAddr,
    request: &Head,
    client: &mut OwnedReadHalf,
) -> io::Result<Option<(Head, Box<dyn AsyncRead + Send + Unpin>)>> {
    let mut upstream = TcpStream::connect(address).await?;
    request.write(&mut upstream).await?;
    // Bodies of requests are small or none; the next byte is the client's end, which ends this connection too.
    let body = request.length().unwrap_or(0);
    tokio::io::copy(&mut client.take(body), &mut upstream).await?;
    Ok(Head::read(&mut upstream).await?.map(|answer| (answer, Box::new(upstream) as _)))
}

/// Waits until the client closes its side.
async fn closed(client: &mut OwnedReadHalf) -> io::Result<()> {
    let mut rest = [0; 64];
    while client.read(&mut rest).await? > 0 {}
    Ok(())
}

/// Records the request and picks the fault of its answer.
fn enter<'a>(shared: &'a Shared, request: &Head) -> (Entry<'a>, Option<Fault>) {
    let mut words = request.first.split(' ').map(str::to_owned);
    let header = |name: &str| request.get(name).map(str::to_owned);
    let seen = Request {
        method: words.next().unwrap_or_default(),
        path: words.next().unwrap_or_default(),
        range: header("Range"),
        authorization: header("Authorization"),
        status: 0,
        sent: 0,
        open: true,
        owed: true,
    };
    let mut inner = shared.lock();
    let mut fault = None;
    for rule in &mut inner.rules {
        if rule.left == 0 || !(rule.fits)(&seen) {
            continue;
        }
        if rule.skip > 0 {
            rule.skip -= 1;
            continue;
        }
        rule.left -= 1;
        fault = Some(rule.fault.clone());
        break;
    }
    inner.seen.push(seen);
    let blobs = inner
        .seen
        .iter()
        .filter(|seen| seen.open && seen.owed && seen.method == "GET" && seen.path.contains("/blobs/"));
    inner.peak = inner.peak.max(blobs.count());
    (Entry { shared, index: inner.seen.len() - 1 }, fault)
}

/// The answer of a token service, or of a registry to those without a token.
fn challenge(shared: &Shared, request: &Head) -> Option<(Head, String)> {
    let Account { user, password, token } = shared.lock().account.clone()?;
    let path = request.first.split(' ').nth(1).unwrap_or_default();
    let given = request.get("Authorization").unwrap_or_default();
    if path.starts_with("/token") {
        let wanted = format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")));
        if given != wanted {
            return Some((Head::answer(401, &[]), String::new()));
        }
        let body = format!("{{\"token\":\"{token}\",\"expires_in\":300}}");
        let mut head = Head::answer(200, &[("Content-Type".into(), "application/json".into())]);
        head.set("Content-Length", &body.len().to_string());
        return Some((head, body));
    }
    if given == format!("Bearer {token}") {
        return None;
    }
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"tests\",scope=\"repository:any:pull\"", shared.own);
    Some((Head::answer(401, &[("WWW-Authenticate".into(), realm)]), String::new()))
}

async fn answered(
    mut head: Head,
    request: &Head,
    fault: Option<Fault>,
    (from, to): (&mut (impl AsyncRead + Unpin), &mut OwnedWriteHalf),
    entry: &Entry<'_>,
) -> io::Result<()> {
    entry.change(|seen| seen.status = head.status());
    let length = head.length().unwrap_or(0);
    let bodiless = request.first.starts_with("HEAD ");
    let (mut more, mut instead) = (Vec::new(), None);
    match &fault {
        Some(Fault::Append(bytes)) => more.clone_from(bytes),
        Some(Fault::Instead(bytes)) => instead = Some(bytes),
        Some(Fault::Cut(_) | Fault::Stall(_) | Fault::Status(..) | Fault::Slow(_) | Fault::Flip(_)) | None => {}
    }
    let shown = instead.map_or(length + more.len() as u64, |bytes| bytes.len() as u64);
    if head.get("Content-Length").is_some() {
        head.set("Content-Length", &shown.to_string());
    }
    head.write(to).await?;
    if bodiless {
        return Ok(());
    }
    if let Some(bytes) = instead {
        entry.change(|seen| seen.sent = bytes.len() as u64);
        return to.write_all(bytes).await;
    }
    let (mut sent, mut fault) = (0, fault);
    let mut piece = vec![0; PIECE];
    loop {
        let count = from.read(&mut piece).await?;
        if count == 0 {
            break;
        }
        let bytes = &mut piece[..count];
        if let Some(keep) = spoil(fault.as_ref(), sent, bytes) {
            to.write_all(&bytes[..keep]).await?;
            sent += keep as u64;
            entry.change(|seen| seen.sent = sent);
            if !matches!(fault, Some(Fault::Stall(_))) {
                return to.shutdown().await;
            }
            let _ = entry.shared.released.subscribe().wait_for(|released| *released).await;
            to.write_all(&bytes[keep..]).await?;
            sent += (count - keep) as u64;
            entry.change(|seen| seen.sent = sent);
            // The rest is counted as it goes: the end of a connection may be an error when all is sent.
            fault = None;
            continue;
        }
        // A client with all of it may send its next request before this write returns.
        entry.change(|seen| seen.owed = sent + (count as u64) < length);
        to.write_all(bytes).await?;
        sent += count as u64;
        entry.change(|seen| seen.sent = sent);
        if let Some(Fault::Slow(rate)) = fault {
            tokio::time::sleep(Duration::from_secs_f64(count as f64 / rate as f64)).await;
        }
    }
    to.write_all(&more).await?;
    entry.change(|seen| seen.sent = sent + more.len() as u64);
    to.shutdown().await
}

/// Changes bytes as a fault demands; how many of them still pass, when it ends here.
fn spoil(fault: Option<&Fault>, sent: u64, bytes: &mut [u8]) -> Option<usize> {
    let end = sent + bytes.len() as u64;
    match fault {
        Some(Fault::Cut(at) | Fault::Stall(at)) if *at < end => usize::try_from(at.saturating_sub(sent)).ok(),
        Some(Fault::Flip(at)) if (sent..end).contains(at) => {
            bytes[usize::try_from(at - sent).expect("it is within the piece")] ^= 0x20;
            None
        }
        _ => None,
    }
}

//! The answers of a registry with a layout's files as its contents, unchecked.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use serde_json::Value;
use tokio::io::AsyncRead;

use super::http::Head;
use crate::images::digest;

pub(super) fn answer(layout: &Path, request: &Head) -> (Head, Box<dyn AsyncRead + Send + Unpin>) {
    let path = request.first.split(' ').nth(1).unwrap_or_default();
    let Some((media_type, bytes)) = find(layout, path) else {
        return (Head::answer(404, &[]), Box::new(Cursor::new(vec![])));
    };
    let range = request.get("Range").and_then(|range| range.strip_prefix("bytes=")?.split('-').next()?.parse().ok());
    let from: usize = range.unwrap_or(0);
    let headers = [("Content-Type".to_owned(), media_type), ("Docker-Content-Digest".to_owned(), digest(&bytes))];
    let mut head = Head::answer(if range.is_some() { 206 } else { 200 }, &headers);
    if range.is_some() {
        let last = bytes.len().saturating_sub(1);
        head.set("Content-Range", &format!("bytes {from}-{last}/{}", bytes.len()));
    }
    let rest = bytes.get(from..).unwrap_or_default().to_vec();
    head.set("Content-Length", &rest.len().to_string());
    (head, Box::new(Cursor::new(rest)))
}

/// The answer for `/v2/`, `/v2/<repository>/manifests/<tag or digest>` or `/v2/<repository>/blobs/<digest>`.
fn find(layout: &Path, path: &str) -> Option<(String, Vec<u8>)> {
    let text = "application/json".to_owned();
    if path == "/v2/" {
        return Some((text, b"{}".to_vec()));
    }
    let last = path.rsplit('/').next()?;
    if path.contains("/blobs/") {
        let bytes = fs::read(layout.join("blobs/sha256").join(last.strip_prefix("sha256:")?)).ok()?;
        return Some(("application/octet-stream".to_owned(), bytes));
    }
    let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json")).ok()?).ok()?;
    let descriptors = index["manifests"].as_array()?;
    let named = |it: &&Value| it["annotations"]["org.opencontainers.image.ref.name"] == last || it["digest"] == last;
    let found = descriptors.iter().find(named);
    let hex = found.map_or(last, |it| it["digest"].as_str().unwrap_or_default()).strip_prefix("sha256:")?;
    let bytes = fs::read(layout.join("blobs/sha256").join(hex)).ok()?;
    let own = serde_json::from_slice::<Value>(&bytes).ok().and_then(|it| it["mediaType"].as_str().map(str::to_owned));
    let media_type = found.and_then(|it| it["mediaType"].as_str().map(str::to_owned));
    Some((media_type.or(own).unwrap_or(text), bytes))
}

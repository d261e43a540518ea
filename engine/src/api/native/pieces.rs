//! Streams of requests: an opening, then bytes in pieces.

use std::time::Duration;

use bytes::Bytes;
use tonic::Streaming;

use super::ApiError;
use crate::image::Feed;

/// A client that sends nothing for this long is given up.
const SILENCE: Duration = Duration::from_secs(120);

/// A request of a stream: its opening, or some bytes.
pub(super) trait Message {
    type Open;
    fn part(self) -> Part<Self::Open>;
}

pub(super) enum Part<O> {
    Open(O),
    Bytes(Bytes),
    Nothing,
}

/// The first message of a stream, which has to open it.
pub(super) async fn opening<M: Message>(requests: &mut Streaming<M>) -> Result<M::Open, ApiError> {
    match message(requests).await?.map(Message::part) {
        Some(Part::Open(open)) => Ok(open),
        _ => Err(ApiError::invalid("the first message of the stream has to open it")),
    }
}

/// Passes bytes on until the client ends the stream, or until the receiver needs no more; then the rest of the stream
/// is not read.
pub(super) async fn pass_on<M: Message>(mut requests: Streaming<M>, feed: Feed) -> Result<(), ApiError> {
    while let Some(request) = message(&mut requests).await? {
        match request.part() {
            Part::Bytes(bytes) => {
                if feed.push(bytes).await.is_err() {
                    return Ok(());
                }
            }
            Part::Open(_) => return Err(ApiError::invalid("only the first message of the stream opens it")),
            Part::Nothing => {}
        }
    }
    let _ = feed.end().await;
    Ok(())
}

async fn message<M>(requests: &mut Streaming<M>) -> Result<Option<M>, ApiError> {
    let silent = || ApiError::Deadline { message: format!("the client sent nothing for {} s", SILENCE.as_secs()) };
    let message = tokio::time::timeout(SILENCE, requests.message()).await.map_err(|_| silent())?;
    message.map_err(|status| ApiError::failed(format!("the client's stream broke: {}", status.message())))
}

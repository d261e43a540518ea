//! Receiving an archive into a file without a name.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::rc::Rc;
use std::sync::Arc;

use super::archive::Archive;
use crate::cancel::{self, CancelToken};
use crate::image::Images;
use crate::image::error::ImageError;
use crate::image::feed::Pieces;
use crate::image::layer::Limits;
use crate::image::layer::reading::{Foreign, Format, PEEK};
use crate::image::store::{Spool, StoreError};

const BUFFER: usize = 1 << 20;

/// Receives the archive, decompressed, and reads where each file is in it.
pub(super) async fn receive(images: &Images, pieces: Pieces) -> Result<Arc<Archive>, ImageError> {
    let (store, limits) = (images.store.clone(), images.node.config.images.limits.clone());
    let work = cancel::blocking(move |cancel| {
        let spool = store.spool()?;
        copy(pieces, &spool, &limits, cancel)?;
        Archive::read(spool.file, cancel).map(Arc::new)
    });
    work.await.map_err(|source| ImageError::Task { source })?
}

fn copy(pieces: Pieces, spool: &Spool, limits: &Limits, cancel: &CancelToken) -> Result<(), ImageError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::StorageFull => {
            ImageError::Store(StoreError::Io { action: "write to", path: spool.dir.clone(), source })
        }
        io::ErrorKind::UnexpectedEof => ImageError::Archive { problem: "its compressed data is cut short".to_owned() },
        _ => ImageError::Receive { source },
    };
    let received = Rc::new(Cell::new(0));
    let counted = Counted { pieces, received: received.clone() };
    let (format, source) = with_format(counted).map_err(failed)?;
    let mut source = decompressed(format, source, failed)?;
    let mut file = &spool.file;
    let mut buffer = vec![0; BUFFER];
    let mut total = 0_u64;
    loop {
        let length = source.read(&mut buffer).map_err(failed)?;
        if length == 0 {
            return Ok(());
        }
        if cancel.is_cancelled() {
            return Err(ImageError::GivenUp);
        }
        total += length as u64;
        if total > limits.ratio_floor && total > received.get().saturating_mul(limits.ratio) {
            let problem = format!("it grows to more than {} times its size", limits.ratio);
            return Err(ImageError::Archive { problem });
        }
        let limit = limits.bytes;
        if total > limit {
            let problem = format!("it has more than {limit} bytes; raise `layer-limit` in daemon.json to take it");
            return Err(ImageError::Archive { problem });
        }
        file.write_all(&buffer[..length]).map_err(failed)?;
    }
}

/// A source that counts the received bytes.
struct Counted {
    pieces: Pieces,
    received: Rc<Cell<u64>>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.pieces.read(buffer)?;
        self.received.set(self.received.get() + length as u64);
        Ok(length)
    }
}

/// The source with its format, which its first bytes decide, in however small pieces they come.
fn with_format(mut source: Counted) -> io::Result<(Format, impl BufRead)> {
    let mut first = Vec::with_capacity(PEEK);
    source.by_ref().take(PEEK as u64).read_to_end(&mut first)?;
    let format = Format::of(&first);
    Ok((format, BufReader::with_capacity(BUFFER, io::Cursor::new(first).chain(source))))
}

fn decompressed<'a>(
    format: Format,
    source: impl BufRead + 'a,
    failed: impl FnOnce(io::Error) -> ImageError,
) -> Result<Box<dyn Read + 'a>, ImageError> {
    Ok(match format {
        Format::Plain => Box::new(source),
        Format::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(source)),
        Format::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(source).map_err(failed)?),
        Format::Foreign(Foreign { name, program }) => {
            let problem = format!(
                "it is compressed with {name}, which is not supported; gzip and zstd are, as are plain tars (`{program} -dc ARCHIVE | isula load`)"
            );
            return Err(ImageError::Archive { problem });
        }
    })
}

//! Decompression.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

use super::LayerError;
use super::format::{Format, PEEK};
use super::source::Source;

const GZIP: [u8; 2] = [0x1f, 0x8b];

pub(super) enum Decoder<'a> {
    Plain(Source<'a>),
    /// One member after the other; none while it is being exchanged.
    Gzip(Option<Box<GzDecoder<Source<'a>>>>),
    Zstd(Box<zstd::Decoder<'static, Source<'a>>>),
}

impl<'a> Decoder<'a> {
    pub(super) fn new(mut source: Source<'a>) -> Result<Self, LayerError> {
        let first = source.peek(PEEK).map_err(|source| LayerError::Read { source })?;
        match Format::of(first) {
            Format::Plain => Ok(Self::Plain(source)),
            Format::Gzip => Ok(Self::Gzip(Some(Box::new(GzDecoder::new(source))))),
            Format::Zstd => {
                let decoder = zstd::Decoder::with_buffer(source);
                let decoder = decoder.map_err(|source| LayerError::Compression { format: "zstd", source })?;
                Ok(Self::Zstd(Box::new(decoder)))
            }
            Format::Foreign(format) => Err(LayerError::Unsupported { format: format.name, program: format.program }),
        }
    }

    pub(super) fn is_plain(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Gzip(_) | Self::Zstd(_) => false,
        }
    }

    pub(super) fn source(&self) -> &Source<'a> {
        match self {
            Self::Plain(source) => source,
            Self::Gzip(decoder) => decoder.as_ref().expect("a member is always put back").get_ref(),
            Self::Zstd(decoder) => decoder.get_ref(),
        }
    }

    pub(super) fn into_source(self) -> Source<'a> {
        match self {
            Self::Plain(source) => source,
            Self::Gzip(decoder) => decoder.expect("a member is always put back").into_inner(),
            Self::Zstd(decoder) => decoder.finish(),
        }
    }

    /// Decompressed bytes; none at the end, which is the end of the source too.
    pub(super) fn read(&mut self, into: &mut [u8]) -> Result<usize, LayerError> {
        let (format, read) = match self {
            Self::Plain(source) => ("", source.read(into)),
            Self::Gzip(decoder) => ("gzip", read_gzip(decoder, into)),
            Self::Zstd(decoder) => ("zstd", decoder.read(into)),
        };
        read.map_err(|source| {
            if self.source().failed() {
                return LayerError::Read { source };
            }
            match source.kind() {
                io::ErrorKind::UnexpectedEof => LayerError::CompressionEnds { format },
                io::ErrorKind::InvalidInput if is_trailing(&source) => LayerError::Trailing { format },
                _ => LayerError::Compression { format, source },
            }
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("more follows")]
struct TrailingBytes;

fn is_trailing(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<TrailingBytes>())
}

/// Reads through all members. Zeros after the last one are padding; anything else is an error.
fn read_gzip<'a>(slot: &mut Option<Box<GzDecoder<Source<'a>>>>, into: &mut [u8]) -> io::Result<usize> {
    loop {
        let decoder = slot.as_mut().expect("a member is always put back");
        let read = decoder.read(into)?;
        if read > 0 {
            return Ok(read);
        }
        let source = decoder.get_mut();
        let next = source.peek(GZIP.len())?;
        if next.is_empty() {
            return Ok(0);
        }
        if !next.starts_with(&GZIP) {
            return skip_zeros(source).map(|()| 0);
        }
        let source = slot.take().expect("it was there just now").into_inner();
        *slot = Some(Box::new(GzDecoder::new(source)));
    }
}

fn skip_zeros(source: &mut Source<'_>) -> io::Result<()> {
    loop {
        let bytes = source.fill_buf()?;
        if bytes.is_empty() {
            return Ok(());
        }
        if bytes.iter().any(|byte| *byte != 0) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, TrailingBytes));
        }
        let length = bytes.len();
        source.consume(length);
    }
}

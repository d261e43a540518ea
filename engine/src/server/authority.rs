//! Repairs the `:authority` of requests from gRPC clients that connect to a unix socket by its path.
//!
//! Clients on the gRPC C core send the path of the socket, with percent signs, as the `:authority` of their requests.
//! That is not a valid authority, and this HTTP/2 implementation resets such a stream. On a unix socket the authority
//! has no meaning; so its invalid characters are replaced by `-`, which has the same length in each encoding: neither a
//! frame's length nor the tables of header compression change, and nothing else is touched. Bytes that cannot be parsed
//! are passed on unchanged.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

const PREFACE: usize = 24;
const FRAME_HEADER: usize = 9;
/// A block of headers that is longer than this is passed on unparsed.
const LONGEST_BLOCK: usize = 64 << 10;
const READ: usize = 16 << 10;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// A connection on which each request has a valid authority.
#[derive(Debug)]
pub(super) struct WithAuthority<S> {
    inner: S,
    frames: Frames,
    /// The beginning of a frame, or of a block of headers, until the rest has come.
    held: Vec<u8>,
    /// Bytes to be read before any others, from `at` on.
    ready: Vec<u8>,
    at: usize,
}

impl<S> WithAuthority<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, frames: Frames { skip: PREFACE }, held: Vec::new(), ready: Vec::new(), at: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WithAuthority<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.at < this.ready.len() {
                let count = buf.remaining().min(this.ready.len() - this.at);
                buf.put_slice(&this.ready[this.at..this.at + count]);
                this.at += count;
                return Poll::Ready(Ok(()));
            }
            if this.held.is_empty() {
                // Most bytes stay where they are read to.
                let before = buf.filled().len();
                ready!(Pin::new(&mut this.inner).poll_read(context, buf))?;
                let new = &mut buf.filled_mut()[before..];
                let passed = this.frames.pass(new);
                this.held.extend_from_slice(&new[passed..]);
                let end = new.is_empty();
                buf.set_filled(before + passed);
                if passed > 0 || end {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            let mut piece = [0; READ];
            let mut piece = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut this.inner).poll_read(context, &mut piece))?;
            this.held.extend_from_slice(piece.filled());
            // At the end there is no rest to wait for.
            let passed = if piece.filled().is_empty() { this.held.len() } else { this.frames.pass(&mut this.held) };
            this.ready.clear();
            this.ready.extend(this.held.drain(..passed));
            this.at = 0;
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WithAuthority<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

impl<S: Connected> Connected for WithAuthority<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.inner.connect_info()
    }
}

/// The position in the stream of frames.
#[derive(Debug)]
struct Frames {
    /// Bytes to pass on unparsed, up to the next frame.
    skip: usize,
}

impl Frames {
    /// Returns how many of these bytes may be passed on, repaired. The rest is to be passed again, together with the
    /// bytes that follow it.
    fn pass(&mut self, bytes: &mut [u8]) -> usize {
        let mut at = 0;
        loop {
            let skipped = self.skip.min(bytes.len() - at);
            at += skipped;
            self.skip -= skipped;
            let Some(frame) = Frame::read(&bytes[at..]).filter(|_| self.skip == 0) else { return at };
            if frame.kind != HEADERS {
                self.skip = FRAME_HEADER + frame.length;
                continue;
            }
            match Block::read(&bytes[at..]) {
                Some(block) => {
                    block.mend(&mut bytes[at..at + block.length]);
                    at += block.length;
                }
                None if bytes.len() - at > LONGEST_BLOCK => self.skip = FRAME_HEADER + frame.length,
                None => return at,
            }
        }
    }
}

struct Frame {
    length: usize,
    kind: u8,
    flags: u8,
    stream: [u8; 4],
}

impl Frame {
    fn read(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, kind, flags, stream @ ..] = bytes.get(..FRAME_HEADER)? else { return None };
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        Some(Self { length, kind: *kind, flags: *flags, stream: stream.try_into().ok()? })
    }
}

/// The headers of one request: a frame, and perhaps others that continue it.
struct Block {
    length: usize,
    fragments: Vec<Range<usize>>,
}

impl Block {
    /// `None` while the block is incomplete. A malformed block ends where the error is found.
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut frame = Frame::read(bytes)?;
        let (mut at, mut fragments) = (0, Vec::new());
        loop {
            let end = at + FRAME_HEADER + frame.length;
            let payload = bytes.get(at + FRAME_HEADER..end)?;
            let (mut before, mut behind) = (0, 0);
            if frame.kind == HEADERS && frame.flags & PADDED != 0 {
                (before, behind) = (1, usize::from(*payload.first().unwrap_or(&0)));
            }
            if frame.kind == HEADERS && frame.flags & PRIORITY != 0 {
                before += 5;
            }
            let is_well_formed = before + behind <= payload.len();
            if is_well_formed {
                fragments.push(at + FRAME_HEADER + before..end - behind);
            }
            at = end;
            if frame.flags & END_HEADERS != 0 || !is_well_formed {
                return Some(Self { length: at, fragments });
            }
            let next = Frame::read(&bytes[at..])?;
            if next.kind != CONTINUATION || next.stream != frame.stream {
                return Some(Self { length: at, fragments });
            }
            frame = next;
        }
    }

    fn mend(&self, bytes: &mut [u8]) {
        let mut block: Vec<u8> = self.fragments.iter().flat_map(|range| bytes[range.clone()].iter().copied()).collect();
        // A block that cannot be parsed is left to the HTTP/2 implementation to refuse.
        let _ = mend_headers(&mut block);
        let mut mended = &block[..];
        for range in &self.fragments {
            let (fragment, rest) = mended.split_at(range.len());
            bytes[range.clone()].copy_from_slice(fragment);
            mended = rest;
        }
    }
}

/// Parses a block of compressed headers (RFC 7541) and repairs the authority in it; `None` when it cannot be parsed to
/// its end.
fn mend_headers(block: &mut [u8]) -> Option<()> {
    const AUTHORITY: usize = 1;
    let mut at = 0;
    while let Some(first) = block.get(at).copied() {
        let (bits, is_literal) = match first {
            0x80.. => (7, false),
            0x40..0x80 => (6, true),
            0x20..0x40 => (5, false),
            0..0x20 => (4, true),
        };
        let index = integer(block, &mut at, bits)?;
        if !is_literal {
            continue;
        }
        let is_authority = match index {
            0 => {
                let (_, name) = string(block, &mut at)?;
                block[name] == *b":authority"
            }
            index => index == AUTHORITY,
        };
        let (is_huffman, value) = string(block, &mut at)?;
        match (is_authority, is_huffman) {
            (true, true) => mend_huffman(&mut block[value]),
            (true, false) => block[value].iter_mut().filter(|byte| !is_valid(**byte)).for_each(|byte| *byte = b'-'),
            (false, _) => {}
        }
    }
    Some(())
}

fn integer(block: &[u8], at: &mut usize, bits: u32) -> Option<usize> {
    let most = (1_usize << bits) - 1;
    let mut value = usize::from(*block.get(*at)?) & most;
    *at += 1;
    if value < most {
        return Some(value);
    }
    for shift in [0, 7, 14, 21] {
        let byte = *block.get(*at)?;
        *at += 1;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// A string of the block: whether it is compressed, and its range.
fn string(block: &[u8], at: &mut usize) -> Option<(bool, Range<usize>)> {
    let is_huffman = block.get(*at)? & 0x80 != 0;
    let length = integer(block, at, 7)?;
    let range = *at..at.checked_add(length).filter(|end| *end <= block.len())?;
    *at = range.end;
    Some((is_huffman, range))
}

/// Whether an authority may contain this character.
fn is_valid(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:@[]!$&'()*+,;=".contains(&byte)
}

/// Replaces `%` and `/` in a compressed string: their codes have six bits, as the code of `-` has.
fn mend_huffman(value: &mut [u8]) {
    /// The number of symbols with codes of each length (RFC 7541, appendix B). Codes of a length follow on one another.
    const COUNTS: [u32; 31] =
        [0, 0, 0, 0, 0, 10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3, 0, 0, 0, 3, 8, 13, 26, 29, 12, 4, 15, 19, 29, 0, 4];
    const SIX_BITS: usize = 6;
    const MINUS: u32 = 0x16;
    const BAD: [u32; 2] = [0x15, 0x18];
    let bit = |value: &[u8], at: usize| u32::from(value[at / 8] >> (7 - at % 8) & 1);
    let mut at = 0;
    'symbols: while at < value.len() * 8 {
        let (mut code, mut first) = (0, 0);
        for (length, count) in COUNTS.into_iter().enumerate().skip(1) {
            let Some(place) = Some(at + length - 1).filter(|place| *place < value.len() * 8) else { return };
            code = code << 1 | bit(value, place);
            if code.wrapping_sub(first) < count {
                if length == SIX_BITS && BAD.contains(&code) {
                    for (place, wanted) in (at..at + SIX_BITS).zip((0..SIX_BITS).rev().map(|place| MINUS >> place & 1))
                    {
                        let mask = 1 << (7 - place % 8);
                        value[place / 8] = value[place / 8] & !mask | if wanted == 1 { mask } else { 0 };
                    }
                }
                at += length;
                continue 'symbols;
            }
            first = (first + count) << 1;
        }
        return;
    }
}

#[cfg(test)]
#[path = "authority_tests.rs"]
mod tests;

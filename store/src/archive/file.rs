//! The bytes of one archive file.
//!
//! ```text
//!  0 magic "EVNTSEG1"   8 first seq u64   16 last seq u64   24 count u64   32 time of the first u64
//! 40 time of the last u64   48 hash before the first [16]   64 hash of the last [16]
//! 80 plain length u64   88 CRC32C of the compressed body u32   92 CRC32C of all before u32
//! 96 deflated body: (length u32, encoded record)*
//! ```

use crate::ReadError;
use crate::bytes::{self, Fields};
use crate::envelope::{self, Hash, Linked};
use crate::error::IoContext;
use crate::{Seq, VALUE_LIMIT};
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"EVNTSEG1";
const HEADER: usize = 96;

/// The fields of an archive file's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) first: Seq,
    pub(crate) last: Seq,
    count: u64,
    first_at: u64,
    pub(crate) last_at: u64,
    pub(crate) previous: Hash,
    pub(crate) hash: Hash,
    plain_length: u64,
    body_crc: u32,
}

impl Header {
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        for number in [self.first, self.last, self.count, self.first_at, self.last_at] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.previous);
        out.extend_from_slice(&self.hash);
        out.extend_from_slice(&self.plain_length.to_le_bytes());
        out.extend_from_slice(&self.body_crc.to_le_bytes());
        bytes::seal(&mut out);
        out
    }

    fn decode(encoded: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes::unseal(encoded)?);
        if fields.array()? != MAGIC {
            return None;
        }
        Some(Self {
            first: fields.u64()?,
            last: fields.u64()?,
            count: fields.u64()?,
            first_at: fields.u64()?,
            last_at: fields.u64()?,
            previous: fields.array()?,
            hash: fields.array()?,
            plain_length: fields.u64()?,
            body_crc: fields.u32()?,
        })
    }
}

/// The path of the file with these records.
pub(crate) fn path(dir: &Path, first: Seq, last: Seq) -> PathBuf {
    dir.join(format!("{first:020}-{last:020}.seg"))
}

/// The last event in the name of a file, with any extension.
pub(crate) fn last_in_name(path: &Path) -> Option<Seq> {
    path.file_stem()?.to_str()?.split_once('-')?.1.parse().ok()
}

/// Writes the records (at least one, in order) to a new file in `dir`; the file is durable when this returns. A failed
/// attempt leaves no file, unless removing it fails too.
pub(crate) fn write(dir: &Path, records: &[Linked]) -> Result<Header, ReadError> {
    let (first, last) = records.first().zip(records.last()).expect("an archive file has records");
    let mut plain_length = 0;
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(4));
    let target = path(dir, first.record.seq, last.record.seq);
    for linked in records {
        let (encoded, _) = envelope::encode(&linked.record, &linked.previous);
        let length = u32::try_from(encoded.len()).expect("a record is under 4 KB").to_le_bytes();
        encoder.write_all(&length).and_then(|()| encoder.write_all(&encoded)).reading("compress", &target)?;
        plain_length += length.len() as u64 + encoded.len() as u64;
    }
    let body = encoder.finish().reading("compress", &target)?;
    let header = Header {
        first: first.record.seq,
        last: last.record.seq,
        count: records.len() as u64,
        first_at: first.record.at,
        last_at: last.record.at,
        previous: first.previous,
        hash: last.hash,
        plain_length,
        body_crc: crc32c::crc32c(&body),
    };
    if !dir.exists() {
        fs::create_dir_all(dir).reading("create", dir)?;
        dir.parent().map_or(Ok(()), sync_dir)?;
    }
    let temporary = target.with_extension("tmp");
    let mut options = OpenOptions::new();
    let written = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| {
            file.write_all(&header.encode())?;
            file.write_all(&body)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&temporary, &target));
    if written.is_err() {
        // A failed attempt must not hold space. A file that cannot be removed here is removed by the next opening.
        let _ = fs::remove_file(&temporary);
    }
    written.reading("write", &target)?;
    sync_dir(dir)?;
    Ok(header)
}

/// Reads the header of a file. Fails if the header is damaged or does not match the file's name.
pub(crate) fn read_header(path: &Path) -> Result<Header, ReadError> {
    let damaged = |problem| ReadError::Archive { path: path.into(), problem };
    let mut bytes = [0; HEADER];
    File::open(path).and_then(|mut file| file.read_exact(&mut bytes)).reading("read", path)?;
    let header = Header::decode(&bytes).ok_or(damaged("its header is not readable"))?;
    if path.file_name() != self::path(Path::new(""), header.first, header.last).file_name() {
        return Err(damaged("it holds other events than its name says"));
    }
    Ok(header)
}

/// Reads all records of the file with this listed header and verifies checksum, order and chain.
pub(crate) fn read(path: &Path, listed: &Header) -> Result<Vec<Linked>, ReadError> {
    let damaged = |problem| ReadError::Archive { path: path.into(), problem };
    let bytes = fs::read(path).reading("read", path)?;
    let (header, body) = bytes.split_at_checked(HEADER).ok_or(damaged("it is cut short"))?;
    let header = Header::decode(header).ok_or(damaged("its header is not readable"))?;
    if header != *listed {
        return Err(damaged("it was exchanged for another one"));
    }
    if crc32c::crc32c(body) != header.body_crc {
        return Err(damaged("its checksum does not match"));
    }
    let mut plain = Vec::new();
    DeflateDecoder::new(body)
        .take(header.plain_length.saturating_add(1))
        .read_to_end(&mut plain)
        .map_err(|_| damaged("it cannot be decompressed"))?;
    if plain.len() as u64 != header.plain_length {
        return Err(damaged("its length does not match"));
    }
    let records = split(&plain).ok_or(damaged("a record is not readable"))?;
    let ends = records.first().zip(records.last());
    let promised = (header.first, header.last, header.previous, header.hash);
    if ends.map(|(a, z)| (a.record.seq, z.record.seq, a.previous, z.hash)) != Some(promised) {
        return Err(damaged("it does not hold the records it promises"));
    }
    let chained = |pair: &[Linked]| pair[0].record.seq + 1 != pair[1].record.seq || pair[0].hash == pair[1].previous;
    if !records.windows(2).all(|pair| pair[0].record.seq < pair[1].record.seq && chained(pair)) {
        return Err(damaged("its records are not one chain"));
    }
    Ok(records)
}

fn split(plain: &[u8]) -> Option<Vec<Linked>> {
    let mut fields = Fields(plain);
    let mut records = Vec::new();
    while !fields.0.is_empty() {
        let length = usize::try_from(fields.u32()?).ok().filter(|length| *length < VALUE_LIMIT)?;
        records.push(envelope::decode(fields.take(length)?)?);
    }
    Some(records)
}

pub(crate) fn sync_dir(dir: &Path) -> Result<(), ReadError> {
    File::open(dir).and_then(|dir| dir.sync_all()).reading("sync", dir)
}

//! Headers of a tar: an entry is computed from its header and the extended headers before it.

use tar::Header;

use super::error::shown;
use super::sparse::{Described, Map, Where};
use super::{Problem, pax};

/// One entry of an archive.
#[derive(Debug)]
pub struct Entry {
    /// The name as it is in the archive.
    pub name: Vec<u8>,
    pub kind: Kind,
    /// The permissions, with the bits for set-user-id, set-group-id and sticky.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds and nanoseconds.
    pub mtime: (i64, u32),
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Bytes of payload.
    pub size: u64,
}

#[derive(Debug)]
pub enum Kind {
    File,
    SparseFile(Map),
    /// The map is in front of the payload; the file is this long.
    SparsePayload(u64),
    HardLink(Vec<u8>),
    Symlink(Vec<u8>),
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
    Directory,
    Fifo,
    /// A description of the archive itself.
    Label,
}

/// The headers that precede an entry and describe it.
#[derive(Debug, Default)]
pub(super) struct Before {
    /// GNU's long name and long link.
    pub name: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    /// POSIX's extended header.
    pub extended: Option<Vec<u8>>,
}

impl Before {
    pub(super) fn is_empty(&self) -> bool {
        self.name.is_none() && self.link.is_none() && self.extended.is_none()
    }
}

/// The records of an extended header.
#[derive(Debug, Default)]
struct Extended {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<(i64, u32)>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    sparse: Described,
}

impl Extended {
    fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let mut all = Self::default();
        for (key, value) in pax::records(bytes)? {
            // An empty value takes back an earlier one: the field of the entry's own header counts again.
            let given = Some(value).filter(|value| !value.is_empty());
            let not_a_number = |field| move || Problem::Number { field, value: shown(value) };
            let number = |field| given.map(|value| pax::digits(value).ok_or_else(not_a_number(field))).transpose();
            match key {
                b"path" => all.name = given.map(<[u8]>::to_vec),
                b"linkpath" => all.link = given.map(<[u8]>::to_vec),
                b"size" => all.size = number("size")?,
                b"uid" => all.uid = number("uid")?,
                b"gid" => all.gid = number("gid")?,
                b"mtime" => {
                    let time = given.map(|value| pax::time(value).ok_or_else(not_a_number("mtime")));
                    all.mtime = time.transpose()?;
                }
                _ => {
                    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                        all.xattrs.push((name.to_vec(), value.to_vec()));
                    } else if let (Some(key), Some(value)) = (key.strip_prefix(b"GNU.sparse."), given) {
                        all.sparse.take(key, value)?;
                    }
                }
            }
        }
        Ok(all)
    }
}

/// The number in a field: octal digits, or the base 256 of GNU. An empty field is 0.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        // Two's complement, but for the bit that marks it.
        let negative = first & 0x40 != 0;
        let start = i128::from(first & 0x3f) - if negative { 0x40 } else { 0 };
        let sum =
            field[1..].iter().try_fold(start, |sum, byte| sum.checked_mul(256).map(|sum| sum + i128::from(*byte)));
        return sum.and_then(|sum| i64::try_from(sum).ok());
    }
    let text = field.trim_ascii_start();
    let text = &text[text.iter().take_while(|byte| **byte == 0).count()..];
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    let text = text[..end].trim_ascii();
    text.iter().try_fold(0_i64, |sum, byte| {
        let digit = matches!(byte, b'0'..=b'7').then(|| i64::from(byte - b'0'))?;
        sum.checked_mul(8)?.checked_add(digit)
    })
}

/// Whether the checksum is right. Some old programs have summed signed bytes.
pub(super) fn sum_is_right(header: &Header) -> bool {
    let bytes = header.as_bytes();
    let summed = || bytes[..148].iter().chain(&[b' '; 8]).chain(&bytes[156..]);
    let unsigned: i64 = summed().map(|byte| i64::from(*byte)).sum();
    let signed: i64 = summed().map(|byte| i64::from(byte.cast_signed())).sum();
    number(&header.as_old().cksum).is_some_and(|sum| sum == unsigned || sum == signed)
}

/// The bytes of the payload that follows the header of something which describes an entry.
pub(super) fn payload_size(header: &Header) -> Option<u64> {
    number(&header.as_old().size).and_then(|size| size.try_into().ok())
}

pub(super) fn until_zero(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The name as far as the header itself has it.
pub(super) fn header_name(header: &Header) -> Vec<u8> {
    let name = until_zero(&header.as_old().name);
    let prefix = header.as_ustar().map_or(&[][..], |ustar| until_zero(&ustar.prefix));
    if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
}

/// Computes an entry. A problem is returned together with the entry's name.
pub(super) fn entry(header: &Header, before: Before) -> Result<Entry, (Vec<u8>, Problem)> {
    let extended = match Extended::parse(before.extended.as_deref().unwrap_or_default()) {
        Ok(extended) => extended,
        Err(problem) => return Err((before.name.unwrap_or_else(|| header_name(header)), problem)),
    };
    let sparse_name = extended.sparse.name.clone();
    let name = before.name.or(sparse_name).or_else(|| extended.name.clone()).unwrap_or_else(|| header_name(header));
    let described = describe(header, before.link, extended, &name);
    described.map(|entry| Entry { name: name.clone(), ..entry }).map_err(|problem| (name, problem))
}

/// An entry but for its name.
fn describe(header: &Header, link: Option<Vec<u8>>, extended: Extended, name: &[u8]) -> Result<Entry, Problem> {
    let old = header.as_old();
    let in_field = |name: &'static str, field: &[u8]| {
        number(field).ok_or_else(|| Problem::Number { field: name, value: shown(until_zero(field)) })
    };
    let id = |name: &'static str, value: Option<u64>, field: &[u8]| {
        let value = value.map_or_else(|| in_field(name, field), |value| Ok(i64::try_from(value).unwrap_or(-1)))?;
        // The last one means "no change" to the kernel.
        let id = u32::try_from(value).ok().filter(|id| *id != u32::MAX);
        id.ok_or_else(|| Problem::Number { field: name, value: value.to_string() })
    };
    let link = link.or(extended.link).unwrap_or_else(|| until_zero(&old.linkname).to_vec());
    let kind = match old.linkflag[0] {
        0 if name.ends_with(b"/") => Kind::Directory,
        0 | b'0' | b'7' => match extended.sparse.map()? {
            Where::Nowhere => Kind::File,
            Where::Here(map) => Kind::SparseFile(map),
            Where::Payload(size) => Kind::SparsePayload(size),
        },
        b'1' => Kind::HardLink(link),
        b'2' => Kind::Symlink(link),
        b'3' => device(header).map(|(major, minor)| Kind::CharDevice(major, minor))?,
        b'4' => device(header).map(|(major, minor)| Kind::BlockDevice(major, minor))?,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        b'S' => Kind::SparseFile(Map::of_header(header.as_gnu().ok_or(Problem::Sparse)?)?),
        b'V' => Kind::Label,
        other => return Err(Problem::Kind { kind: other.into() }),
    };
    // Whatever size a header states, entries of the other kinds have no payload.
    let has_payload = matches!(kind, Kind::File | Kind::SparseFile(_) | Kind::SparsePayload(_) | Kind::Label);
    let size = match extended.size {
        _ if !has_payload => 0,
        Some(size) => size,
        None => in_field("size", &old.size)?
            .try_into()
            .map_err(|_| Problem::Number { field: "size", value: shown(until_zero(&old.size)) })?,
    };
    let mtime = match extended.mtime {
        Some(mtime) => mtime,
        None => (in_field("mtime", &old.mtime)?, 0),
    };
    Ok(Entry {
        name: Vec::new(),
        mode: (in_field("mode", &old.mode)? & 0o7777) as u32,
        uid: id("uid", extended.uid, &old.uid)?,
        gid: id("gid", extended.gid, &old.gid)?,
        mtime,
        xattrs: extended.xattrs,
        size,
        kind,
    })
}

fn device(header: &Header) -> Result<(u32, u32), Problem> {
    let (major, minor) = match (header.as_ustar(), header.as_gnu()) {
        (Some(ustar), _) => (&ustar.dev_major, &ustar.dev_minor),
        (None, Some(gnu)) => (&gnu.dev_major, &gnu.dev_minor),
        (None, None) => return Err(Problem::Number { field: "device number", value: String::new() }),
    };
    // The kernel has 12 bits for one and 20 for the other, and would cut off higher bits.
    let part = |field: &[u8], bits| {
        number(field)
            .and_then(|number| u32::try_from(number).ok())
            .filter(|part: &u32| u64::from(*part) < 1_u64 << bits)
    };
    let both = part(major, 12).zip(part(minor, 20));
    both.ok_or_else(|| Problem::Number { field: "device number", value: shown(until_zero(major)) })
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_are_octal_or_of_base_256() {
        for (field, expected) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"644\0junk", Some(0o644)),
            (b"\0\0\0\0", Some(0)),
            (b"    ", Some(0)),
            (b"777777777777", Some(0o777_777_777_777)),
            (b"8", None),
            (b"-1", None),
            (b"1x", None),
            (b"\x80\0\0\0\x01\0\0\0", Some(1 << 24)),
            (b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"", None),
        ] {
            assert_eq!(number(field), expected, "{field:?}");
        }
    }
}

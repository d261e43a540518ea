//! The compression of a stream, recognised by its first bytes: its media type or file name is not trusted.

/// The number of bytes that decide the format.
pub const PEEK: usize = 10;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// A frame of zstd that is to be skipped: the lower half of the first byte may be anything.
const ZSTD_SKIPPABLE: [u8; 4] = [0x50, 0x2a, 0x4d, 0x18];
const BZIP2: [u8; 3] = *b"BZh";
/// Magic of the first block, or of the end: a tar may begin with a file whose name begins with `BZh`.
const BZIP2_BLOCKS: [[u8; 6]; 2] = [*b"1AY&SY", [0x17, 0x72, 0x45, 0x38, 0x50, 0x90]];
/// Formats that are only known by their beginning.
const OTHERS: [(&[u8], Foreign); 4] = [
    (&[0xfd, b'7', b'z', b'X', b'Z', 0], Foreign { name: "xz", program: "xz" }),
    (&[b'L', b'Z', b'I', b'P', 1], Foreign { name: "lzip", program: "lzip" }),
    (&[0x04, 0x22, 0x4d, 0x18], Foreign { name: "lz4", program: "lz4" }),
    (&[0x1f, 0x9d], Foreign { name: "compress", program: "gzip" }),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A tar, or anything else.
    Plain,
    Gzip,
    Zstd,
    Foreign(Foreign),
}

/// A format that is recognised and not supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Foreign {
    pub name: &'static str,
    /// The program that decompresses it, with `-dc`.
    pub program: &'static str,
}

impl Format {
    pub fn of(first: &[u8]) -> Self {
        if first.starts_with(&GZIP) {
            return Self::Gzip;
        }
        let skippable = first.len() >= 4 && first[0] & 0xf0 == ZSTD_SKIPPABLE[0] && first[1..4] == ZSTD_SKIPPABLE[1..];
        if first.starts_with(&ZSTD) || skippable {
            return Self::Zstd;
        }
        let is_bzip2 = first.starts_with(&BZIP2)
            && first.get(3).is_some_and(|level| (b'1'..=b'9').contains(level))
            && first.get(4..).is_some_and(|rest| BZIP2_BLOCKS.iter().any(|block| rest.starts_with(block)));
        if is_bzip2 {
            return Self::Foreign(Foreign { name: "bzip2", program: "bzip2" });
        }
        let other = OTHERS.iter().find(|(magic, _)| first.starts_with(magic));
        other.map_or(Self::Plain, |(_, foreign)| Self::Foreign(*foreign))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_decide_the_format() {
        let name = |first: &[u8]| match Format::of(first) {
            Format::Plain => "plain",
            Format::Gzip => "gzip",
            Format::Zstd => "zstd",
            Format::Foreign(foreign) => foreign.name,
        };
        for (first, expected) in [
            (&b""[..], "plain"),
            (b"etc/\0\0\0\0\0\0", "plain"),
            (b"BZh91AY&SY", "bzip2"),
            (b"BZh9\x17\x72\x45\x38\x50\x90", "bzip2"),
            (b"BZh9 is a ", "plain"),
            (b"BZhamburg\0", "plain"),
            (b"LZIP.txt\0\0", "plain"),
            (b"LZIP\x01\x0c\0\0\0\0", "lzip"),
            (b"\xfd7zXZ\0\0\0\0\0", "xz"),
            (b"\x04\x22\x4d\x18\0\0", "lz4"),
            (b"\x1f\x9d\x90\0", "compress"),
            (b"\x1f\x8b\x08\0", "gzip"),
            (b"\x28\xb5\x2f\xfd\0", "zstd"),
            (b"\x5e\x2a\x4d\x18\0", "zstd"),
        ] {
            assert_eq!(name(first), expected, "{first:?}");
        }
    }
}

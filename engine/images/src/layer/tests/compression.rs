//! Compressed layers, whole and damaged.

use std::io::Write;

use super::*;

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn tar() -> Vec<u8> {
    let noise: Vec<u8> = (0..200_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut tar = Tar::new().dir("d").file("d/noise", noise).file("small", "s").end();
    // Padding belongs to the digest.
    tar.resize(tar.len().next_multiple_of(10240), 0);
    tar
}

#[test]
fn members_and_frames_make_one_stream() {
    let tar = tar();
    let parts = [&tar[..700], &tar[700..90_000], &tar[90_000..]];
    let skippable = [&b"\x53\x2a\x4d\x18\x03\0\0\0abc"[..], &zstd(&tar)].concat();
    for compressed in [
        gzip(&tar),
        parts.map(gzip).concat(),
        tar.chunks(1000).map(gzip).collect::<Vec<_>>().concat(),
        [gzip(&tar), vec![0; 3000]].concat(),
        [gzip(&tar), gzip(b"")].concat(),
        zstd(&tar),
        parts.map(zstd).concat(),
        skippable,
    ] {
        let place = Place::new();
        let unpacked = place.unpack(&compressed).unwrap();
        assert_eq!(unpacked.facts.diff_id, sha256(&tar));
        assert_eq!(unpacked.facts.tar_size, tar.len() as u64);
        assert_eq!(unpacked.facts.size, 200_001);
        assert_eq!(unpacked.source, (sha256(&compressed), compressed.len() as u64));
        let mut again = Vec::new();
        assemble(&place.dir(), &mut again).unwrap();
        assert!(again == tar);
    }
}

#[test]
fn trickling_sources_are_the_same() {
    struct Trickle<'a>(&'a [u8]);
    impl std::io::Read for Trickle<'_> {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            let length = into.len().min(7).min(self.0.len());
            into[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }
    let tar = tar();
    for compressed in [tar.clone(), gzip(&tar), zstd(&tar)] {
        let place = Place::new();
        let unpacked = unpack(Trickle(&compressed), &place.dir(), &small(), &|| false).unwrap();
        assert_eq!((unpacked.facts.diff_id, unpacked.source.0), (sha256(&tar), sha256(&compressed)));
    }
}

#[test]
fn damage_is_found_wherever_it_is() {
    let tar = tar();
    for (format, compressed) in [("gzip", gzip(&tar)), ("zstd", zstd(&tar))] {
        for length in [8, 20, 1000, compressed.len() / 2, compressed.len() - 5, compressed.len() - 1] {
            let text = bad(&compressed[..length]);
            assert_eq!(text, format!("the layer ends too early: its {format} compression is not complete"), "{length}");
        }
        for position in [compressed.len() / 2, compressed.len() - 3] {
            let mut compressed = compressed.clone();
            compressed[position] ^= 0x55;
            bad(&compressed);
        }
    }
    let garbage = [gzip(&tar), b"garbage".to_vec()].concat();
    assert_eq!(bad(&garbage), "the layer has gzip data that is followed by something else");
    let late = [gzip(&tar), vec![0; 5000], b"garbage".to_vec()].concat();
    assert_eq!(bad(&late), "the layer has gzip data that is followed by something else");
    let garbage = [zstd(&tar), b"garbage".to_vec()].concat();
    assert!(bad(&garbage).starts_with("the layer's zstd compression is damaged: "));
}

//! Writes something to start from: `cargo run --bin seeds` in this directory, before the first `cargo fuzz run layer`.

use std::fs;
use std::io::Write;
use std::path::Path;

#[path = "tar_sums.rs"]
mod tar_sums;

const SPARSE: &[u8] = b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n31 GNU.sparse.realsize=0005000\n";

fn header(kind: u8, name: &str, link: &str, size: usize) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..108].copy_from_slice(b"0000755\0");
    block[108..116].copy_from_slice(b"0000000\0");
    block[116..124].copy_from_slice(b"0000000\0");
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[136..148].copy_from_slice(b"07346545000\0");
    block[156] = kind;
    block[157..157 + link.len()].copy_from_slice(link.as_bytes());
    block[257..265].copy_from_slice(b"ustar  \0");
    block
}

fn entry(kind: u8, name: &str, content: &[u8]) -> Vec<u8> {
    let mut bytes = header(kind, name, "", content.len());
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn archives() -> Vec<(&'static str, Vec<u8>)> {
    let file = |name, content| entry(b'0', name, content);
    let dir = |name| header(b'5', name, "", 0);
    let symlink = |name, target| header(b'2', name, target, 0);
    let hard_link = |name, target| header(b'1', name, target, 0);
    let pax = b"30 mtime=1700000000.123456789\n31 SCHILY.xattr.user.note=1\n23\n";
    let sparse_payload = [b"1\n0\n3\n".as_slice(), &[0; 506], b"abc"].concat();
    vec![
        (
            "plain",
            [dir("d"), file("d/f", b"content"), symlink("l", "d"), file("l/g", b"more"), hard_link("h", "d/f")]
                .concat(),
        ),
        (
            "twice",
            [file("a", b"1"), dir("a"), file("a/b", b"2"), file("a", b"3"), symlink("a", "b"), dir("a")].concat(),
        ),
        (
            "whiteouts",
            [file(".wh.x", b""), dir("x"), file("d/.wh..wh..opq", b""), file("d/.wh.y", b""), file("d/y/z", b"1")]
                .concat(),
        ),
        (
            "outside",
            [
                symlink("l", "../../canary"),
                file("l/x", b"1"),
                symlink("m", "/"),
                file("m/m/y", b"2"),
                file("../z", b"3"),
            ]
            .concat(),
        ),
        (
            "long",
            [entry(b'L', "././@LongLink", &[b'n'; 150]), entry(b'K', "././@LongLink", &[b't'; 150]), symlink("x", "y")]
                .concat(),
        ),
        (
            "pax",
            [
                entry(b'x', "h", pax),
                file("f", b"content"),
                entry(b'g', "g", b"13 comment=x\n"),
                header(b'6', "fifo", "", 0),
            ]
            .concat(),
        ),
        ("sparse", [entry(b'x', "h", SPARSE), entry(b'0', "f", &sparse_payload), header(b'S', "s", "", 0)].concat()),
    ]
}

fn documents() -> Vec<String> {
    let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
    let descriptor =
        |kind: &str| format!(r#"{{"mediaType":"application/vnd.oci.image.{kind}","digest":"{digest}","size":7}}"#);
    let (config, layer, manifest) =
        (descriptor("config.v1+json"), descriptor("layer.v1.tar+gzip"), descriptor("manifest.v1+json"));
    vec![
        format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{config},"layers":[{layer}]}}"#
        ),
        format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{manifest}]}}"#
        ),
        format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{"Cmd":["sh"]}},"rootfs":{{"type":"layers","diff_ids":["{digest}"]}}}}"#
        ),
        r#"[{"Config":"c.json","RepoTags":["a:b"],"Layers":["l/layer.tar"]}]"#.to_owned(),
    ]
}

const NAMES: [&str; 4] = ["busybox", "localhost:5000/a/b__c:v1.0", "docker.io/library/x", "r.example/n@sha256:0"];

fn write(target: &str, name: String, bytes: &[u8]) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&corpus).expect("a directory can be made here");
    fs::write(corpus.join(name), bytes).expect("a seed can be written");
}

fn main() {
    for (number, document) in documents().iter().enumerate() {
        write("manifest", format!("{number}.json"), document.as_bytes());
    }
    for (number, name) in NAMES.iter().enumerate() {
        write("reference", number.to_string(), name.as_bytes());
    }
    for (name, archive) in archives() {
        let archive = tar_sums::correct(&[archive, vec![0; 1024]].concat());
        write("layer", format!("{name}.tar"), &archive);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&archive).expect("memory takes everything");
        write("layer", format!("{name}.tar.gz"), &gzip.finish().expect("memory takes everything"));
        write("layer", format!("{name}.tar.zst"), &zstd::encode_all(&archive[..], 1).expect("memory takes everything"));
    }
}

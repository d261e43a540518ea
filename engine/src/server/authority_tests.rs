use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const PATH: &[u8] = b"%2Frun%2Fisulad.sock";

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
}

/// A literal with the name of a place in the static table.
fn literal(first: u8, value: &[u8]) -> Vec<u8> {
    [&[first, u8::try_from(value.len()).unwrap()][..], value].concat()
}

fn block(authority: &[u8]) -> Vec<u8> {
    // POST, a path, an authority that enters the table, a literal with a new name.
    [&[0x83][..], &literal(0x44, b"/a/%b"), &literal(0x41, authority), &[0x40, 2], b"te", &[8], b"trailers"].concat()
}

async fn through(bytes: &[u8], step: usize) -> Vec<u8> {
    let (mut client, server) = tokio::io::duplex(1 << 20);
    let sent = [&vec![b'P'; PREFACE][..], bytes].concat();
    let sending = tokio::spawn(async move {
        for piece in sent.chunks(step) {
            client.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    let mut received = Vec::new();
    WithAuthority::new(server).read_to_end(&mut received).await.unwrap();
    sending.await.unwrap();
    received.split_off(PREFACE)
}

#[tokio::test]
async fn only_the_authority_changes_however_the_bytes_are_split() {
    let mended = PATH.iter().map(|byte| if *byte == b'%' { b'-' } else { *byte }).collect::<Vec<_>>();
    let data = frame(0, 0, &[0x41; 100]);
    let padded = |authority: &[u8]| {
        let block = block(authority);
        [&[3, 0, 0, 0, 0, 16][..], &block, &[0; 3]].concat()
    };
    let split = |authority: &[u8]| {
        let block = block(authority);
        [frame(HEADERS, 0, &block[..15]), frame(CONTINUATION, END_HEADERS, &block[15..])].concat()
    };
    let all = |authority: &[u8]| {
        [
            frame(4, 0, &[]),
            frame(HEADERS, END_HEADERS, &block(authority)),
            data.clone(),
            frame(HEADERS, END_HEADERS | PADDED | PRIORITY, &padded(authority)),
            split(authority),
            data.clone(),
        ]
        .concat()
    };
    for step in [1, 7, 50, 10_000] {
        assert_eq!(through(&all(PATH), step).await, all(&mended), "{step}");
        assert_eq!(through(&all(b"localhost:80"), step).await, all(b"localhost:80"), "{step}");
    }
}

#[tokio::test]
async fn unparsable_bytes_are_passed_on() {
    let cut = frame(HEADERS, END_HEADERS, &block(PATH));
    let long = frame(HEADERS, 0, &vec![0x83; LONGEST_BLOCK]);
    for bytes in [
        cut[..20].to_vec(),
        frame(HEADERS, END_HEADERS, &[0x41, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff]),
        frame(HEADERS, END_HEADERS | PADDED, &[200, 0x41]),
        [long, frame(CONTINUATION, END_HEADERS, &[0x83])].concat(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ] {
        assert_eq!(through(&bytes, 5000).await, bytes);
    }
}

/// `%2Frun/a` as compressed by the code of RFC 7541: 010101 00010 1100001 101100 101101 101010 011000 00011 and
/// padding.
#[test]
fn a_compressed_authority_keeps_its_length() {
    let bits = |text: &str| -> Vec<u8> {
        let mut text: String = text.split_whitespace().collect();
        text.push_str(&"1".repeat(text.len().wrapping_neg() % 8));
        text.as_bytes()
            .chunks(8)
            .map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap())
            .collect()
    };
    let mut value = bits("010101 00010 1100001 101100 101101 101010 011000 00011");
    mend_huffman(&mut value);
    assert_eq!(value, bits("010110 00010 1100001 101100 101101 101010 010110 00011"));
    // Codes of the longest kinds end nothing early: 0x0a is 111111111111111111111111111100.
    let mut value = bits("11111111 11111111 11111111 111100 010101");
    mend_huffman(&mut value);
    assert_eq!(value, bits("11111111 11111111 11111111 111100 010110"));
}

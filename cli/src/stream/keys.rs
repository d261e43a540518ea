//! Keys that leave a container running: the syntax of `--detach-keys`, and finding the sequence in typed bytes.

use clap::{Arg, ArgMatches};

use crate::failure::Failure;
use crate::flag;

const FLAG: &str = "detach-keys";
/// Docker's default, which is the most widely known, and the reference's.
const DEFAULT: [&[u8]; 2] = [&[0x10, 0x11], &[0x01, b'q']];
/// Keys in one sequence.
const LONGEST: usize = 16;

/// Finds a sequence in a stream of bytes, cut anywhere. Keys that may begin one are held until the next key decides;
/// those that did not are passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DetachKeys {
    sequences: Vec<Vec<u8>>,
    /// The longest end of the typed bytes that begins a sequence.
    held: Vec<u8>,
}

/// The result of typed bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Typed {
    /// For the container.
    pub(super) passed: Vec<u8>,
    /// A sequence is complete. Bytes after it are dropped.
    pub(super) detached: bool,
}

/// The flag.
pub(crate) fn arg() -> Arg {
    let help =
        "Keys that leave the container running, such as ctrl-p,ctrl-q (default: these, and ctrl-a,q); \"\" is none";
    flag::value(FLAG, "KEYS", help)
}

/// The sequences of the flag, or the default.
pub(crate) fn given(matches: &ArgMatches) -> Result<DetachKeys, Failure> {
    match flag::text(matches, FLAG) {
        None => Ok(DetachKeys::new(DEFAULT.map(<[u8]>::to_vec).to_vec())),
        Some("") => Ok(DetachKeys::new(vec![])),
        Some(text) => match parse(text) {
            Ok(sequence) => Ok(DetachKeys::new(vec![sequence])),
            Err(reason) => Err(Failure::usage(format!("Invalid value \"{text}\" for flag --{FLAG}: {reason}"))),
        },
    }
}

fn parse(text: &str) -> Result<Vec<u8>, String> {
    let keys = text.split(',').map(key).collect::<Result<Vec<u8>, String>>()?;
    if keys.len() > LONGEST { Err(format!("it has more than {LONGEST} keys")) } else { Ok(keys) }
}

/// One printable character, or one with Ctrl: a key that a terminal sends as a single byte.
fn key(word: &str) -> Result<u8, String> {
    let control = word.get(..5).filter(|prefix| prefix.eq_ignore_ascii_case("ctrl-")).map(|_| &word[5..]);
    match (control.map(str::as_bytes), word.as_bytes()) {
        (Some(&[letter @ (b'a'..=b'z' | b'A'..=b'Z' | b'@' | b'[' | b'\\' | b']' | b'^' | b'_')]), _) => {
            Ok(letter.to_ascii_uppercase() - b'@')
        }
        (Some(_), _) => Err(format!("ctrl- goes with a letter or one of @ [ \\ ] ^ _, not with \"{}\"", &word[5..])),
        (None, &[byte @ b' '..=b'~']) => Ok(byte),
        (None, b"") => Err("a key is missing".to_owned()),
        (None, _) => Err(format!("\"{word}\" is no key: want a character or ctrl-CHARACTER")),
    }
}

impl DetachKeys {
    fn new(sequences: Vec<Vec<u8>>) -> Self {
        Self { sequences, held: Vec::new() }
    }

    pub(super) fn take(&mut self, bytes: &[u8]) -> Typed {
        let mut passed = Vec::with_capacity(self.held.len() + bytes.len());
        for &byte in bytes {
            self.held.push(byte);
            while !self.sequences.iter().any(|sequence| sequence.starts_with(&self.held)) {
                // Every sequence continues an empty beginning, unless there is no sequence.
                passed.push(self.held.remove(0));
                if self.held.is_empty() {
                    break;
                }
            }
            let complete = self.sequences.iter().filter(|sequence| self.held.ends_with(sequence)).map(Vec::len).max();
            if let Some(length) = complete {
                let held = self.rest();
                passed.extend_from_slice(&held[..held.len() - length]);
                return Typed { passed, detached: true };
            }
        }
        Typed { passed, detached: false }
    }

    /// The held bytes, when no more can come.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(sequences: &[&[u8]]) -> DetachKeys {
        DetachKeys::new(sequences.iter().map(|sequence| sequence.to_vec()).collect())
    }

    #[test]
    fn spellings() {
        for (text, bytes) in [
            ("ctrl-p,ctrl-q", &[0x10, 0x11][..]),
            ("ctrl-a,q", &[1, b'q']),
            ("CTRL-A", &[1]),
            ("ctrl-Z", &[26]),
            ("ctrl-@", &[0]),
            ("ctrl-[", &[27]),
            ("ctrl-\\", &[28]),
            ("ctrl-],ctrl-^,ctrl-_", &[29, 30, 31]),
            ("a,b,c", b"abc"),
            ("x, ,~", b"x ~"),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn invalid_keys_are_rejected() {
        for (text, reason) in [
            (",", "a key is missing"),
            ("a,", "a key is missing"),
            ("ctrl-p,,ctrl-q", "a key is missing"),
            ("ctrl-", "ctrl- goes with a letter or one of @ [ \\ ] ^ _, not with \"\""),
            ("ctrl-1", "ctrl- goes with a letter or one of @ [ \\ ] ^ _, not with \"1\""),
            ("ctrl-pq", "ctrl- goes with a letter or one of @ [ \\ ] ^ _, not with \"pq\""),
            ("pq", "\"pq\" is no key: want a character or ctrl-CHARACTER"),
            ("ä", "\"ä\" is no key: want a character or ctrl-CHARACTER"),
            ("ctrlä", "\"ctrlä\" is no key: want a character or ctrl-CHARACTER"),
            ("\n", "\"\n\" is no key: want a character or ctrl-CHARACTER"),
        ] {
            assert_eq!(parse(text), Err(reason.to_owned()), "{text}");
        }
        assert_eq!(parse("a,".repeat(17).trim_end_matches(',')), Err("it has more than 16 keys".to_owned()));
    }

    #[test]
    fn a_sequence_that_is_not_completed_is_passed_on() {
        let mut keys = keys(&DEFAULT);
        assert_eq!(keys.take(b"ab\x10"), Typed { passed: b"ab".to_vec(), detached: false });
        assert_eq!(keys.take(b"c"), Typed { passed: b"\x10c".to_vec(), detached: false });
        assert_eq!(keys.take(b"\x10\x10\x01"), Typed { passed: b"\x10\x10".to_vec(), detached: false });
        assert_eq!(keys.take(b"q!"), Typed { passed: vec![], detached: true });
        assert_eq!(keys.take(b"\x10"), Typed { passed: vec![], detached: false });
        assert_eq!(keys.rest(), b"\x10");
        assert_eq!(keys.rest(), b"");
    }

    #[test]
    fn without_keys_everything_is_passed_on() {
        let mut keys = keys(&[]);
        assert_eq!(keys.take(b"\x10\x11\x01q"), Typed { passed: b"\x10\x11\x01q".to_vec(), detached: false });
        assert_eq!(keys.rest(), b"");
    }

    #[test]
    fn a_sequence_may_begin_within_another_attempt() {
        let mut keys = keys(&[b"aab"]);
        assert_eq!(keys.take(b"aaab"), Typed { passed: b"a".to_vec(), detached: true });
    }

    /// The first place where a sequence ends, and of those that end there the longest.
    fn model(sequences: &[Vec<u8>], typed: &[u8]) -> (Vec<u8>, bool) {
        for end in 1..=typed.len() {
            let found = sequences.iter().filter(|sequence| typed[..end].ends_with(sequence)).map(Vec::len).max();
            if let Some(length) = found {
                return (typed[..end - length].to_vec(), true);
            }
        }
        (typed.to_vec(), false)
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(
            sequences in prop::collection::vec(prop::collection::vec(0u8..3, 1..5), 0..4),
            typed in prop::collection::vec(0u8..4, 0..12),
        ) {
            let expected = model(&sequences, &typed);
            // Every way to cut it: a bit for each gap.
            for cuts in 0..1u32 << typed.len().saturating_sub(1) {
                let mut keys = DetachKeys::new(sequences.clone());
                let (mut passed, mut chunk, mut detached) = (Vec::new(), Vec::new(), false);
                for (index, &byte) in typed.iter().enumerate() {
                    chunk.push(byte);
                    if cuts >> index & 1 == 1 || index + 1 == typed.len() {
                        let taken = keys.take(&std::mem::take(&mut chunk));
                        passed.extend(taken.passed);
                        detached = taken.detached;
                        if detached {
                            break;
                        }
                    }
                }
                passed.extend(keys.rest());
                prop_assert_eq!((passed, detached), expected.clone());
            }
        }
    }
}

//! Numbers without an event, and the reason.

use crate::Seq;

/// A range of numbers without events, from `first` to `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first number.
    pub first: Seq,
    /// The last number.
    pub last: Seq,
    /// The reason.
    pub cause: GapCause,
}

/// The reason why numbers have no events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapCause {
    /// A repair skipped them: their events, if there were any, are lost.
    Skipped,
    /// The archive file that held them is missing, or was exchanged.
    Missing,
    /// The archive file that holds them is unreadable.
    Unreadable,
}

impl GapCause {
    /// The cause in one word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Missing => "missing",
            Self::Unreadable => "unreadable",
        }
    }
}

/// The ranges of `missing` that `declared` does not cover. Both are in order; ranges of one list do not overlap.
pub(crate) fn undeclared(missing: &[(Seq, Seq)], declared: &[(Seq, Seq)]) -> Vec<(Seq, Seq)> {
    let mut left = Vec::new();
    for &(first, last) in missing {
        let mut next = first;
        for &(from, to) in declared.iter().filter(|(from, to)| *from <= last && *to >= first) {
            if from > next {
                left.push((next, from - 1));
            }
            next = next.max(to.saturating_add(1));
        }
        if next <= last {
            left.push((next, last));
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_gaps_are_not_missing() {
        assert_eq!(undeclared(&[(1, 9)], &[]), [(1, 9)]);
        assert_eq!(undeclared(&[(1, 9)], &[(1, 9)]), []);
        assert_eq!(undeclared(&[(1, 9)], &[(3, 4), (8, 20)]), [(1, 2), (5, 7)]);
        assert_eq!(undeclared(&[(1, 3), (8, 9)], &[(2, 8)]), [(1, 1), (9, 9)]);
    }
}

//! Numbers that follow from the seed and from the place they are drawn for alone.

/// A generator (splitmix64) for one decision.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    /// For the decision at this place, such as client 2's step 17. Numbers drawn at other places have no influence.
    pub(crate) fn of(seed: u64, place: &[u64]) -> Self {
        let mut dice = Self(seed);
        for word in place {
            dice.0 = dice.number() ^ word.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        }
        dice.number();
        dice
    }

    /// For a thing that has a name.
    pub(crate) fn named(seed: u64, name: &str) -> Self {
        let place: Vec<u64> = name.bytes().map(u64::from).collect();
        Self::of(seed, &place)
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `end` - 1.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.number() % end.max(1)
    }

    /// True this often of a hundred times.
    pub(crate) fn percent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        let number = usize::try_from(self.below(of.len() as u64)).unwrap_or(0);
        of.get(number).copied()
    }

    /// One of several, each as often as its weight demands.
    pub(crate) fn weighed<T: Copy>(&mut self, of: &[(u64, T)]) -> Option<T> {
        let mut left = self.below(of.iter().map(|(weight, _)| weight).sum());
        for (weight, value) in of {
            match left.checked_sub(*weight) {
                Some(rest) => left = rest,
                None => return Some(*value),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_place_gives_the_same_numbers_and_another_others() {
        let drawn = |seed, place: &[u64]| {
            let mut dice = Dice::of(seed, place);
            [dice.number(), dice.number(), dice.number()]
        };
        assert_eq!(drawn(7, &[1, 2]), drawn(7, &[1, 2]));
        assert!(drawn(7, &[1, 2]) != drawn(7, &[2, 1]) && drawn(7, &[1, 2]) != drawn(8, &[1, 2]));
    }

    #[test]
    fn weights_are_kept() {
        let count = (0..10_000).filter(|n| Dice::of(1, &[*n]).weighed(&[(1, 'a'), (9, 'b')]) == Some('a')).count();
        assert!((800..1200).contains(&count), "{count}");
    }
}

//! Measured values and how they are shown: one row each, with its method of measurement on the line below.

use std::time::Duration;

/// Values of one thing, measured several times.
#[derive(Debug, Default, Clone)]
pub(crate) struct Sample {
    values: Vec<f64>,
}

impl Sample {
    pub(crate) fn push(&mut self, value: f64) {
        self.values.push(value);
    }

    pub(crate) fn push_ms(&mut self, time: Duration) {
        self.push(ms(time));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The middle value; the mean of the two middle ones of an even number. `NaN` of nothing.
    pub(crate) fn median(&self) -> f64 {
        let sorted = self.sorted();
        match sorted.len() {
            0 => f64::NAN,
            n if n % 2 == 1 => sorted[n / 2],
            n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
        }
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

impl FromIterator<f64> for Sample {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self { values: values.into_iter().collect() }
    }
}

pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The heading of a group of rows, and how all of them were measured.
pub(crate) fn section(title: &str, method: &str) {
    println!("\n{title}\n  method: {method}");
    println!("  {:<58} {:>5} {:>9} {:>9} {:>9}", "", "n", "min", "median", "max");
}

/// One row; a budget is for the median.
pub(crate) fn row(label: &str, unit: &str, sample: &Sample, budget: Option<f64>) {
    let sorted = sample.sorted();
    let (Some(min), Some(max)) = (sorted.first(), sorted.last()) else {
        println!("  {label:<58} {:>5}", 0);
        return;
    };
    let median = sample.median();
    let verdict = match budget {
        Some(budget) if median <= budget => format!("  within {budget}"),
        Some(budget) => format!("  OVER {budget}"),
        None => String::new(),
    };
    println!("  {label:<58} {:>5} {min:>9.2} {median:>9.2} {max:>9.2} {unit}{verdict}", sorted.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!([3.0, 1.0, 2.0].into_iter().collect::<Sample>().median(), 2.0);
        assert_eq!([4.0, 1.0, 2.0, 3.0].into_iter().collect::<Sample>().median(), 2.5);
        assert!(Sample::default().median().is_nan());
    }
}

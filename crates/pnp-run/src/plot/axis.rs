//! Axes: ranges that hold the data, round ticks, short labels.

use std::ops::Range;

/// How an axis is labelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Whole numbers: steps and epochs.
    Whole,
    /// Any reals; very large and very small ones share a power of ten.
    Real,
    /// Percent, 0 to 100.
    Percent,
}

/// An axis: what it spans, where its ticks are and how they read.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    range: Range<f64>,
    ticks: Vec<f64>,
    /// The power of ten that labels are divided by.
    exponent: i32,
    decimals: usize,
}

/// Numbers beyond are drawn as if they were missing, so that no sum or ratio of two overflows.
const LARGEST: f64 = 1e200;
/// Numbers nearer to 0 are drawn as 0.
const SMALLEST: f64 = 1e-200;
/// By how much of a step a value may miss a tick and still be taken to be on it.
const ROUNDING: f64 = 1e-6;

/// A number as it can be drawn; NaN where it cannot.
pub(super) fn drawable(value: f64) -> f64 {
    match value.abs() {
        size if size.is_nan() || size > LARGEST => f64::NAN,
        size if size < SMALLEST => 0.0,
        _ => value,
    }
}

impl Axis {
    /// A horizontal axis that spans the data and no more.
    pub(super) fn horizontal(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = extent(values).unwrap_or((0.0, 1.0));
        let (low, high) = if low < high { (low, high) } else { ((low - 1.0).max(0.0), low + 1.0) };
        let step = round_step((high - low) / 6.0).max(1.0);
        Self::with_ticks(low..high, step, Kind::Whole)
    }

    /// A vertical axis that spans the data up to the next ticks, from 0 where that is near.
    pub(super) fn vertical(values: impl Iterator<Item = f64>, kind: Kind) -> Self {
        let (low, high) = extent(values).unwrap_or((0.0, 1.0));
        let size = low.abs().max(high.abs());
        let flat = high - low <= 1e-9 * size;
        let (low, high) = match (flat, kind) {
            (true, Kind::Percent) => (low - 5.0, high + 5.0),
            (true, _) if size == 0.0 => (0.0, 1.0),
            (true, _) => (low - 0.1 * size, high + 0.1 * size),
            (false, _) if low > 0.0 && low < 0.4 * high => (0.0, high),
            (false, _) => (low, high),
        };
        let limits = if kind == Kind::Percent && low >= -5.0 && high <= 105.0 {
            (0.0, 100.0)
        } else {
            (f64::NEG_INFINITY, f64::INFINITY)
        };
        let step = round_step((high - low) / 6.0);
        let low = ((low / step + ROUNDING).floor() * step).max(limits.0);
        let high = ((high / step - ROUNDING).ceil() * step).min(limits.1);
        Self::with_ticks(low..high, step, kind)
    }

    fn with_ticks(range: Range<f64>, step: f64, kind: Kind) -> Self {
        let first = (range.start / step - ROUNDING).ceil();
        let count = ((range.end / step + ROUNDING).floor() - first) as usize;
        let ticks: Vec<f64> = (0..=count.min(50)).map(|i| (first + i as f64) * step).collect();
        let size = range.start.abs().max(range.end.abs());
        let exponent = match size.log10().floor() {
            power if kind == Kind::Real && !(-2.0..5.0).contains(&power) => power as i32,
            _ => 0,
        };
        let decimals = (f64::from(exponent) - step.log10() - 1e-9).ceil().clamp(0.0, 12.0);
        Self { range, ticks, exponent, decimals: decimals as usize }
    }

    /// What to add to the axis's name: the power of ten that its labels leave out.
    pub(super) fn factor(&self) -> String {
        if self.exponent == 0 {
            return String::new();
        }
        let digits = self.exponent.to_string();
        format!(" (×10{})", digits.chars().map(superscript).collect::<String>())
    }

    /// Where a value stands: 0 at the start, 1 at the end.
    pub(super) fn share(&self, value: f64) -> f64 {
        (value - self.range.start) / (self.range.end - self.range.start)
    }

    /// Where the ticks are.
    pub(super) fn ticks(&self) -> &[f64] {
        &self.ticks
    }

    /// How a tick reads.
    pub(super) fn label(&self, tick: f64) -> String {
        let value = tick / 10f64.powi(self.exponent);
        let text = format!("{value:.*}", self.decimals);
        // Rounding can leave a minus before nothing but zeros.
        let negative = value < 0.0 && text.contains(|c: char| ('1'..='9').contains(&c));
        let text = text.trim_start_matches('-');
        let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
        let sign = if negative { "−" } else { "" };
        format!("{sign}{}{fraction}", thousands(whole))
    }
}

/// The least and the greatest of the numbers, NaN left out; `None` where there is none.
fn extent(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.filter(|v| !v.is_nan()).fold(None, |ends, v| match ends {
        Some((low, high)) => Some((v.min(low), v.max(high))),
        None => Some((v, v)),
    })
}

/// The least of 1, 2 and 5 times a power of ten that is at least `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0]
        .map(|digit| digit * power)
        .into_iter()
        .find(|s| *s >= step * (1.0 - ROUNDING))
        .unwrap_or(10.0 * power)
}

/// Digits in groups of three; four stand together.
fn thousands(digits: &str) -> String {
    if digits.len() < 5 {
        return digits.to_owned();
    }
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn superscript(c: char) -> char {
    match c {
        '0' => '⁰',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        '4' => '⁴',
        '5' => '⁵',
        '6' => '⁶',
        '7' => '⁷',
        '8' => '⁸',
        '9' => '⁹',
        _ => '⁻',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(axis: &Axis) -> (f64, f64) {
        (axis.range.start, axis.range.end)
    }

    fn labels(axis: &Axis) -> Vec<String> {
        axis.ticks.iter().map(|&tick| axis.label(tick)).collect()
    }

    #[test]
    fn ticks_are_round_and_hold_the_data() {
        let axis = Axis::vertical([0.13, 0.94].into_iter(), Kind::Real);
        assert_eq!(ends(&axis), (0.0, 1.0));
        assert_eq!(labels(&axis), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        let axis = Axis::vertical([61.0, 83.5].into_iter(), Kind::Percent);
        assert_eq!(labels(&axis), ["60", "65", "70", "75", "80", "85"]);
        let axis = Axis::vertical([-0.2, 0.2].into_iter(), Kind::Real);
        assert_eq!(labels(&axis), ["−0.2", "−0.1", "0.0", "0.1", "0.2"]);
    }

    #[test]
    fn percent_stays_within_its_limits() {
        for values in [[99.0, 100.0], [100.0, 100.0], [0.0, 0.0], [0.0, 100.0]] {
            let (low, high) = ends(&Axis::vertical(values.into_iter(), Kind::Percent));
            assert!(low >= 0.0 && high <= 100.0 && low <= values[0] && values[1] <= high);
            assert!(low < high);
        }
    }

    #[test]
    fn small_numbers_share_a_power_of_ten() {
        let axis = Axis::vertical([1e-6, 1e-5].into_iter(), Kind::Real);
        assert_eq!(labels(&axis), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(axis.factor(), " (×10⁻⁵)");
    }

    #[test]
    fn steps_are_whole_numbers() {
        let axis = Axis::horizontal([0.0, 99_999.0].into_iter());
        assert_eq!(labels(&axis), ["0", "20,000", "40,000", "60,000", "80,000"]);
        assert_eq!(labels(&Axis::horizontal([0.0, 2.0].into_iter())), ["0", "1", "2"]);
        assert_eq!(labels(&Axis::horizontal(std::iter::once(3.0))), ["2", "3", "4"]);
    }

    #[test]
    fn any_data_gives_a_usable_axis() {
        let cases: [&[f64]; 8] = [
            &[],
            &[f64::NAN],
            &[f64::INFINITY, 1.0],
            &[1e308, -1e308],
            &[1e-308],
            &[5.0; 3],
            &[1.0, 1.0 + f64::EPSILON],
            &[-1e199, 1e-199],
        ];
        for values in cases {
            let values = values.iter().map(|&v| drawable(v));
            for kind in [Kind::Real, Kind::Percent] {
                let axis = Axis::vertical(values.clone(), kind);
                let (low, high) = ends(&axis);
                assert!(low.is_finite() && high.is_finite() && low < high, "{low} to {high}");
                assert!((2..=12).contains(&axis.ticks.len()), "{:?}", axis.ticks);
                assert!(labels(&axis).iter().all(|label| label.len() < 300));
            }
        }
    }
}

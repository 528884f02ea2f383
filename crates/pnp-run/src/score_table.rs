//! Scores side by side, as text.

use std::fmt::Write;

use crate::records::first_seen;

/// Whether a metric is a fraction, shown in percent. The others are distances between classes and
/// the spectrum's divergence, which have no upper end of 1.
pub fn is_fraction(metric: &str) -> bool {
    let name = metric.strip_prefix("c_").or(metric.strip_prefix("e_")).unwrap_or(metric);
    !(name.starts_with("dists") || name.starts_with("rho_spectrum"))
}

/// Sets scores side by side: a column for each (heading, scores), a row for each metric in the
/// order of first appearance, aligned, each line ending in a line feed.
///
/// Fractions are shown in percent with two decimals, other metrics (see [`is_fraction`]) as they
/// are with four; `n/a` where a metric is missing or not a number.
///
/// ```
/// let before = [("recall@1".to_owned(), 0.5)];
/// let after = [("recall@1".to_owned(), 0.75), ("nmi".to_owned(), 0.9)];
/// assert_eq!(
///     pnp_run::score_table(&[("untrained", &before), ("best", &after)]),
///     "metric    untrained    best\n\
///      recall@1     50.00%  75.00%\n\
///      nmi             n/a  90.00%\n"
/// );
/// ```
pub fn score_table(columns: &[(&str, &[(String, f64)])]) -> String {
    let scores = columns.iter().flat_map(|(_, scores)| scores.iter());
    let metrics = first_seen(scores.map(|(name, _)| name.as_str()));
    let heading = std::iter::once("metric".to_owned());
    let heading: Vec<_> = heading.chain(columns.iter().map(|(h, _)| (*h).to_owned())).collect();
    let rows = metrics.into_iter().map(|metric| {
        let cells = columns.iter().map(|(_, scores)| cell(metric, scores));
        std::iter::once(metric.to_owned()).chain(cells).collect()
    });
    let rows: Vec<Vec<String>> = std::iter::once(heading).chain(rows).collect();
    align(&rows)
}

/// A metric's value in words.
pub(crate) fn show(metric: &str, value: f64) -> String {
    match (value.is_nan(), is_fraction(metric)) {
        (true, _) => "n/a".into(),
        (false, true) => format!("{:.2}%", 100.0 * value),
        (false, false) => format!("{value:.4}"),
    }
}

fn cell(metric: &str, scores: &[(String, f64)]) -> String {
    let value = scores.iter().find(|(name, _)| name == metric).map_or(f64::NAN, |(_, v)| *v);
    show(metric, value)
}

/// The rows with their first cells flush left and the others flush right.
fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            // Writing to a string cannot fail.
            let _ = match column {
                0 => write!(text, "{cell:<width$}"),
                _ => write!(text, "  {cell:>width$}"),
            };
        }
        // A table without columns has its first cells padded to no purpose.
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_fraction_is_not_shown_in_percent() {
        let scores = [("dists@intra".to_owned(), 0.25), ("rho_spectrum@-1".to_owned(), 1.5)];
        assert_eq!(
            score_table(&[("test", &scores)]),
            "metric             test\ndists@intra      0.2500\nrho_spectrum@-1  1.5000\n"
        );
    }

    #[test]
    fn missing_values_are_named_and_no_column_is_no_crash() {
        let scores = [("nmi".to_owned(), f64::NAN)];
        assert_eq!(
            score_table(&[("a", &scores), ("b", &[])]),
            "metric    a    b\nnmi     n/a  n/a\n"
        );
        assert_eq!(score_table(&[]), "metric\n");
    }
}

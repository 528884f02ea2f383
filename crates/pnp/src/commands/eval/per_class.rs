//! `pnp eval --per-class FILE`: every class's scores.

use std::path::Path;

use pnp_ranking::metric::Evaluation;
use pnp_run::atomic;

use crate::failure::Failure;

/// Writes a line for each class, in the order of their names: its items, those of them that have a
/// positive, and the means of the ranking metrics over them; empty where a metric has none.
pub(super) fn write(
    path: &Path,
    evaluation: &Evaluation,
    classes: &[String],
) -> Result<(), Failure> {
    let scores = &evaluation.queries;
    let kinds: Vec<&str> = classes.iter().map(String::as_str).collect();
    let mut table = csv::Writer::from_writer(Vec::new());
    let failed = |e: &dyn std::fmt::Display| {
        Failure::Work(format!("cannot write '{}': {e}", path.display()))
    };
    let columns = ["class", "items", "queries"].into_iter();
    let head = columns.chain(scores.metrics().iter().map(String::as_str));
    table.write_record(head).map_err(|e| failed(&e))?;
    let mut sizes = std::collections::HashMap::<&str, [usize; 2]>::new();
    for (query, &kind) in kinds.iter().enumerate() {
        let [items, queries] = sizes.entry(kind).or_default();
        *items += 1;
        *queries += usize::from(!scores.is_lone(query));
    }
    for (class, means) in scores.by(&kinds) {
        let counts = sizes[class].map(|count| count.to_string());
        let means = means.into_iter().map(|mean| mean.map_or_else(String::new, |m| m.to_string()));
        let line = std::iter::once(class.to_owned()).chain(counts).chain(means);
        table.write_record(line).map_err(|e| failed(&e))?;
    }
    let bytes = table.into_inner().map_err(|e| failed(&e))?;
    Ok(atomic::write(path, &bytes)?)
}

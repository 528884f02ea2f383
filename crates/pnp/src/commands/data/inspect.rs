//! `pnp data inspect`: what a data set holds, split by split.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use clap::Args;
use pnp_data::{Dataset, ImageSet, Item};
use serde::Serialize;

use super::super::{print, print_json};
use super::SourceArgs;
use crate::failure::Failure;

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// List every class of every split with its images
    #[arg(long)]
    classes: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Answer {
    dataset: String,
    source: String,
    digest: String,
    splits: Vec<Split>,
    notes: Vec<String>,
}

/// What is counted of a split. What a data set does not have is 0.
#[derive(Serialize)]
struct Split {
    name: String,
    images: usize,
    classes: usize,
    /// Images of a class: the fewest, the median (the lower of two), the most.
    images_per_class: [usize; 3],
    /// Classes of one image.
    lone_classes: usize,
    super_classes: usize,
    categories: usize,
    /// Images that search, and images that are found; with one role for all, both are all images.
    queries: usize,
    gallery: usize,
    /// Queries without another image of their class in the gallery.
    lone_queries: usize,
    /// Images with a box of their own.
    boxes: usize,
    /// Images of each class, in the order of its labels, where they are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    class_images: Option<Vec<(String, usize)>>,
}

impl Split {
    fn new(name: &str, set: &ImageSet, classes: bool) -> Self {
        let mut sizes: Vec<usize> =
            (0..set.classes() as u32).map(|label| set.class_items(label).len()).collect();
        sizes.sort_unstable();
        let at = |place: usize| sizes.get(place).copied().unwrap_or(0);
        let last = sizes.len().saturating_sub(1);
        let count = |has: fn(&Item) -> bool| set.items().iter().filter(|item| has(item)).count();
        let groups: BTreeSet<_> = set.items().iter().filter_map(|item| item.super_label).collect();
        let kinds: BTreeSet<_> =
            set.items().iter().filter_map(|item| item.category.as_deref()).collect();
        Self {
            name: name.to_owned(),
            images: set.len(),
            classes: set.classes(),
            images_per_class: [at(0), at(last / 2), at(last)],
            lone_classes: set.lone_classes(),
            super_classes: groups.len(),
            categories: kinds.len(),
            queries: count(|item| item.role.is_query()),
            gallery: count(|item| item.role.is_gallery()),
            lone_queries: set.lone_queries(),
            boxes: count(|item| item.region.is_some()),
            class_images: classes.then(|| {
                let sizes = (0..).map(|label| set.class_items(label).len());
                set.class_names().iter().cloned().zip(sizes).collect()
            }),
        }
    }

    /// The cells of the table.
    fn cells(&self) -> [String; 9] {
        let [fewest, median, most] = self.images_per_class;
        let apart = self.queries < self.images || self.gallery < self.images;
        let some = |count: usize| if count == 0 { "-".to_owned() } else { count.to_string() };
        [
            self.name.clone(),
            self.images.to_string(),
            self.classes.to_string(),
            format!("{fewest} / {median} / {most}"),
            some(self.lone_classes),
            some(self.super_classes),
            some(self.categories),
            if apart { format!("{} / {}", self.queries, self.gallery) } else { "-".to_owned() },
            some(self.boxes),
        ]
    }
}

const HEADER: [&str; 9] = [
    "split",
    "images",
    "classes",
    "per class: min / median / max",
    "lone",
    "super-classes",
    "categories",
    "queries / gallery",
    "boxes",
];

pub(super) fn run(args: &InspectArgs) -> Result<(), Failure> {
    let dataset = args.source.open()?;
    let answer = answer(&dataset, args.classes);
    if args.json { print_json(&answer) } else { print(&text(&answer)) }
}

fn answer(dataset: &Dataset, classes: bool) -> Answer {
    Answer {
        dataset: dataset.name.clone(),
        source: dataset.source.display().to_string(),
        digest: dataset.digest(),
        splits: dataset.named_splits().map(|(name, set)| Split::new(name, set, classes)).collect(),
        notes: dataset.notes.clone(),
    }
}

fn text(answer: &Answer) -> String {
    let mut rows = vec![HEADER.map(str::to_owned)];
    rows.extend(answer.splits.iter().map(Split::cells));
    let widths: Vec<usize> = (0..HEADER.len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    // Writing to a string cannot fail.
    let mut text = String::new();
    let _ = writeln!(text, "{} at {}\ndigest {}\n", answer.dataset, answer.source, answer.digest);
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  "));
    }
    for split in &answer.splits {
        let Some(classes) = &split.class_images else { continue };
        let _ = writeln!(text, "\nimages of each class of {}", split.name);
        for (class, images) in classes {
            let _ = writeln!(text, "{images:>8}  {class}");
        }
    }
    for note in &answer.notes {
        let _ = write!(text, "\nnote: {note}");
    }
    if !answer.notes.is_empty() {
        text.push('\n');
    }
    text
}

//! `pnp embed`.

use pnp_data::Role;
use pnp_ranking::Embeddings;
use pnp_run::atomic;
use serde::Serialize;

use super::using::{self, Used};
use super::{print, print_json};
use crate::array;
use crate::cli::EmbedArgs;
use crate::failure::Failure;

/// What `--json` prints.
#[derive(Serialize)]
struct Answer {
    embeddings: String,
    labels: String,
    items: String,
    images: usize,
    dim: usize,
    skipped_images: usize,
}

pub(crate) fn run(args: &EmbedArgs) -> Result<(), Failure> {
    std::fs::create_dir_all(&args.out).map_err(|e| {
        Failure::Work(format!("cannot create the folder '{}': {e}", args.out.display()))
    })?;
    let used = using::embed(&args.model, &args.using)?;
    let file = |name: &str| args.out.join(name);
    let embedded = &used.embedded;
    let (rows, dim) = (embedded.labels.len(), embedded.dim);
    // A model whose training diverged has nothing to write.
    Embeddings::new(&embedded.embeddings, dim)?;
    array::write(&file("embeddings.npy"), &[rows as u64, dim as u64], &embedded.embeddings)?;
    let labels: Vec<i64> = embedded.labels.iter().map(|&label| label.into()).collect();
    array::write(&file("labels.npy"), &[rows as u64], &labels)?;
    let items = items_csv(&used)
        .map_err(|e| Failure::Work(format!("cannot list the images as CSV: {e}")))?;
    atomic::write(&file("items.csv"), &items)?;
    let text = |name: &str| file(name).display().to_string();
    let answer = Answer {
        embeddings: text("embeddings.npy"),
        labels: text("labels.npy"),
        items: text("items.csv"),
        images: rows,
        dim,
        skipped_images: embedded.skipped.len(),
    };
    if args.json {
        return print_json(&answer);
    }
    print(&format!(
        "{rows} images of '{}' embedded in {dim} values each\n\
         embeddings  {}\nlabels      {}\nitems       {}\n",
        used.config.source_path.display(),
        answer.embeddings,
        answer.labels,
        answer.items
    ))
}

/// A line per embedding: its row, the image's path, its label and class, and its role where images
/// have different ones.
fn items_csv(used: &Used) -> Result<Vec<u8>, csv::Error> {
    let roles = used.embedded.roles.as_ref();
    let mut writer = csv::Writer::from_writer(Vec::new());
    let header = ["row", "path", "label", "class"].into_iter();
    writer.write_record(header.chain(roles.map(|_| "role")))?;
    for (row, &index) in used.embedded.indices.iter().enumerate() {
        let item = &used.set.items()[index as usize];
        let class = &used.set.class_names()[item.label as usize];
        let (number, label) = (row.to_string(), item.label.to_string());
        let cells = [&number, &item.name, &label, class].map(String::as_str).into_iter();
        let role = roles.map(|roles| match roles[row] {
            Role::Query => "query",
            Role::Gallery => "gallery",
            Role::Both => "both",
        });
        writer.write_record(cells.chain(role))?;
    }
    writer.into_inner().map_err(|e| e.into_error().into())
}

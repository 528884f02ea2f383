//! Query sets and galleries from files.

use std::collections::BTreeMap;
use std::path::Path;

use pnp_ranking::metric::EvalSet;
use pnp_ranking::{Embeddings, RankingError};

use crate::array::{self, Matrix};
use crate::cli::EvalArgs;
use crate::failure::Failure;

/// Embeddings in f32, which rankings are computed in.
pub(super) struct Vectors {
    pub(super) values: Vec<f32>,
    pub(super) dim: usize,
}

impl Vectors {
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let (matrix, dim) = array::read_embeddings(path)?;
        let values = match matrix {
            Matrix::F32(values) => values,
            Matrix::F64(values) => {
                Embeddings::new(&values, dim).map_err(|e| in_file(path, &e))?;
                values.into_iter().map(|value| value as f32).collect()
            }
        };
        Embeddings::new(&values, dim).map_err(|e| in_file(path, &e))?;
        Ok(Self { values, dim })
    }

    pub(super) fn embeddings(&self) -> Result<Embeddings<'_, f32>, RankingError> {
        Embeddings::new(&self.values, self.dim)
    }
}

pub(super) fn in_file(path: &Path, error: &RankingError) -> Failure {
    Failure::Work(format!("'{}': {error}", path.display()))
}

/// One set as read.
pub(super) struct Set {
    pub(super) vectors: Vectors,
    labels: Vec<u32>,
    coarse: Option<Vec<u32>>,
    ids: Option<Vec<u64>>,
    groups: Option<Vec<u32>>,
}

impl Set {
    /// The set under its labels, or under the coarser ones.
    pub(super) fn evaluated(&self, coarse: bool) -> Result<EvalSet<'_>, RankingError> {
        let labels = self.coarse.as_ref().filter(|_| coarse).unwrap_or(&self.labels);
        let mut set = EvalSet::new(self.vectors.embeddings()?, labels)?;
        if let Some(ids) = &self.ids {
            set = set.with_ids(ids)?;
        }
        if let Some(groups) = &self.groups {
            set = set.with_groups(groups)?;
        }
        Ok(set)
    }
}

/// Everything that an evaluation of files reads.
pub(super) struct Sets {
    pub(super) queries: Set,
    pub(super) gallery: Option<Set>,
    /// The name of each query's class.
    pub(super) classes: Vec<String>,
    /// The name of each query's category.
    pub(super) categories: Option<Vec<String>>,
    pub(super) has_coarse: bool,
}

impl Sets {
    pub(super) fn read(args: &EvalArgs, embeddings: &Path) -> Result<Self, Failure> {
        refuse_half_a_pair(args)?;
        let vectors = Vectors::read(embeddings)?;
        let names = |path: &Option<_>| path.as_deref().map(array::read_names).transpose();
        let Some(classes) = names(&args.labels)? else {
            return Err(Failure::Usage("give the --labels of the embeddings".into()));
        };
        let other_vectors = args.gallery.as_deref().map(Vectors::read).transpose()?;
        let (labels, gallery_labels) = numbered(&classes, names(&args.gallery_labels)?.as_deref());
        let coarse = both(
            names(&args.coarse_labels)?.as_deref(),
            names(&args.gallery_coarse_labels)?.as_deref(),
        );
        let groups = both(names(&args.groups)?.as_deref(), names(&args.gallery_groups)?.as_deref());
        let ids = both(names(&args.ids)?.as_deref(), names(&args.gallery_ids)?.as_deref());
        let wide = |ids: Vec<u32>| ids.into_iter().map(u64::from).collect::<Vec<u64>>();
        let has_coarse = coarse.0.is_some();
        let gallery = other_vectors.map(|vectors| Set {
            vectors,
            labels: gallery_labels.unwrap_or_default(),
            coarse: coarse.1,
            ids: ids.1.map(wide),
            groups: groups.1,
        });
        let queries =
            Set { vectors, labels, coarse: coarse.0, ids: ids.0.map(wide), groups: groups.0 };
        let categories = names(&args.categories)?;
        if let Some(categories) = categories.as_ref().filter(|c| c.len() != classes.len()) {
            return Err(Failure::Work(format!(
                "{} labels but {} categories: each item needs one category",
                classes.len(),
                categories.len()
            )));
        }
        Ok(Self { queries, gallery, classes, categories, has_coarse })
    }
}

/// With a gallery, what is told of the queries has to be told of it too: else labels of one kind
/// would be compared with those of another, or nothing would be left out.
fn refuse_half_a_pair(args: &EvalArgs) -> Result<(), Failure> {
    if args.gallery.is_none() {
        return Ok(());
    }
    for (queries, gallery, flag) in [
        (&args.labels, &args.gallery_labels, "--gallery-labels"),
        (&args.coarse_labels, &args.gallery_coarse_labels, "--gallery-coarse-labels"),
        (&args.ids, &args.gallery_ids, "--gallery-ids"),
        (&args.groups, &args.gallery_groups, "--gallery-groups"),
    ] {
        if queries.is_some() && gallery.is_none() {
            return Err(Failure::Usage(format!("with --gallery, give {flag} as well")));
        }
    }
    Ok(())
}

/// Numbers for names, the same for the same name in both lists.
fn numbered(first: &[String], second: Option<&[String]>) -> (Vec<u32>, Option<Vec<u32>>) {
    let names: BTreeMap<&String, u32> =
        first.iter().chain(second.unwrap_or_default()).map(|name| (name, 0)).collect();
    let names: BTreeMap<&String, u32> = names.into_keys().zip(0..).collect();
    let number = |list: &[String]| list.iter().map(|name| names[name]).collect();
    (number(first), second.map(number))
}

/// The same for lists that may not be there; without the first there is no second.
fn both(
    first: Option<&[String]>,
    second: Option<&[String]>,
) -> (Option<Vec<u32>>, Option<Vec<u32>>) {
    let numbers = first.map(|first| numbered(first, second));
    numbers.map_or((None, None), |(first, second)| (Some(first), second))
}

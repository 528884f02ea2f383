//! Query sets and galleries from files.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use pnp_ranking::Rows;
use pnp_ranking::metric::EvalSet;

use crate::array::{self, Matrix, Role};
use crate::cli::EvalArgs;
use crate::failure::Failure;

/// Short names of query sets: those of their files, or their paths where these are not different.
pub(super) fn names(paths: &[PathBuf]) -> Vec<String> {
    let stem = |path: &PathBuf| {
        path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
    };
    let stems: Vec<String> = paths.iter().map(stem).collect();
    let different: HashSet<&String> = stems.iter().collect();
    if different.len() == paths.len() {
        return stems;
    }
    paths.iter().map(|path| path.display().to_string()).collect()
}

/// Every file that is read.
pub(super) fn inputs(args: &EvalArgs) -> impl Iterator<Item = &PathBuf> {
    let files = [
        &args.embeddings,
        &args.labels,
        &args.gallery,
        &args.gallery_labels,
        &args.ids,
        &args.gallery_ids,
        &args.groups,
        &args.gallery_groups,
        &args.coarse_labels,
        &args.gallery_coarse_labels,
        &args.categories,
    ];
    files.into_iter().flatten()
}

/// The rows of a file, checked; an error names it.
pub(super) fn rows<'a>(path: &Path, matrix: &'a Matrix) -> Result<Rows<'a>, Failure> {
    matrix.rows().map_err(|error| Failure::Work(format!("'{}': {error}", path.display())))
}

/// One set as read.
pub(super) struct Set {
    path: PathBuf,
    matrix: Matrix,
    labels: Vec<u32>,
    coarse: Option<Vec<u32>>,
    ids: Option<Vec<u64>>,
    groups: Option<Vec<u32>>,
}

/// Refuses lists of another length than the embeddings have rows, before anything is computed.
fn check_length(what: &str, length: Option<usize>, items: Option<usize>) -> Result<(), Failure> {
    match items.zip(length) {
        Some((items, length)) if items != length => Err(Failure::Work(format!(
            "{items} embeddings but {length} {what}: each embedding needs one"
        ))),
        _ => Ok(()),
    }
}

impl Set {
    fn check_lengths(&self) -> Result<(), Failure> {
        let items = self.matrix.row_count();
        check_length("labels", Some(self.labels.len()), items)?;
        check_length("coarse labels", self.coarse.as_ref().map(Vec::len), items)?;
        check_length("ids", self.ids.as_ref().map(Vec::len), items)?;
        check_length("groups", self.groups.as_ref().map(Vec::len), items)
    }

    /// The set under its labels, or under the coarser ones.
    pub(super) fn evaluated(&self, coarse: bool) -> Result<EvalSet<'_>, Failure> {
        let labels = self.coarse.as_ref().filter(|_| coarse).unwrap_or(&self.labels);
        let mut set = EvalSet::new(rows(&self.path, &self.matrix)?, labels)?;
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
    /// The query set at a place among those that were given.
    pub(super) fn read(args: &EvalArgs, place: usize) -> Result<Self, Failure> {
        Self::of(args, &args.embeddings[place], [place, args.embeddings.len()])
    }

    /// One of two models' embeddings of the same queries, with its own embeddings of the gallery.
    pub(super) fn of_model(
        args: &EvalArgs,
        embeddings: &Path,
        place: usize,
    ) -> Result<Self, Failure> {
        if args.gallery.len() == 1 {
            let rule = "each model has a gallery of its own: give the gallery's embeddings by both";
            return Err(Failure::Usage(rule.into()));
        }
        Self::of(args, embeddings, [place, 2])
    }

    /// The query set of some embeddings, the `place`-th of `count`.
    fn of(args: &EvalArgs, embeddings: &Path, [place, count]: [usize; 2]) -> Result<Self, Failure> {
        refuse_half_a_pair(args)?;
        let pick =
            |files: &'static str, given: &'_ [PathBuf]| -> Result<Option<PathBuf>, Failure> {
                match given {
                    [] => Ok(None),
                    [one] => Ok(Some(one.clone())),
                    all if all.len() == count => Ok(Some(all[place].clone())),
                    all => Err(Failure::Usage(format!(
                        "{files} has {} files for {count} query sets: give one for all, or one for \
                     each",
                        all.len()
                    ))),
                }
            };
        let names = |flag: &'static str, given: &[PathBuf], role: Role| {
            let path = pick(flag, given)?;
            let names = path.map(|path| array::read_names(&path, role)).transpose()?;
            Ok::<_, Failure>(names)
        };
        let matrix = array::read_embeddings(embeddings)?;
        let Some(classes) = names("--labels", &args.labels, Role::LABELS)? else {
            return Err(Failure::Usage("give the --labels of the embeddings".into()));
        };
        let of_gallery = pick("--gallery", &args.gallery)?
            .map(|path| Ok::<_, Failure>((array::read_embeddings(&path)?, path)))
            .transpose()?;
        let others = names("--gallery-labels", &args.gallery_labels, Role::LABELS)?;
        let (labels, gallery_labels) = numbered(&classes, others.as_deref());
        let own = names("--coarse-labels", &args.coarse_labels, Role::COARSE_LABELS)?;
        let others = &args.gallery_coarse_labels;
        let others = names("--gallery-coarse-labels", others, Role::COARSE_LABELS)?;
        let coarse = both(own.as_deref(), others.as_deref());
        let own = names("--groups", &args.groups, Role::GROUPS)?;
        let others = names("--gallery-groups", &args.gallery_groups, Role::GROUPS)?;
        let groups = both(own.as_deref(), others.as_deref());
        let own = names("--ids", &args.ids, Role::IDS)?;
        let others = names("--gallery-ids", &args.gallery_ids, Role::IDS)?;
        let ids = both(own.as_deref(), others.as_deref());
        let wide = |ids: Vec<u32>| ids.into_iter().map(u64::from).collect::<Vec<u64>>();
        let has_coarse = coarse.0.is_some();
        let gallery = of_gallery.map(|(matrix, path)| Set {
            path,
            matrix,
            labels: gallery_labels.unwrap_or_default(),
            coarse: coarse.1,
            ids: ids.1.map(wide),
            groups: groups.1,
        });
        let path = embeddings.to_owned();
        let (coarse, ids, groups) = (coarse.0, ids.0.map(wide), groups.0);
        let queries = Set { path, matrix, labels, coarse, ids, groups };
        let categories = names("--categories", &args.categories, Role::CATEGORIES)?;
        let items = queries.matrix.row_count();
        check_length("categories", categories.as_ref().map(Vec::len), items)?;
        queries.check_lengths()?;
        gallery.as_ref().map_or(Ok(()), Set::check_lengths)?;
        Ok(Self { queries, gallery, classes, categories, has_coarse })
    }
}

/// With a gallery, what is told of the queries has to be told of it too: else labels of one kind
/// would be compared with those of another, or nothing would be left out.
fn refuse_half_a_pair(args: &EvalArgs) -> Result<(), Failure> {
    if args.gallery.is_empty() {
        return Ok(());
    }
    for (queries, gallery, flag) in [
        (&args.labels, &args.gallery_labels, "--gallery-labels"),
        (&args.coarse_labels, &args.gallery_coarse_labels, "--gallery-coarse-labels"),
        (&args.ids, &args.gallery_ids, "--gallery-ids"),
        (&args.groups, &args.gallery_groups, "--gallery-groups"),
    ] {
        if !queries.is_empty() && gallery.is_empty() {
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

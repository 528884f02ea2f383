//! The ranked lists of a batch: which reference is what to each query.
//!
//! Labels say what is positive and what negative, ids which references are older copies of the
//! query. All references are the columns of one row: those of the batch first, then the others.

use super::list::{ListCost, RankedList, Scratch, Slopes};
use super::{ListLoss, LossCounts, LossInput};
use crate::classes::Classes;
use crate::error::RankingError;
use crate::product::Matrix;
use crate::real::Real;
use crate::vectorised::vectorised;

/// References that stand in neighbouring columns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Columns<'a, T> {
    /// The first of their columns.
    pub(super) first: usize,
    pub(super) embeddings: Matrix<'a, T>,
    /// Whether they are the batch's items: column `first + i` is query i then.
    pub(super) is_batch: bool,
}

/// All lists of a batch.
#[derive(Debug)]
pub(super) struct Lists<'a, T: Real> {
    /// The queries, `[queries, dim]`.
    embeddings: Matrix<'a, T>,
    dim: usize,
    labels: &'a [u32],
    columns: Vec<Columns<'a, T>>,
    references: usize,
    /// The columns of each class.
    classes: Classes,
    /// The queries' ids.
    ids: Option<&'a [u64]>,
    /// The ids of the references that are not the batch's, with their columns, sorted.
    reference_ids: Vec<(u64, u32)>,
    counts_query: bool,
    takes_lone_queries: bool,
}

/// What one query's columns are.
struct Roles<'a> {
    /// The columns of its class, the query itself among them where it has a column.
    class: &'a [u32],
    /// Its own column.
    itself: Option<u32>,
    /// The columns of its older copies, whatever label they have.
    copies: &'a [(u64, u32)],
}

impl Roles<'_> {
    fn is_copy(&self, column: u32) -> bool {
        self.copies.binary_search_by_key(&column, |&(_, copy)| copy).is_ok()
    }

    /// The columns of the positives, the query's own not among them.
    fn others(&self) -> impl Iterator<Item = u32> {
        let others = self.class.iter().copied();
        others.filter(|&column| Some(column) != self.itself && !self.is_copy(column))
    }
}

impl<'a, T: Real> Lists<'a, T> {
    pub(super) fn new(
        input: &LossInput<'a, T>,
        counts_query: bool,
        takes_lone_queries: bool,
    ) -> Result<Self, RankingError> {
        let (batch, dim) = (input.batch, input.batch.embeddings().dim());
        let embeddings = Matrix::from_rows(batch.embeddings().values(), dim);
        let (mut columns, mut labels, mut reference_ids) = (Vec::new(), Vec::new(), Vec::new());
        if input.within_batch {
            columns.push(Columns { first: 0, embeddings, is_batch: true });
            labels.extend_from_slice(batch.labels());
        }
        if let Some(references) = &input.references {
            let first = labels.len();
            let embeddings = Matrix::from_rows(references.embeddings().values(), dim);
            columns.push(Columns { first, embeddings, is_batch: false });
            labels.extend_from_slice(references.labels());
            let ids = references.ids().unwrap_or_default().iter();
            reference_ids.extend(ids.zip(first as u32..).map(|(&id, column)| (id, column)));
            reference_ids.sort_unstable();
        }
        let references = labels.len();
        if u32::try_from(references).is_err() {
            return Err(RankingError::TooManyRows { rows: references });
        }
        let classes = Classes::new(&labels);
        Ok(Self {
            embeddings,
            dim,
            labels: batch.labels(),
            columns,
            references,
            classes,
            ids: batch.ids(),
            reference_ids,
            counts_query,
            takes_lone_queries,
        })
    }

    pub(super) fn queries(&self) -> usize {
        self.labels.len()
    }

    pub(super) fn references(&self) -> usize {
        self.references
    }

    pub(super) fn dim(&self) -> usize {
        self.dim
    }

    pub(super) fn embeddings(&self) -> Matrix<'a, T> {
        self.embeddings
    }

    pub(super) fn columns(&self) -> &[Columns<'a, T>] {
        &self.columns
    }

    fn roles(&self, query: usize) -> Roles<'_> {
        let within_batch = self.columns.first().is_some_and(|columns| columns.is_batch);
        let copies = self.ids.map_or(&[][..], |ids| {
            let id = ids[query];
            let start = self.reference_ids.partition_point(|&(other, _)| other < id);
            let end = self.reference_ids.partition_point(|&(other, _)| other <= id);
            &self.reference_ids[start..end]
        });
        Roles {
            class: self.classes.members_with(self.labels[query]),
            itself: within_batch.then_some(query as u32),
            copies,
        }
    }

    /// What the lists hold.
    pub(super) fn counts(&self) -> LossCounts {
        let mut counts = LossCounts {
            items: self.queries(),
            references: self.references,
            ..LossCounts::default()
        };
        for query in 0..self.queries() {
            let roles = self.roles(query);
            let positives = roles.others().count();
            let (copies, itself) = (roles.copies.len(), usize::from(roles.itself.is_some()));
            counts.stale_copies += copies;
            if positives == 0 {
                counts.lone_queries += 1;
            }
            if positives > 0 || (self.takes_lone_queries && self.references > 0) {
                counts.queries += 1;
                counts.positives += positives;
                counts.negatives += self.references - positives - copies - itself;
            }
        }
        counts
    }

    /// Space for reading lists one after another.
    pub(super) fn reader(&self) -> Reader<'_, T> {
        Reader {
            lists: self,
            negatives: vec![T::ZERO; self.references],
            columns: Vec::new(),
            positives: Vec::new(),
            slopes: Vec::new(),
            scratch: Scratch::new(self.references),
        }
    }
}

/// Makes lists of rows of similarities.
pub(super) struct Reader<'a, T: Real> {
    lists: &'a Lists<'a, T>,
    negatives: Vec<T>,
    /// The columns of the positives.
    columns: Vec<u32>,
    /// Their similarities.
    positives: Vec<T>,
    /// The derivatives with respect to these.
    slopes: Vec<T>,
    scratch: Scratch<T>,
}

impl<T: Real> Reader<'_, T> {
    /// Replaces a query's similarities by the derivatives of its list's cost with respect to them,
    /// and returns the cost; zeros and `None` if the list does not enter the loss.
    pub(super) fn read<L: ListLoss>(
        &mut self,
        loss: &L,
        query: usize,
        row: &mut [T],
    ) -> Option<ListCost> {
        let lists = self.lists;
        let roles = lists.roles(query);
        if roles.others().next().is_none() && !lists.takes_lone_queries {
            row.fill(T::ZERO);
            return None;
        }
        self.columns.clear();
        let counted = |&column: &u32| Some(column) != roles.itself || lists.counts_query;
        let class = roles.class.iter().copied().filter(|&column| !roles.is_copy(column));
        self.columns.extend(class.filter(counted));
        self.positives.clear();
        self.positives.extend(self.columns.iter().map(|&column| row[column as usize]));
        self.slopes.clear();
        self.slopes.resize(self.columns.len(), T::ZERO);
        self.scratch.fit(self.columns.len());

        // Which columns hold no negative, each once or twice.
        let copies = roles.copies.iter().map(|&(_, column)| column);
        let no_negatives = roles.class.iter().copied().chain(copies).chain(roles.itself);
        self.negatives.copy_from_slice(row);
        let mut negative_count = row.len();
        for column in no_negatives.clone() {
            let negative = &mut self.negatives[column as usize];
            negative_count -= usize::from(*negative != T::NEG_INFINITY);
            *negative = T::NEG_INFINITY;
        }
        row.fill(T::ZERO);
        let list = RankedList {
            positives: &self.positives,
            query: roles.itself.and_then(|itself| self.columns.iter().position(|&c| c == itself)),
            negatives: &self.negatives,
            negative_count,
        };
        let mut slopes = Slopes { positives: &mut self.slopes, negatives: row };
        let scratch = &mut self.scratch;
        let cost = vectorised(
            #[inline(always)]
            || loss.list(&list, &mut slopes, scratch),
        );
        for column in no_negatives {
            row[column as usize] = T::ZERO;
        }
        for (&column, &slope) in self.columns.iter().zip(&self.slopes) {
            row[column as usize] = slope;
        }
        Some(cost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embeddings::Embeddings;
    use crate::loss::{Items, LossInput};

    fn items<'a>(values: &'a [f64], labels: &'a [u32]) -> Items<'a, f64> {
        Items::new(Embeddings::new(values, 1).unwrap(), labels).unwrap()
    }

    #[test]
    fn what_a_batch_holds_is_counted() {
        let labels = [1, 1, 2, 3, 3, 3];
        let input = LossInput::batch(items(&[0.0; 6], &labels));
        let counts = Lists::new(&input, true, false).unwrap().counts();
        let expected = LossCounts {
            items: 6,
            references: 6,
            queries: 5,
            lone_queries: 1,
            positives: 8,
            negatives: 17,
            stale_copies: 0,
            terms: 0,
        };
        assert_eq!(counts, expected);
        let counts = Lists::new(&input, true, true).unwrap().counts();
        assert_eq!((counts.queries, counts.lone_queries, counts.negatives), (6, 1, 22));
    }

    /// A loss that shows its list as its slopes.
    #[derive(Debug)]
    struct Show;

    impl ListLoss for Show {
        fn describe(&self) -> String {
            "show".into()
        }

        fn counts_query(&self) -> bool {
            true
        }

        fn list<T: Real>(
            &self,
            list: &RankedList<'_, T>,
            slopes: &mut Slopes<'_, T>,
            _: &mut Scratch<T>,
        ) -> ListCost {
            let finite = list.negatives.iter().filter(|s| s.finite()).count();
            assert_eq!(finite, list.negative_count);
            slopes.positives.fill(T::ONE);
            slopes.negatives.fill(-T::ONE);
            ListCost::one(list.query.map_or(-1.0, |place| place as f64))
        }
    }

    #[test]
    fn copies_of_the_query_have_no_part_whatever_their_label() {
        let (batch_labels, labels) = ([7, 8], [7, 8, 8, 7]);
        let batch = items(&[0.1, 0.2], &batch_labels).with_ids(&[50, 51]).unwrap();
        // The second is a copy of query 0 under another label, the last one under its own.
        let others = items(&[0.3, 0.4, 0.5, 0.6], &labels).with_ids(&[1, 50, 2, 50]).unwrap();
        let input = LossInput::batch_and(batch, others).unwrap();
        let lists = Lists::new(&input, true, false).unwrap();
        let mut row = [0.5; 6];
        let cost = lists.reader().read(&Show, 0, &mut row).unwrap();
        assert_eq!(cost.value, 0.0);
        assert_eq!(row, [1.0, -1.0, 1.0, 0.0, -1.0, 0.0]);
        let mut row = [0.5; 6];
        let cost = lists.reader().read(&Show, 1, &mut row).unwrap();
        assert_eq!(cost.value, 0.0);
        assert_eq!(row, [-1.0, 1.0, -1.0, 1.0, 1.0, -1.0]);
        let counts = lists.counts();
        assert_eq!((counts.positives, counts.negatives, counts.stale_copies), (3, 5, 2));
    }

    #[test]
    fn a_query_is_not_among_other_references() {
        let (batch_labels, labels) = ([7, 9], [7, 8]);
        let others = items(&[0.3, 0.4], &labels);
        let input = LossInput::against(items(&[0.1, 0.2], &batch_labels), others).unwrap();
        let lists = Lists::new(&input, true, false).unwrap();
        let mut row = [0.5; 2];
        assert_eq!(lists.reader().read(&Show, 0, &mut row).unwrap().value, -1.0);
        assert_eq!(row, [1.0, -1.0]);
        assert_eq!(lists.reader().read(&Show, 1, &mut row), None);
        assert_eq!(row, [0.0, 0.0]);
    }
}

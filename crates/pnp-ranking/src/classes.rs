//! Which items belong together.

/// Dense class ids `0..classes` for labels of any kind, numbered in the sorted order of the
/// labels.
///
/// ```
/// assert_eq!(pnp_ranking::class_ids(&["shoe", "lamp", "shoe"]), [1, 0, 1]);
/// ```
///
/// Panics beyond `u32::MAX` different labels.
pub fn class_ids<L: Ord + Clone>(labels: &[L]) -> Vec<u32> {
    let mut names: Vec<&L> = labels.iter().collect();
    names.sort_unstable();
    names.dedup();
    labels
        .iter()
        .map(|label| {
            let id = names.partition_point(|name| *name < label);
            u32::try_from(id).expect("no more than u32::MAX classes")
        })
        .collect()
}

/// Items sorted by class, and within a class by id: each class is one run of places.
#[derive(Debug)]
pub(crate) struct Classes {
    /// The item at each place.
    items: Vec<u32>,
    /// Where each class begins, and the number of items.
    starts: Vec<usize>,
    /// The label of each class, ascending.
    labels: Vec<u32>,
    /// The class of each item: an index into `starts`.
    class_of: Vec<u32>,
}

impl Classes {
    /// Sorts the items by label. There are at most `u32::MAX` of them.
    pub(crate) fn new(labels: &[u32]) -> Self {
        let mut items: Vec<u32> = (0..labels.len() as u32).collect();
        items.sort_unstable_by_key(|&i| (labels[i as usize], i));
        let (mut starts, mut class_labels) = (Vec::new(), Vec::new());
        let mut class_of = vec![0; labels.len()];
        for (place, &item) in items.iter().enumerate() {
            let label = labels[item as usize];
            if class_labels.last() != Some(&label) {
                starts.push(place);
                class_labels.push(label);
            }
            class_of[item as usize] = starts.len() as u32 - 1;
        }
        starts.push(items.len());
        Self { items, starts, labels: class_labels, class_of }
    }

    /// How many classes there are.
    pub(crate) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// How many items the largest class has.
    pub(crate) fn largest(&self) -> usize {
        self.starts.windows(2).map(|ends| ends[1] - ends[0]).max().unwrap_or(0)
    }

    /// All items, class by class.
    pub(crate) fn items(&self) -> &[u32] {
        &self.items
    }

    /// The run of places that holds the item's class.
    pub(crate) fn places_of(&self, item: usize) -> std::ops::Range<usize> {
        let class = self.class_of[item] as usize;
        self.starts[class]..self.starts[class + 1]
    }

    /// The run of places that holds the class with this label; empty if there is no such class.
    pub(crate) fn places_with(&self, label: u32) -> std::ops::Range<usize> {
        match self.labels.binary_search(&label) {
            Ok(class) => self.starts[class]..self.starts[class + 1],
            Err(_) => 0..0,
        }
    }

    /// The items of the class with this label, by id; none if there is no such class.
    pub(crate) fn members_with(&self, label: u32) -> &[u32] {
        &self.items[self.places_with(label)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_ids_follow_the_order_of_the_labels() {
        assert_eq!(class_ids(&[30_u64, 10, 20, 10]), [2, 0, 1, 0]);
        assert_eq!(class_ids::<String>(&[]), [0_u32; 0]);
    }

    #[test]
    fn classes_are_runs_sorted_by_id() {
        let classes = Classes::new(&[7, 3, 7, 9, 3, 7]);
        assert_eq!(classes.len(), 3);
        assert_eq!(classes.items(), [1, 4, 0, 2, 5, 3]);
        assert_eq!(classes.members_with(7), [0, 2, 5]);
        assert_eq!(classes.members_with(3), [1, 4]);
        assert_eq!(classes.members_with(4), [0_u32; 0]);
        assert_eq!(classes.places_of(3), 5..6);
    }

    #[test]
    fn no_items_have_no_classes() {
        assert_eq!(Classes::new(&[]).len(), 0);
    }
}

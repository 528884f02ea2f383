//! A set in the order of its classes: so that the positives of a query are one run of places.

use std::collections::HashMap;
use std::ops::Range;

use rayon::prelude::*;

use super::EvalSet;
use crate::classes::Classes;
use crate::prepared::Prepared;

/// A set in order, and its rows as a distance sees them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Side<'a> {
    pub(super) set: &'a Ordered,
    pub(super) prepared: &'a Prepared<'a>,
}

/// Who is in a set, class by class.
#[derive(Debug)]
pub(super) struct Ordered {
    classes: Classes,
    labels: Vec<u32>,
    /// The item ids that identity goes by, by place; none where an item is itself alone.
    names: Option<Vec<u64>>,
    /// The groups, by place.
    groups: Option<Vec<u32>>,
    /// The places of each name.
    named: HashMap<u64, Vec<u32>>,
    /// Whether queries and gallery are this one set.
    is_both: bool,
}

impl Ordered {
    pub(super) fn new(set: &EvalSet<'_>, is_both: bool) -> Self {
        let classes = Classes::new(set.labels);
        let order = classes.items();
        let labels = order.iter().map(|&item| set.labels[item as usize]).collect();
        let names: Option<Vec<u64>> =
            set.ids.map(|ids| order.iter().map(|&item| ids[item as usize]).collect());
        let groups = set.groups.map(|groups| order.iter().map(|&i| groups[i as usize]).collect());
        let mut named: HashMap<u64, Vec<u32>> = HashMap::new();
        for (place, &name) in names.iter().flatten().enumerate() {
            named.entry(name).or_default().push(place as u32);
        }
        Self { classes, labels, names, groups, named, is_both }
    }

    pub(super) fn len(&self) -> usize {
        self.labels.len()
    }

    /// The item at each place.
    pub(super) fn items(&self) -> &[u32] {
        self.classes.items()
    }

    /// The item at a place.
    pub(super) fn id(&self, place: usize) -> u32 {
        self.classes.items()[place]
    }

    pub(super) fn ids_in(&self, places: Range<usize>) -> &[u32] {
        &self.classes.items()[places]
    }

    /// The label at a place.
    pub(super) fn class_at(&self, place: usize) -> u32 {
        self.labels[place]
    }

    /// Where the class of a place ends.
    pub(super) fn class_end(&self, place: usize) -> usize {
        self.classes.places_of(self.id(place) as usize).end
    }

    /// The places of a class; none if there is no such class.
    pub(super) fn places_of(&self, label: u32) -> Range<usize> {
        self.classes.places_with(label)
    }

    /// How many classes there are.
    pub(super) fn class_count(&self) -> usize {
        self.classes.len()
    }

    /// How many items the largest class has.
    pub(super) fn largest_class(&self) -> usize {
        self.classes.largest()
    }

    /// Whether a reference of the query's class belongs in its list: it is not the query itself,
    /// nor of the query's group.
    pub(super) fn may_rank(&self, query: usize, gallery: &Self, place: usize) -> bool {
        if self.is_both && query == place {
            return false;
        }
        let same_name = match (&self.names, &gallery.names) {
            (Some(own), Some(others)) => own[query] == others[place],
            _ => false,
        };
        let same_group = match (&self.groups, &gallery.groups) {
            (Some(own), Some(others)) => own[query] == others[place],
            _ => false,
        };
        !same_name && !same_group
    }

    /// Puts minus infinity where a reference is no negative of the query: those of its class, and
    /// the query itself under whatever label.
    pub(super) fn mask(
        &self,
        query: usize,
        gallery: &Self,
        places: &Range<usize>,
        nearness: &mut [f32],
    ) {
        let class = gallery.places_of(self.class_at(query));
        let start = class.start.clamp(places.start, places.end) - places.start;
        let end = class.end.clamp(places.start, places.end) - places.start;
        nearness[start..end].fill(f32::NEG_INFINITY);
        let Some(names) = &self.names else { return };
        for &copy in gallery.named.get(&names[query]).into_iter().flatten() {
            if places.contains(&(copy as usize)) {
                nearness[copy as usize - places.start] = f32::NEG_INFINITY;
            }
        }
    }

    /// Whether each query, by id, has no positive.
    pub(super) fn lone(&self, gallery: &Self) -> Vec<bool> {
        let is_lone = |place: usize| {
            let mut class = gallery.places_of(self.class_at(place));
            !class.any(|at| self.may_rank(place, gallery, at))
        };
        let by_place: Vec<bool> = (0..self.len()).into_par_iter().map(is_lone).collect();
        let mut lone = vec![true; self.len()];
        for (place, is_lone) in by_place.into_iter().enumerate() {
            lone[self.id(place) as usize] = is_lone;
        }
        lone
    }

    /// How many references the query's list has.
    pub(super) fn list_length(&self, query: usize, gallery: &Self) -> usize {
        if self.names.is_none() && self.groups.is_none() {
            return gallery.len() - usize::from(self.is_both);
        }
        let class = gallery.places_of(self.class_at(query));
        let in_class = class.clone().filter(|&place| !self.may_rank(query, gallery, place)).count();
        let elsewhere = match &self.names {
            Some(names) => {
                let copies = gallery.named.get(&names[query]).into_iter().flatten();
                copies.filter(|&&place| !class.contains(&(place as usize))).count()
            }
            None => 0,
        };
        gallery.len() - in_class - elsewhere
    }

    /// How many references share the query's class: about as many as it has positives.
    pub(super) fn positives(&self, query: usize, gallery: &Self) -> usize {
        gallery.places_of(self.class_at(query)).len()
    }

    /// How many pairs of a query and a reference share a class.
    pub(super) fn pairs(&self, gallery: &Self) -> usize {
        (0..self.len()).map(|place| self.positives(place, gallery)).sum()
    }
}

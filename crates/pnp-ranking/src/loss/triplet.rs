//! Triplet loss: each positive is to be nearer than each negative, by a margin.
//!
//! For a query q, a positive p and a negative n, at squared distances `D² = 2 - 2s` of unit
//! vectors (Schroff, Kalenichenko and Philbin, `FaceNet`, CVPR 2015):
//!
//! ```text
//! [D²_qp - D²_qn + margin]+ = [2 (s_qn - s_qp) + margin]+
//! ```
//!
//! Which triplets, and the mean over what, is the mining; see [`TripletMining`].

use std::fmt;
use std::str::FromStr;

use super::LossEntry;
use super::lanes::{add_terms, largest};
use super::list::{ListCost, ListLoss, Mean, RankedList, Scratch, Slopes};
use super::spec::check;
use crate::error::RankingError;
use crate::real::Real;

/// The registry's line.
pub(super) const ENTRY: LossEntry = LossEntry {
    name: "triplet",
    summary: "each positive nearer than each negative by a margin (CVPR 2015); mining: all, \
              semi-hard, hard",
    proxies: false,
    build: |parameters| {
        let default = TripletSettings::default();
        let margin = parameters.number("margin", default.margin)?;
        let mining = parameters.parsed("mining", default.mining)?;
        Ok(Box::new(TripletLoss::new(&TripletSettings { margin, mining })?))
    },
};

/// Which triplets cost something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TripletMining {
    /// All of them; the mean over those whose cost is not 0. "Batch all" over non-zero triplets in
    /// Hermans, Beyer and Leibe, In Defense of the Triplet Loss, 2017.
    All,
    /// Those whose negative is farther than the positive, but by less than the margin; the mean
    /// over them. As in `FaceNet`, which adds them up and gives no mean.
    SemiHard,
    /// One for each query that has both: its farthest positive and its nearest negative; the mean
    /// over these, costs of 0 among them. "Batch hard" in Hermans et al., there with the distance
    /// that is not squared.
    Hard,
}

impl TripletMining {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::All, Self::SemiHard, Self::Hard];

    /// `all`, `semi-hard` or `hard`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::SemiHard => "semi-hard",
            Self::Hard => "hard",
        }
    }
}

impl fmt::Display for TripletMining {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for TripletMining {
    type Err = RankingError;

    fn from_str(name: &str) -> Result<Self, RankingError> {
        Self::ALL.into_iter().find(|mining| mining.name() == name).ok_or_else(|| {
            RankingError::Setting {
                setting: "mining",
                value: name.to_owned(),
                rule: "it must be all, semi-hard or hard",
            }
        })
    }
}

/// Settings of the triplet loss.
#[derive(Debug, Clone, PartialEq)]
pub struct TripletSettings {
    /// By how much the squared distances are to differ, a millionth to 4, the largest squared
    /// distance there is. Default: 0.2, as in `FaceNet`.
    pub margin: f64,
    /// Which triplets cost something. Default: semi-hard, as in `FaceNet`.
    pub mining: TripletMining,
}

impl Default for TripletSettings {
    fn default() -> Self {
        Self { margin: 0.2, mining: TripletMining::SemiHard }
    }
}

/// The triplet loss with checked settings.
///
/// Equal similarities: a negative as near as the positive costs the margin, but is not semi-hard,
/// since it is not farther; in hard mining the lowest place among the references is taken. A
/// triplet that meets the margin exactly costs nothing and is not counted among the non-zero ones.
/// Where similarities are equal but for rounding, rounding decides.
///
/// Without a triplet that counts the loss is 0.
///
/// ```
/// use pnp_ranking::Embeddings;
/// use pnp_ranking::loss::{Loss, TripletLoss, TripletMining, TripletSettings};
///
/// let mining = TripletMining::Hard;
/// let loss = TripletLoss::new(&TripletSettings { mining, ..TripletSettings::default() })?;
/// // A pair at the cosine 0.6, and an item of another class at 0.8 and 0.
/// let values = [1.0, 0.0, 0.6, 0.8, 0.8, -0.6];
/// let output = loss.forward_f64(&Embeddings::new(&values, 2)?, &[0, 0, 1])?;
/// assert!((output.value - (2.0 * (0.8 - 0.6) + 0.2) / 2.0).abs() < 1e-12);
/// # Ok::<(), pnp_ranking::RankingError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct TripletLoss {
    settings: TripletSettings,
}

impl TripletLoss {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`RankingError::Setting`].
    pub fn new(settings: &TripletSettings) -> Result<Self, RankingError> {
        let holds = (1e-6..=4.0).contains(&settings.margin);
        check("margin", settings.margin, holds, "it must be a number from 0.000001 to 4")?;
        Ok(Self { settings: settings.clone() })
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &TripletSettings {
        &self.settings
    }

    /// The triplets of each positive with all negatives, or only with those farther than itself.
    #[inline(always)]
    fn every_pair<T: Real>(
        &self,
        list: &RankedList<'_, T>,
        slopes: &mut Slopes<'_, T>,
        farther_only: bool,
    ) -> ListCost {
        let two = T::narrow(2.0);
        let half_margin = T::narrow(self.settings.margin / 2.0);
        let mut cost = ListCost::default();
        for (&positive, slope) in list.positives.iter().zip(&mut *slopes.positives) {
            let start = positive - half_margin;
            let end = if farther_only { positive } else { -T::NEG_INFINITY };
            let sums = add_terms(list.negatives, slopes.negatives, |s| {
                if s > start && s < end { (two * (s - start), two) } else { (T::ZERO, T::ZERO) }
            });
            *slope -= T::narrow(sums.slope);
            cost.value += sums.value;
            cost.terms += (sums.slope / 2.0) as usize;
        }
        cost
    }

    /// The triplet of the farthest positive and the nearest negative.
    #[inline(always)]
    fn hardest<T: Real>(&self, list: &RankedList<'_, T>, slopes: &mut Slopes<'_, T>) -> ListCost {
        let nearest = largest(list.negatives);
        let farthest =
            list.positives.iter().enumerate().reduce(|a, b| if b.1 < a.1 { b } else { a });
        let place = list.negatives.iter().position(|&s| s == nearest && s.finite());
        let (Some((p, &farthest)), Some(n)) = (farthest, place) else {
            return ListCost::default();
        };
        let excess = 2.0 * (nearest.wide() - farthest.wide()) + self.settings.margin;
        if excess > 0.0 {
            slopes.positives[p] -= T::narrow(2.0);
            slopes.negatives[n] += T::narrow(2.0);
        }
        ListCost::one(excess.max(0.0))
    }
}

impl ListLoss for TripletLoss {
    fn describe(&self) -> String {
        let TripletSettings { margin, mining } = self.settings;
        format!("triplet(margin={margin}, mining={mining})")
    }

    fn mean(&self) -> Mean {
        Mean::OverTerms
    }

    #[inline(always)]
    fn list<T: Real>(
        &self,
        list: &RankedList<'_, T>,
        slopes: &mut Slopes<'_, T>,
        _: &mut Scratch<T>,
    ) -> ListCost {
        match self.settings.mining {
            TripletMining::All => self.every_pair(list, slopes, false),
            TripletMining::SemiHard => self.every_pair(list, slopes, true),
            TripletMining::Hard => self.hardest(list, slopes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_mining_are_read_back_from_their_names() {
        for mining in TripletMining::ALL {
            assert_eq!(mining.to_string().parse(), Ok(mining));
        }
        let error = "easy".parse::<TripletMining>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "mining = easy is not possible: it must be all, semi-hard or hard"
        );
    }

    /// The cost, the slopes of positives and of negatives.
    fn list(
        mining: TripletMining,
        positives: &[f64],
        negatives: &[f64],
    ) -> (ListCost, Vec<f64>, Vec<f64>) {
        let loss = TripletLoss::new(&TripletSettings { margin: 0.5, mining }).unwrap();
        let list = RankedList {
            positives,
            query: None,
            negatives,
            negative_count: negatives.iter().filter(|s| s.is_finite()).count(),
        };
        let (mut near, mut far) = (vec![0.0; positives.len()], vec![0.0; negatives.len()]);
        let mut slopes = Slopes { positives: &mut near, negatives: &mut far };
        let cost = loss.list(&list, &mut slopes, &mut Scratch::new(negatives.len()));
        (cost, near, far)
    }

    #[test]
    fn equal_similarities_follow_the_rules() {
        let masked = f64::NEG_INFINITY;
        let (positives, negatives) = ([0.5, 0.25, 0.25], [masked, 0.25, 0.75, 0.75, 0.0]);
        let (cost, near, far) = list(TripletMining::Hard, &positives, &negatives);
        assert_eq!(cost, ListCost { value: 1.5, terms: 1 });
        assert_eq!((near, far), (vec![0.0, -2.0, 0.0], vec![0.0, 0.0, 2.0, 0.0, 0.0]));
        // Three positives with both at 0.75, and two with that at their own place. The others meet
        // the margin exactly or by more.
        let (cost, near, far) = list(TripletMining::All, &positives, &negatives);
        assert_eq!(cost, ListCost { value: 2.0 + 2.0 * (0.5 + 3.0), terms: 8 });
        assert_eq!((near, far), (vec![-4.0, -6.0, -6.0], vec![0.0, 4.0, 6.0, 6.0, 0.0]));
        let (cost, _, far) = list(TripletMining::SemiHard, &positives, &negatives);
        assert_eq!((cost, far), (ListCost::default(), vec![0.0; 5]));
        let (cost, near, far) = list(TripletMining::SemiHard, &[0.5], &[0.375, 0.5, 0.25]);
        assert_eq!(cost, ListCost { value: 0.25, terms: 1 });
        assert_eq!((near, far), (vec![-2.0], vec![2.0, 0.0, 0.0]));
    }

    #[test]
    fn lists_without_negatives_have_no_triplet() {
        for mining in TripletMining::ALL {
            assert_eq!(list(mining, &[0.5], &[f64::NEG_INFINITY]).0, ListCost::default());
            assert_eq!(list(mining, &[0.5], &[]).0, ListCost::default());
        }
    }

    #[test]
    fn a_hard_triplet_that_costs_nothing_is_counted() {
        let (cost, near, far) = list(TripletMining::Hard, &[0.9], &[0.1]);
        assert_eq!(cost, ListCost::one(0.0));
        assert_eq!((near, far), (vec![0.0], vec![0.0]));
    }
}

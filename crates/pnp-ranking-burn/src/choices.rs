//! Settings that are a choice among names, in a form that a configuration can be saved with.

#![allow(clippy::expl_impl_clone_on_copy, reason = "`Config` writes out `Clone`")]

use burn::config::Config;
use pnp_ranking::loss;

/// Makes a choice of `pnp-ranking` a setting of a configuration.
macro_rules! choice {
    ($(#[$docs:meta])* $name:ident of $original:ty {
        $($(#[$variant_docs:meta])* $variant:ident,)*
    }) => {
        $(#[$docs])*
        #[derive(Config, Debug, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_docs])* $variant,)*
        }

        impl From<$name> for $original {
            fn from(choice: $name) -> Self {
                match choice {
                    $($name::$variant => Self::$variant,)*
                }
            }
        }

        impl From<$original> for $name {
            fn from(choice: $original) -> Self {
                match choice {
                    $(<$original>::$variant => Self::$variant,)*
                }
            }
        }
    };
}

choice! {
    /// What a number R of negatives before a positive costs in the [PNP loss](crate::PnpLoss), with
    /// the paper's equation.
    PnpVariant of loss::PnpVariant {
        /// PNP-O: `R` (5).
        O,
        /// PNP-I_u: `(1 + R) log(1 + R)` (7).
        Iu,
        /// PNP-I_b: `(bR - log(1 + bR)) / b²` (9).
        Ib,
        /// PNP-D_s: `log(1 + R)` (12).
        Ds,
        /// PNP-D_q: `1 - (1 + R)^-alpha` (13).
        Dq,
    }
}

choice! {
    /// What the margin of the [contrastive loss](crate::ContrastiveLoss) is measured in.
    Distance of pnp_ranking::metric::Distance {
        /// Similarities.
        Cosine,
        /// Euclidean distances.
        Euclidean,
    }
}

choice! {
    /// Which triplets cost something in the [triplet loss](crate::TripletLoss).
    TripletMining of loss::TripletMining {
        /// All of them; the mean over those whose cost is not 0.
        All,
        /// Those whose negative is farther than the positive, but by less than the margin.
        SemiHard,
        /// One for each query: its farthest positive and its nearest negative.
        Hard,
    }
}

//! What "near" means.

use std::fmt;
use std::str::FromStr;

use crate::error::RankingError;

/// How items are ranked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Distance {
    /// By the inner product of the L2-normalised embeddings, the largest first. An embedding of
    /// zeros has the similarity 0 to every other.
    #[default]
    Cosine,
    /// By the Euclidean distance of the embeddings as they are, the smallest first.
    Euclidean,
}

impl Distance {
    /// `cosine` or `euclidean`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Euclidean => "euclidean",
        }
    }
}

impl fmt::Display for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Distance {
    type Err = RankingError;

    fn from_str(name: &str) -> Result<Self, RankingError> {
        [Self::Cosine, Self::Euclidean]
            .into_iter()
            .find(|distance| distance.name() == name)
            .ok_or_else(|| RankingError::UnknownDistance { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_read_back_from_their_names() {
        for distance in [Distance::Cosine, Distance::Euclidean] {
            assert_eq!(distance.to_string().parse(), Ok(distance));
        }
        let error = "manhattan".parse::<Distance>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown distance 'manhattan': the distances are cosine, euclidean"
        );
    }
}

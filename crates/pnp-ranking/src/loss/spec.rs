//! How a loss is written: `name(parameter=value, ...):weight`, and several with commas between.
//!
//! What a loss calls itself is read back to the same loss.

use std::fmt::Display;
use std::str::FromStr;

use super::{LOSSES, Loss, LossEntry, PnpLoss, PnpSettings, PnpVariant, WeightedSum};
use crate::error::RankingError;

/// Makes the loss that is written so.
///
/// `PNP`, `multi-similarity(beta=40)`, `PNP-D_q(alpha=4):1.0,contrastive:0.1`: one name of
/// [`LOSSES`] or of a variant of PNP, with the parameters that are not to have their default, and a
/// weight, 1 if there is none. Several make their weighted sum. The settings of PNP are given
/// apart, and `anneal` and `count_query` among them hold for every loss that has these parameters;
/// what stands in brackets is stronger.
///
/// ```
/// use pnp_ranking::{Embeddings, loss};
///
/// let settings = loss::PnpSettings {
///     variant: "PNP-D_q".parse()?,
///     alpha: Some(4.0),
///     ..Default::default()
/// };
/// let loss = loss::build("PNP", &settings)?;
/// assert_eq!(loss.name(), "PNP-D_q(alpha=4, anneal=0.01)");
///
/// let values = [1.0, 0.0, 0.8, 0.6, 0.6, 0.8, 0.0, 1.0];
/// let output = loss.forward_f32(&Embeddings::new(&values, 2)?, &[0, 1, 0, 1])?;
/// assert!(output.value > 0.0 && output.value < 1.0);
/// assert_eq!(output.gradient.len(), values.len());
/// # Ok::<(), pnp_ranking::RankingError>(())
/// ```
///
/// # Errors
/// [`RankingError::LossSyntax`], [`RankingError::UnknownLoss`], [`RankingError::UnknownParameter`],
/// [`RankingError::Setting`] with the rule that is broken, [`RankingError::TwoProxyLosses`].
pub fn build(text: &str, settings: &PnpSettings) -> Result<Box<dyn Loss>, RankingError> {
    let mut parts = Vec::new();
    for term in split_outside_brackets(text, ',') {
        let term = term.trim();
        let (spec, weight) = match split_outside_brackets(term, ':')[..] {
            [spec] => (spec, None),
            [spec, weight] => (spec, Some(read_weight(weight)?)),
            _ => return Err(syntax(term, "it has more than one ':'")),
        };
        parts.push((weight, build_one(spec.trim(), settings)?));
    }
    match <[_; 1]>::try_from(parts) {
        Ok([(None, loss)]) => Ok(loss),
        Ok([(Some(weight), loss)]) => Ok(Box::new(WeightedSum::new(vec![(weight, loss)])?)),
        Err(parts) => {
            let parts = parts.into_iter().map(|(weight, loss)| (weight.unwrap_or(1.0), loss));
            Ok(Box::new(WeightedSum::new(parts.collect())?))
        }
    }
}

/// The losses of PNP that are written so, without their weights: for what only PNP has, its
/// [`cost`](PnpLoss::cost).
///
/// # Errors
/// As [`build`], and [`RankingError::LossSyntax`] for another loss.
pub fn build_pnp(text: &str, settings: &PnpSettings) -> Result<Vec<PnpLoss>, RankingError> {
    let terms = split_outside_brackets(text, ',').into_iter();
    let specs = terms.map(|term| split_outside_brackets(term, ':')[0].trim());
    let build = |spec: &str| {
        let (name, given) = split_spec(spec)?;
        if find(name)?.name != "PNP" {
            return Err(syntax(spec, "it is no variant of PNP"));
        }
        let mut parameters = Parameters::read(name, spec, given, settings)?;
        let loss = PnpLoss::new(&PnpSettings::read(&mut parameters)?)?;
        parameters.finish()?;
        Ok(loss)
    };
    specs.map(build).collect()
}

fn build_one(spec: &str, settings: &PnpSettings) -> Result<Box<dyn Loss>, RankingError> {
    let (name, given) = split_spec(spec)?;
    let entry = find(name)?;
    let mut parameters = Parameters::read(name, spec, given, settings)?;
    let loss = (entry.build)(&mut parameters)?;
    parameters.finish()?;
    Ok(loss)
}

/// The name and what stands in the brackets.
fn split_spec(spec: &str) -> Result<(&str, &str), RankingError> {
    match spec.split_once('(') {
        None if spec.contains(')') => Err(syntax(spec, "a bracket is closed that was not opened")),
        None => Ok((spec, "")),
        Some((name, rest)) => match rest.strip_suffix(')') {
            Some(given) => Ok((name.trim(), given)),
            None => Err(syntax(spec, "the bracket is not closed at its end")),
        },
    }
}

fn find(name: &str) -> Result<&'static LossEntry, RankingError> {
    let is_variant = PnpVariant::ALL.iter().any(|variant| variant.name() == name);
    let registered = match name {
        _ if is_variant => "PNP",
        "normalized-softmax" => "normalised-softmax",
        name => name,
    };
    LOSSES.iter().find(|entry| entry.name == registered).ok_or_else(|| RankingError::UnknownLoss {
        name: name.to_owned(),
        known: LOSSES.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", "),
    })
}

fn read_weight(text: &str) -> Result<f64, RankingError> {
    let weight = text.trim().parse::<f64>().ok().filter(|weight| (0.0..=1e6).contains(weight));
    // Adding 0 makes 0 of -0.
    weight.map(|weight| weight + 0.0).ok_or_else(|| RankingError::Setting {
        setting: "weight of a loss",
        value: text.trim().to_owned(),
        rule: "it must be a number from 0 to 1000000",
    })
}

fn syntax(text: &str, reason: &str) -> RankingError {
    RankingError::LossSyntax { text: text.to_owned(), reason: reason.to_owned() }
}

fn split_outside_brackets(text: &str, separator: char) -> Vec<&str> {
    let mut depth = 0_usize;
    text.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && c == separator
    })
    .collect()
}

impl LossEntry {
    /// The parameters with their defaults; of PNP those of all variants.
    ///
    /// # Errors
    /// Never with settings that are in range.
    pub fn parameters(
        &self,
        settings: &PnpSettings,
    ) -> Result<Vec<(&'static str, String)>, RankingError> {
        let variants = PnpVariant::ALL.map(PnpVariant::name);
        let variants = if self.name == "PNP" { &variants[..] } else { &[] };
        // PNP-D_q cannot be made without an exponent.
        let exponent = settings.alpha.or(Some(1.0));
        let complete = PnpSettings { alpha: exponent, ..settings.clone() };
        let mut known: Vec<(&'static str, String)> = Vec::new();
        for name in std::iter::once(&self.name).chain(variants) {
            let mut parameters = Parameters::read(name, name, "", &complete)?;
            (self.build)(&mut parameters)?;
            for (parameter, default) in parameters.known {
                let default = match parameter {
                    "alpha" if self.name == "PNP" && settings.alpha.is_none() => "none".into(),
                    _ => default,
                };
                if !known.iter().any(|(other, _)| *other == parameter) {
                    known.push((parameter, default));
                }
            }
        }
        Ok(known)
    }
}

/// The parameters that were given to a loss; a constructor takes what it knows, and what is left
/// is refused.
#[derive(Debug)]
pub(super) struct Parameters<'a> {
    /// The name that was asked for.
    name: &'a str,
    given: Vec<(&'a str, &'a str)>,
    /// What the constructor asked for: names with their defaults.
    known: Vec<(&'static str, String)>,
    shared: &'a PnpSettings,
}

impl<'a> Parameters<'a> {
    fn read(
        name: &'a str,
        spec: &'a str,
        given: &'a str,
        shared: &'a PnpSettings,
    ) -> Result<Self, RankingError> {
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for pair in given.split(',').map(str::trim).filter(|_| !given.trim().is_empty()) {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(syntax(spec, &format!("'{pair}' is not parameter=value")));
            };
            let key = key.trim();
            if pairs.iter().any(|&(other, _)| other == key) {
                return Err(syntax(spec, &format!("'{key}' is given twice")));
            }
            pairs.push((key, value.trim()));
        }
        Ok(Self { name, given: pairs, known: Vec::new(), shared })
    }

    /// The name that was asked for: the registry's, or a variant's.
    pub(super) fn asked(&self) -> &str {
        self.name
    }

    /// The settings that hold for several losses.
    pub(super) fn shared(&self) -> &PnpSettings {
        self.shared
    }

    /// A number, if it is given.
    pub(super) fn optional_number(
        &mut self,
        name: &'static str,
        default: Option<f64>,
    ) -> Result<Option<f64>, RankingError> {
        let shown = default.map_or_else(|| "none".to_owned(), |default| default.to_string());
        Ok(self.take(name, shown, "it must be a number")?.or(default))
    }

    /// A number.
    pub(super) fn number(&mut self, name: &'static str, default: f64) -> Result<f64, RankingError> {
        Ok(self.take(name, default.to_string(), "it must be a number")?.unwrap_or(default))
    }

    /// A whole number.
    pub(super) fn count(
        &mut self,
        name: &'static str,
        default: usize,
    ) -> Result<usize, RankingError> {
        let rule = "it must be a whole number";
        Ok(self.take(name, default.to_string(), rule)?.unwrap_or(default))
    }

    /// Yes or no.
    pub(super) fn flag(&mut self, name: &'static str, default: bool) -> Result<bool, RankingError> {
        let rule = "it must be true or false";
        Ok(self.take(name, default.to_string(), rule)?.unwrap_or(default))
    }

    /// Numbers with `+` between them.
    pub(super) fn numbers<N: FromStr + ToString>(
        &mut self,
        name: &'static str,
        default: Vec<N>,
    ) -> Result<Vec<N>, RankingError> {
        let shown = default.iter().map(N::to_string).collect::<Vec<_>>().join("+");
        self.known.push((name, shown));
        let Some(text) = self.remove(name) else { return Ok(default) };
        let numbers: Result<_, _> = text.split('+').map(|part| part.trim().parse()).collect();
        numbers.map_err(|_| RankingError::Setting {
            setting: name,
            value: text.to_owned(),
            rule: "it must be numbers with + between them, as 1+2+4",
        })
    }

    /// One of several named choices, whose own error says which there are.
    pub(super) fn parsed<C: FromStr<Err = RankingError> + ToString>(
        &mut self,
        name: &'static str,
        default: C,
    ) -> Result<C, RankingError> {
        self.known.push((name, default.to_string()));
        self.remove(name).map_or(Ok(default), str::parse)
    }

    fn take<V: FromStr>(
        &mut self,
        name: &'static str,
        default: String,
        rule: &'static str,
    ) -> Result<Option<V>, RankingError> {
        self.known.push((name, default));
        let Some(text) = self.remove(name) else { return Ok(None) };
        match text.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(RankingError::Setting { setting: name, value: text.to_owned(), rule }),
        }
    }

    fn remove(&mut self, name: &str) -> Option<&'a str> {
        let place = self.given.iter().position(|&(key, _)| key == name)?;
        Some(self.given.remove(place).1)
    }

    fn finish(self) -> Result<(), RankingError> {
        match self.given.first() {
            None => Ok(()),
            Some((parameter, _)) => Err(RankingError::UnknownParameter {
                loss: self.name.to_owned(),
                parameter: (*parameter).to_owned(),
                known: self.known.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "),
            }),
        }
    }
}

/// Refuses what is not a number from a millionth to a million, which keep every quotient of a loss
/// finite in f32.
pub(super) fn check_positive(setting: &'static str, value: f64) -> Result<(), RankingError> {
    let rule = "it must be a number from 0.000001 to 1000000";
    check(setting, value, (1e-6..=1e6).contains(&value), rule)
}

/// Refuses a setting unless `holds`.
pub(super) fn check(
    setting: &'static str,
    value: impl Display,
    holds: bool,
    rule: &'static str,
) -> Result<(), RankingError> {
    if holds {
        Ok(())
    } else {
        Err(RankingError::Setting { setting, value: value.to_string(), rule })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build_default(text: &str) -> Result<Box<dyn Loss>, RankingError> {
        build(text, &PnpSettings { alpha: Some(8.0), ..PnpSettings::default() })
    }

    #[test]
    fn a_loss_is_read_back_from_its_name() {
        for text in [
            "PNP-O(anneal=0.01)",
            "PNP-D_q(alpha=4, anneal=0.05, count_query=false)",
            "PNP-I_b(b=3, anneal=0.01)",
            "PNP-O(anneal=0.01):1,PNP-D_s(anneal=0.1):0.25",
            "normalised-softmax(temperature=0.05)",
            "proxy-anchor(alpha=32, delta=0.1)",
            "Smooth-AP(anneal=0.02)",
            "Smooth-AP(anneal=0.01, count_query=false)",
            "FastAP(bins=20)",
            "Recall@k(k=1+2+4, anneal=0.02, rank_temperature=1)",
            "Recall@k(k=1+5, anneal=0.01, rank_temperature=1+2.5)",
            "SupAP(anneal=0.02, rho=50, delta=0.1, calibration=0.25, positive_margin=0.8, \
             negative_margin=0.5)",
            "SupAP(anneal=0.01, rho=100, delta=0.05, calibration=0, count_query=false)",
            "contrastive(distance=cosine, margin=0.25)",
            "contrastive(distance=euclidean, margin=1)",
            "triplet(margin=0.3, mining=all)",
            "triplet(margin=0.2, mining=semi-hard)",
            "triplet(margin=0.2, mining=hard)",
            "multi-similarity(alpha=2, beta=40, base=1, epsilon=0.2)",
        ] {
            let name = build_default(text).unwrap().name();
            assert_eq!(name, text);
            assert_eq!(build_default(&name).unwrap().name(), name);
        }
    }

    #[test]
    fn brackets_are_stronger_than_settings() {
        let name = |text| build_default(text).unwrap().name();
        assert_eq!(name("PNP-D_q"), "PNP-D_q(alpha=8, anneal=0.01)");
        assert_eq!(name("PNP(variant=PNP-D_q,alpha=2)"), "PNP-D_q(alpha=2, anneal=0.01)");
        assert_eq!(name(" PNP : 0.5 , PNP "), "PNP-O(anneal=0.01):0.5,PNP-O(anneal=0.01):1");
    }

    #[test]
    fn parameters_are_told_with_their_defaults() {
        let of = |name: &str| {
            let parameters = find(name).unwrap().parameters(&PnpSettings::default()).unwrap();
            let shown = parameters.iter().map(|(name, default)| format!("{name}={default}"));
            shown.collect::<Vec<_>>().join(", ")
        };
        let expected = "variant=PNP-O, anneal=0.01, count_query=true, b=2, alpha=none";
        assert_eq!(of("PNP"), expected);
        assert_eq!(of("proxy-anchor"), "alpha=32, delta=0.1");
        assert_eq!(of("normalized-softmax"), "temperature=0.05");
        assert_eq!(of("Recall@k"), "k=1+2+4+8+16, anneal=0.01, rank_temperature=1");
    }

    #[test]
    fn variants_of_pnp_are_read_by_themselves() {
        let settings = PnpSettings::default();
        let losses = build_pnp("PNP-O, PNP-D_q(alpha=4):0.5", &settings).unwrap();
        assert_eq!(losses.iter().map(|loss| loss.cost(1.0)).collect::<Vec<_>>(), [1.0, 0.9375]);
        let error = build_pnp("proxy-anchor", &settings).unwrap_err();
        assert!(error.to_string().contains("no variant of PNP"), "{error}");
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        for (text, message) in [
            ("", "unknown loss ''"),
            ("PNP,", "unknown loss ''"),
            ("Triplett", "unknown loss 'Triplett': the losses are PNP"),
            ("PNP(anneal=0.1", "the bracket is not closed"),
            ("PNP)", "a bracket is closed that was not opened"),
            ("PNP(anneal)", "'anneal' is not parameter=value"),
            ("PNP(anneal=1,anneal=2)", "'anneal' is given twice"),
            ("PNP(margin=1)", "the loss PNP has no parameter 'margin': it has variant, anneal"),
            ("PNP-D_q(alpha=x)", "alpha = x is not possible: it must be a number"),
            ("PNP(count_query=1)", "count_query = 1 is not possible: it must be true or false"),
            ("PNP:-1", "weight of a loss = -1"),
            ("PNP:NaN", "weight of a loss = NaN"),
            ("PNP:1:2", "more than one ':'"),
        ] {
            let error = build_default(text).unwrap_err().to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
    }
}

//! f(R) and f'(R) of the variants of PNP as a picture.

use std::path::Path;

use pnp_ranking::loss::{PnpLoss, PnpSettings, PnpVariant, build_pnp};
use pnp_run::{FunctionPanel, atomic, function_curves};
use pnp_train::TrainConfig;

use super::super::print;
use crate::cli::LossArgs;
use crate::failure::Failure;

/// Points of a curve.
const POINTS: usize = 400;
/// The exponents of PNP-D_q that are drawn if none is given: those the authors and PyTorch Metric
/// Learning name.
const ALPHAS: [f64; 2] = [4.0, 8.0];

pub(super) fn draw(args: &LossArgs, config: &TrainConfig, path: &Path) -> Result<(), Failure> {
    let to = args.curves_to;
    if !(to > 0.0 && to <= 1e6) {
        let rule = "a number of negatives, above 0 and up to 1000000";
        return Err(Failure::Usage(format!("curves-to = {to} is not possible: {rule}")));
    }
    let settings = config.pnp()?;
    let default = TrainConfig::default();
    let named = (&config.loss, &config.variant) != (&default.loss, &default.variant);
    let losses = if args.loss.names_a_loss() || named {
        build_pnp(&config.loss, &settings)?
    } else {
        all(&settings)?
    };
    let panel = |title: &str, y_label: &str, value: fn(&PnpLoss, f64) -> f64| FunctionPanel {
        title: title.into(),
        x_label: "R, negatives before a positive".into(),
        y_label: y_label.into(),
        curves: losses.iter().map(|loss| (short(loss), points(loss, to, value))).collect(),
    };
    let svg = function_curves(&[
        panel("What R negatives before a positive cost", "f(R)", PnpLoss::cost),
        panel("How the cost grows with one more", "f′(R)", PnpLoss::cost_slope),
    ])?;
    atomic::write(path, svg.as_bytes())?;
    print(&format!("curves  {}\n", path.display()))
}

/// Every variant.
fn all(settings: &PnpSettings) -> Result<Vec<PnpLoss>, Failure> {
    let mut losses = Vec::new();
    for variant in PnpVariant::ALL {
        let alphas = match (variant, settings.alpha) {
            (PnpVariant::Dq, None) => ALPHAS.map(Some).to_vec(),
            (_, alpha) => vec![alpha],
        };
        for alpha in alphas {
            losses.push(PnpLoss::new(&PnpSettings { variant, alpha, ..settings.clone() })?);
        }
    }
    Ok(losses)
}

fn points(loss: &PnpLoss, to: f64, value: fn(&PnpLoss, f64) -> f64) -> Vec<(f64, f64)> {
    let at = |i: usize| to * i as f64 / (POINTS - 1) as f64;
    (0..POINTS).map(|i| (at(i), value(loss, at(i)))).collect()
}

/// The variant with what bends its curve.
fn short(loss: &PnpLoss) -> String {
    let settings = loss.settings();
    match (settings.variant, settings.alpha) {
        (PnpVariant::Dq, Some(alpha)) => format!("PNP-D_q, α = {alpha}"),
        (PnpVariant::Ib, _) => format!("PNP-I_b, b = {}", settings.b),
        (variant, _) => variant.name().to_owned(),
    }
}

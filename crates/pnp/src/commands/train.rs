//! `pnp train`.

use std::path::Path;

use pnp_run::score_table;
use pnp_train::{Host, Outcome, StopFlag};

use super::print;
use crate::cli::TrainArgs;
use crate::failure::Failure;
use crate::progress::Terminal;
use crate::{device, settings};

pub(crate) fn run(args: &TrainArgs) -> Result<(), Failure> {
    let flags = [
        settings::table(&args.data)?,
        settings::table(&args.batch)?,
        settings::table(&args.network)?,
        settings::table(&args.loss)?,
        settings::table(&args.objective)?,
        settings::table(&args.training)?,
        settings::table(&args.metrics)?,
        settings::table(&args.records)?,
    ];
    if args.dry_run {
        let config = settings::resolve(args.config.as_deref(), flags)?;
        config.check()?;
        return print(&config.resolved()?.to_toml());
    }
    let host = Host {
        device: device::open(&args.device)?,
        device_name: args.device.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
    };
    let stop = stop_on_interrupt("after this step")?;
    let mut observer = Terminal::new();
    let outcome = if let Some(run) = &args.resume {
        let overrides = flags.into_iter().flatten().collect();
        pnp_train::resume(run, &overrides, &host, &stop, &mut observer)?
    } else {
        let config = settings::resolve(args.config.as_deref(), flags)?;
        pnp_train::train(config, &host, &stop, &mut observer)?
    };
    report(&outcome)
}

/// The first Ctrl-C asks the work to stop, and says when it will, the second ends it at once.
pub(super) fn stop_on_interrupt(when: &'static str) -> Result<StopFlag, Failure> {
    let stop = StopFlag::default();
    let flag = stop.clone();
    let handler = move || {
        if flag.is_set() {
            std::process::exit(1);
        }
        flag.set();
        crate::say!("\nstopping {when}; once more to stop at once");
    };
    ctrlc::set_handler(handler)
        .map_err(|e| Failure::Work(format!("cannot watch for Ctrl-C: {e}")))?;
    Ok(stop)
}

fn report(outcome: &Outcome) -> Result<(), Failure> {
    let run = outcome.run.display();
    if !outcome.finished {
        crate::say!("stopped and saved; go on with: pnp train --resume {}", quoted(&outcome.run));
        return Err(Failure::Stopped);
    }
    let trained = match outcome.best_epoch {
        Some(epoch) => format!("trained (epoch {epoch})"),
        None => "trained".into(),
    };
    let table = score_table(&[("untrained", &outcome.untrained), (&trained, &outcome.trained)]);
    let selected = &outcome.selected_on;
    print(&format!(
        "\nScores on the test split, in percent; best epoch selected on {selected}\n\n{table}\n\
         run folder  {run}\n\
         summary     {run}/summary.txt\n\
         plots       {run}/plots/*.svg\n\
         picture     {run}/plots/neighbours.png\n"
    ))
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

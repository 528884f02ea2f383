//! Progress for a person: a bar where a terminal is, plain lines where not. Both go to standard
//! error, so that standard output holds the result alone.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use pnp_train::{Observer, Phase};

/// How often a plain line says how far a phase is.
const PLAIN_EVERY: Duration = Duration::from_secs(15);

/// An [`Observer`] on the terminal.
pub(crate) struct Terminal {
    bars: bool,
    bar: Option<ProgressBar>,
    phase: String,
    start: Instant,
    last_line: Instant,
    total: u64,
    done: u64,
    detail: String,
}

impl Terminal {
    pub(crate) fn new() -> Self {
        Self {
            bars: std::io::stderr().is_terminal(),
            bar: None,
            phase: String::new(),
            start: Instant::now(),
            last_line: Instant::now(),
            total: 0,
            done: 0,
            detail: String::new(),
        }
    }

    fn plain_line(&self) {
        let seconds = self.start.elapsed().as_secs_f64();
        let detail =
            if self.detail.is_empty() { String::new() } else { format!(", {}", self.detail) };
        crate::say!("{}: {}/{} in {seconds:.1} s{detail}", self.phase, self.done, self.total);
    }
}

impl Observer for Terminal {
    fn begin(&mut self, phase: &Phase, total: u64, done: u64) {
        self.phase = match phase {
            Phase::Train { epoch, epochs } => format!("epoch {epoch}/{epochs}"),
            Phase::Check => "checking images".into(),
            Phase::Pack => "packing images".into(),
            Phase::Embed { split } => format!("embedding {split}"),
        };
        let unit = if matches!(phase, Phase::Train { .. }) { "steps" } else { "images" };
        (self.total, self.done) = (total, done);
        (self.start, self.last_line) = (Instant::now(), Instant::now());
        self.detail.clear();
        if self.bars {
            let template = format!(
                "{{prefix}} {{wide_bar}} {{pos}}/{{len}} {unit}, {{per_sec}}, {{eta}} left {{msg}}"
            );
            let style = ProgressStyle::with_template(&template)
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = ProgressBar::new(total).with_style(style).with_prefix(self.phase.clone());
            bar.set_position(done);
            bar.reset_eta();
            self.bar = Some(bar);
        }
    }

    fn advance(&mut self, by: u64, detail: &str) {
        self.done += by;
        detail.clone_into(&mut self.detail);
        if let Some(bar) = &self.bar {
            bar.set_message(detail.to_owned());
            bar.inc(by);
        } else if self.done < self.total && self.last_line.elapsed() > PLAIN_EVERY {
            self.last_line = Instant::now();
            self.plain_line();
        }
    }

    fn end(&mut self) {
        match self.bar.take() {
            Some(bar) => bar.finish_and_clear(),
            None => self.plain_line(),
        }
    }

    fn say(&mut self, line: &str) {
        if let Some(bar) = &self.bar {
            bar.suspend(|| crate::say!("{line}"));
        } else {
            crate::say!("{line}");
        }
    }
}

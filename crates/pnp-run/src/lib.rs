//! The run folder: its records, written and read back, and what is made from them.
//!
//! - [`RunFolder`] is one training run on disk: `config.toml`, `run.json` ([`RunInfo`]),
//!   `events.jsonl` (one [`Event`] per line) and `checkpoints/`. Everything else in it (tables,
//!   plots, the summary) is made from these records and can be made again at any time.
//! - [`Records`] are the events put in order: steps, epochs, the scores of each split.
//! - [`atomic`] writes files and folders so that a crash leaves the old or the new, never a mix.
//! - [`picture`] draws queries beside their nearest neighbours.
//! - [`function_curves`] draws functions that no run recorded.
//! - [`score_table`] sets scores side by side as text.
//!
//! The crate knows nothing of networks, data sets or losses. Scores are fractions from 0 to 1 in
//! the records and percent only where a person reads them.

pub mod atomic;
mod clock;
mod error;
mod event;
mod folder;
mod info;
mod journal;
pub mod picture;
mod plot;
mod records;
mod score_table;
mod summary;
mod tables;

pub use error::RunError;
pub use event::{Event, Score};
pub use folder::RunFolder;
pub use info::{RunInfo, Status};
pub use plot::{FunctionPanel, function_curves};
pub use records::{BestCheckpoint, EpochRecord, EvaluationRecord, Records, StepRecord};
pub use score_table::{is_fraction, score_table};

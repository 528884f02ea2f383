//! How a training tells what it is doing: the program draws progress bars from it, a test nothing.

/// A stretch of work whose length is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Images of the data set being decoded once.
    Check,
    /// Images of the data set being put into a pack.
    Pack,
    /// Training steps of an epoch, counted from 1.
    Train {
        /// The epoch.
        epoch: u64,
        /// How many there are.
        epochs: u64,
    },
    /// Images of a split being embedded.
    Embed {
        /// The split's name.
        split: String,
    },
}

/// Hears about the progress of a training, from whatever thread the work is on.
pub trait Observer: Send {
    /// A phase begins; `total` counts steps or images, `done` of them done before.
    fn begin(&mut self, phase: &Phase, total: u64, done: u64);
    /// Some more are done; `detail` says how it goes.
    fn advance(&mut self, by: u64, detail: &str);
    /// The phase ends.
    fn end(&mut self);
    /// A line for a person.
    fn say(&mut self, line: &str);
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn begin(&mut self, _: &Phase, _: u64, _: u64) {}
    fn advance(&mut self, _: u64, _: &str) {}
    fn end(&mut self) {}
    fn say(&mut self, _: &str) {}
}

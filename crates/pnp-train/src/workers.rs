//! The threads that decode outside of a loader: for checks and packs.

use crate::error::TrainError;

/// Runs `work`, whose parallel loops take so many threads; 0: one per core.
///
/// # Errors
///
/// [`TrainError::Threads`] where the threads cannot be started.
pub fn on_workers<T: Send>(
    workers: usize,
    work: impl FnOnce() -> T + Send,
) -> Result<T, TrainError> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(workers).build();
    Ok(pool.map_err(|e| TrainError::Threads(e.to_string()))?.install(work))
}

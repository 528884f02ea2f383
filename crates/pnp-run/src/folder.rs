//! A run on disk.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use crate::atomic;
use crate::error::RunError;
use crate::event::Event;
use crate::info::{self, RunInfo, Status};
use crate::journal::{Reader, Writer};
use crate::records::Records;
use crate::{plot, summary, tables};

const CONFIG: &str = "config.toml";
const INFO: &str = "run.json";
const EVENTS: &str = "events.jsonl";
const LOCK: &str = ".lock";

/// One run: a folder with its settings, its records and its checkpoints.
///
/// ```text
/// config.toml        every setting as resolved      run.json     what the run is, how it stands
/// events.jsonl       one event per line             summary.txt  the run on one page
/// csv/  plots/       made from the events           checkpoints/{last,best}/
/// ```
///
/// Anybody may open and read a run at any time, a running one too. It has one writer: the first
/// change ([`append`](Self::append), [`rewind_to`](Self::rewind_to), [`update`](Self::update))
/// takes a lock that is held as long as the value lives, or is refused with [`RunError::Busy`].
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    info: RunInfo,
    lock: Option<File>,
    writer: Option<Writer>,
}

impl RunFolder {
    /// Begins a run in a folder that does not exist or is empty; missing parents are created.
    pub fn create(path: &Path, config_toml: &str, info: &RunInfo) -> Result<Self, RunError> {
        refuse_used(path)?;
        let checkpoints = path.join("checkpoints");
        fs::create_dir_all(&checkpoints)
            .map_err(RunError::io("create the folder", &checkpoints))?;
        let mut run = Self { path: path.to_owned(), info: info.clone(), lock: None, writer: None };
        run.claim()?;
        atomic::write(&run.config_path(), config_toml.as_bytes())?;
        run.writer = Some(Writer::open(&run.events_path(), 0)?);
        // Last, since this file makes the folder a run.
        info::write(&run.info_path(), info)?;
        Ok(run)
    }

    /// Opens a run and checks its records. Changes nothing: a torn last line, which a killed run
    /// leaves, is passed over by readers and removed by the first change.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        let refuse = |reason| RunError::NotARun { path: path.to_owned(), reason };
        if !path.is_dir() {
            return Err(refuse("there is no such folder"));
        }
        if !path.join(INFO).is_file() {
            return Err(refuse("it has no run.json"));
        }
        if !path.join(EVENTS).is_file() {
            return Err(refuse("it has no events.jsonl"));
        }
        let info = info::read(&path.join(INFO))?;
        let run = Self { path: path.to_owned(), info, lock: None, writer: None };
        run.whole_length(|_| true)?;
        Ok(run)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the settings are.
    pub fn config_path(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// The settings as they were resolved before the first step.
    pub fn config_toml(&self) -> Result<String, RunError> {
        let path = self.config_path();
        fs::read_to_string(&path).map_err(RunError::io("read", &path))
    }

    /// What the run is.
    pub fn info(&self) -> &RunInfo {
        &self.info
    }

    /// Records how the run stands.
    pub fn set_status(&mut self, status: Status) -> Result<(), RunError> {
        self.update(|info| info.status = status)
    }

    /// Changes what `run.json` says: on a resume, the version and the device.
    pub fn update(&mut self, change: impl FnOnce(&mut RunInfo)) -> Result<(), RunError> {
        self.claim()?;
        let mut info = self.info.clone();
        change(&mut info);
        info::write(&self.info_path(), &info)?;
        self.info = info;
        Ok(())
    }

    /// Where the checkpoint of a kind, `"last"` or `"best"`, goes: the target for
    /// [`atomic::replace_dir`] and [`atomic::current_dir`].
    pub fn checkpoint_dir(&self, kind: &str) -> PathBuf {
        self.path.join("checkpoints").join(kind)
    }

    /// Records an event. It is in the file when this returns, and on the disk too unless it is a
    /// step; [`sync`](Self::sync) puts those there.
    pub fn append(&mut self, event: &Event) -> Result<(), RunError> {
        let writer = self.writer()?;
        writer.append(event)?;
        if matches!(event, Event::Step { .. }) { Ok(()) } else { writer.sync() }
    }

    /// Puts everything recorded onto the disk.
    pub fn sync(&mut self) -> Result<(), RunError> {
        self.writer()?.sync()
    }

    /// The events in the order in which they happened.
    pub fn events(&self) -> Result<Vec<Event>, RunError> {
        Reader::open(&self.events_path())?.map(|line| line.map(|line| line.event)).collect()
    }

    /// The events put in order.
    pub fn records(&self) -> Result<Records, RunError> {
        self.events().map(|events| Records::new(&events))
    }

    /// Drops what was recorded after a checkpoint that the run goes on from: `next_step` is the
    /// first step that was not done, `epoch_done` the last epoch that was.
    ///
    /// The record is cut before the first event beyond that point, so that the record of a resumed
    /// run equals that of one that ran through, but for times and the lines of its stops and
    /// resumptions. This asks that an event is recorded
    /// *before* the checkpoint whose state includes it is written: then every checkpoint finds its
    /// past in the record, whenever the run is killed.
    pub fn rewind_to(&mut self, next_step: u64, epoch_done: u64) -> Result<(), RunError> {
        self.claim()?;
        let length = self.whole_length(|event| !event.is_after(next_step, epoch_done))?;
        self.writer = Some(Writer::open(&self.events_path(), length)?);
        Ok(())
    }

    /// Writes the tables: `csv/train.csv` (a row per step), `csv/epochs.csv` and
    /// `csv/<split>_<family>.csv` (a row per evaluated epoch, a column per metric; an empty cell
    /// where a metric was not measured).
    pub fn write_tables(&self) -> Result<(), RunError> {
        let folder = self.subfolder("csv")?;
        for (name, bytes) in tables::all(&self.records()?, &folder)? {
            atomic::write(&folder.join(name), &bytes)?;
        }
        Ok(())
    }

    /// Writes the plots: `plots/loss.svg`, `learning_rate.svg`, `gradient_norm.svg`, and for each
    /// split and family `scores_<split>_<family>.svg` with the metrics that are fractions and
    /// `structure_<split>_<family>.svg` with those that are not.
    pub fn write_plots(&self) -> Result<(), RunError> {
        let folder = self.subfolder("plots")?;
        for (name, svg) in plot::all(&self.records()?)? {
            atomic::write(&folder.join(name), svg.as_bytes())?;
        }
        Ok(())
    }

    /// Writes the run on one page, `summary.txt`, and returns where.
    pub fn write_summary(&self) -> Result<PathBuf, RunError> {
        let path = self.path.join("summary.txt");
        let text = summary::text(&self.path, &self.info, &self.records()?);
        atomic::write(&path, text.as_bytes())?;
        Ok(path)
    }

    fn info_path(&self) -> PathBuf {
        self.path.join(INFO)
    }

    fn events_path(&self) -> PathBuf {
        self.path.join(EVENTS)
    }

    fn subfolder(&self, name: &str) -> Result<PathBuf, RunError> {
        let folder = self.path.join(name);
        fs::create_dir_all(&folder).map_err(RunError::io("create the folder", &folder))?;
        Ok(folder)
    }

    /// How many bytes of the record hold whole lines, up to the first event not to `keep`. Reads
    /// all lines all the same, so that a broken one is never cut away unseen.
    fn whole_length(&self, keep: impl Fn(&Event) -> bool) -> Result<u64, RunError> {
        let mut reader = Reader::open(&self.events_path())?;
        let mut cut = None;
        for line in &mut reader {
            let line = line?;
            if cut.is_none() && !keep(&line.event) {
                cut = Some(line.start);
            }
        }
        Ok(cut.unwrap_or(reader.offset()))
    }

    /// The open record, opened behind its last whole line at first use.
    fn writer(&mut self) -> Result<&mut Writer, RunError> {
        self.claim()?;
        let writer = match self.writer.take() {
            Some(writer) => writer,
            None => Writer::open(&self.events_path(), self.whole_length(|_| true)?)?,
        };
        Ok(self.writer.insert(writer))
    }

    /// Makes this value the run's one writer. The lock has a file of its own, since on some
    /// systems a locked file cannot be read; it ends with the process, however that ends.
    fn claim(&mut self) -> Result<(), RunError> {
        if self.lock.is_some() {
            return Ok(());
        }
        let path = self.path.join(LOCK);
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(RunError::io("open for writing", &path))?;
        // A file system without locks is no reason not to train.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(RunError::Busy { path: self.path.clone() });
        }
        self.lock = Some(file);
        Ok(())
    }
}

/// Refuses a folder that holds anything.
fn refuse_used(path: &Path) -> Result<(), RunError> {
    if !path.try_exists().map_err(RunError::io("read", path))? {
        return Ok(());
    }
    let mut entries = fs::read_dir(path).map_err(RunError::io("read", path))?;
    let path = path.to_owned();
    if path.join(INFO).exists() {
        return Err(RunError::RunExists { path });
    }
    if entries.next().is_some() { Err(RunError::NotEmpty { path }) } else { Ok(()) }
}

//! `events.jsonl`, line by line: reading with bounds, appending, cutting.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use crate::error::RunError;
use crate::event::Event;

/// The longest line that is written or read, in bytes, its end included.
const MAX_LINE: u64 = 1 << 20;

/// An event and where its line starts, in bytes.
pub(crate) struct Line {
    pub(crate) start: u64,
    pub(crate) event: Event,
}

/// The events of a file, one at a time.
///
/// A last line without its end was being written when the run was killed: it ends the events
/// without an error. Any other line that is no event is one.
pub(crate) struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    line: u64,
    offset: u64,
    buffer: Vec<u8>,
}

impl Reader {
    pub(crate) fn open(path: &Path) -> Result<Self, RunError> {
        let file = File::open(path).map_err(RunError::io("read", path))?;
        let file = BufReader::new(file);
        Ok(Self { path: path.to_owned(), file, line: 0, offset: 0, buffer: Vec::new() })
    }

    /// How many bytes the whole lines read so far take.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    fn read_line(&mut self) -> Result<Option<Line>, RunError> {
        self.buffer.clear();
        let length = (&mut self.file)
            .take(MAX_LINE)
            .read_until(b'\n', &mut self.buffer)
            .map_err(RunError::io("read", &self.path))? as u64;
        let whole = self.buffer.last() == Some(&b'\n');
        if !whole && length < MAX_LINE {
            return Ok(None);
        }
        self.line += 1;
        if !whole {
            return Err(self.broken(format!("the line is longer than {MAX_LINE} bytes")));
        }
        let event = parse(&self.buffer).map_err(|reason| self.broken(reason))?;
        let start = self.offset;
        self.offset += length;
        Ok(Some(Line { start, event }))
    }

    fn broken(&self, reason: String) -> RunError {
        RunError::Record { path: self.path.clone(), line: self.line, reason }
    }
}

impl Iterator for Reader {
    type Item = Result<Line, RunError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read_line().transpose()
    }
}

fn parse(line: &[u8]) -> Result<Event, String> {
    let event: Event =
        serde_json::from_slice(line).map_err(|e| format!("the line is no event: {e}"))?;
    event.check()?;
    Ok(event)
}

/// A file that events are added to.
#[derive(Debug)]
pub(crate) struct Writer {
    path: PathBuf,
    file: File,
}

impl Writer {
    /// Opens the file for adding to it after the first `length` bytes; the rest, a torn line or
    /// what came after a checkpoint, is dropped.
    pub(crate) fn open(path: &Path, length: u64) -> Result<Self, RunError> {
        let io = RunError::io("open for writing", path);
        let cut = |file: &File| {
            if file.metadata()?.len() > length {
                file.set_len(length)?;
                file.sync_all()?;
            }
            Ok(())
        };
        let file = File::options().append(true).create(true).open(path);
        match file.and_then(|file| cut(&file).map(|()| file)) {
            Ok(file) => Ok(Self { path: path.to_owned(), file }),
            Err(error) => Err(io(error)),
        }
    }

    /// Adds an event in one write, so that a killed run leaves at most one torn line.
    pub(crate) fn append(&mut self, event: &Event) -> Result<(), RunError> {
        let unwritable = |reason| RunError::Unwritable { reason };
        event.check().map_err(unwritable)?;
        let mut line = serde_json::to_vec(event).map_err(|e| unwritable(e.to_string()))?;
        line.push(b'\n');
        if line.len() as u64 > MAX_LINE {
            let reason = format!("the event takes {} bytes, {MAX_LINE} at most", line.len());
            return Err(unwritable(reason));
        }
        self.file.write_all(&line).map_err(RunError::io("append to", &self.path))
    }

    /// Flushes everything to the disk.
    pub(crate) fn sync(&self) -> Result<(), RunError> {
        self.file.sync_data().map_err(RunError::io("flush", &self.path))
    }
}

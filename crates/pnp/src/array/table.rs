//! Columns of `.csv` tables.

use std::fs::File;
use std::io::BufReader;

use super::ArrayError;
use super::place::{Place, Role, quoted};

/// The column that was named; else the one that is called like its role; else the only one.
pub(super) fn column(place: &Place, role: Role) -> Result<Vec<String>, ArrayError> {
    let path = || place.file.clone();
    let format = |reason: String| ArrayError::Format { path: path(), reason };
    let file = File::open(&place.file).map_err(|source| ArrayError::Io { path: path(), source })?;
    let mut table = csv::Reader::from_reader(BufReader::new(file));
    let head = table.headers().map_err(|e| format(e.to_string()))?.clone();
    let column = find(place, role, &head)?;
    let names = table.records().map(|record| {
        let record = record.map_err(|e| format(e.to_string()))?;
        let line = record.position().map_or(0, csv::Position::line);
        let name = record.get(column).map(str::trim).filter(|name| !name.is_empty());
        let empty = || format!("line {line} has nothing in the column '{}'", &head[column]);
        name.map(str::to_owned).ok_or_else(|| format(empty()))
    });
    names.collect()
}

fn find(place: &Place, role: Role, head: &csv::StringRecord) -> Result<usize, ArrayError> {
    let find = |wanted: &str| head.iter().position(|name| name.trim() == wanted);
    let known = || {
        let names: Vec<&str> = head.iter().collect();
        quoted(names.into_iter())
    };
    // What is separated by other than commas looks like one column.
    let only = (head.len() == 1 && !head[0].contains([';', '\t'])).then_some(0);
    let found = match &place.name {
        Some(name) => find(name),
        None => role.names.iter().find_map(|name| find(name)).or(only),
    };
    found.ok_or_else(|| ArrayError::NoSuch {
        path: place.file.clone(),
        kind: "column",
        name: place.name.as_deref().unwrap_or(role.names[0]).to_owned(),
        known: known(),
    })
}

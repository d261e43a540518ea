//! Reads a migrated copy as the engine will: nothing takes the original's place on trust.

use std::path::Path;

use store::{Journal, OpenReport, Options, SavedRow, Seq};

use super::MigrateError;
use crate::FORMAT;
use crate::codec;
use crate::kinds::{CONTAINER_ROW_SCHEMA, CONTAINER_STREAM, ContainerEvent, kind};
use crate::v1::ContainerRowV1;

/// Events decoded at once.
const PAGE: usize = 1000;

/// Fails unless the copy hangs together, holds this many events and rows, ends with this event, and every one of them
/// decodes in the shape of today.
pub(super) fn verify(copy: &Path, records: u64, rows: u64, last: Seq) -> Result<(), MigrateError> {
    let unsound = |problem: String| MigrateError::Unsound { copy: copy.to_owned(), problem };
    let options = Options {
        format: FORMAT,
        // Nothing is moved, nothing reserved: it is only looked at.
        hot_window: u64::MAX / 4,
        floor_bytes: 0,
        reserve_bytes: 0,
        ..Options::default()
    };
    let opened = Journal::open(copy, options).map_err(|source| MigrateError::Copy { copy: copy.to_owned(), source })?;
    let quiet = OpenReport { took: opened.report.took, gaps: opened.report.gaps.clone(), ..OpenReport::default() };
    if opened.report != quiet {
        return Err(unsound(format!("opening it had to repair it: {:?}", opened.report)));
    }
    let reading = |error: store::ReadError| unsound(error.to_string());
    let found = opened.journal.verify().map_err(reading)?;
    if let Some(problem) = found.problems.first() {
        return Err(unsound(problem.clone()));
    }
    if (found.events, found.rows, found.last) != (records, rows, last) {
        let (events, saved, end) = (found.events, found.rows, found.last);
        return Err(unsound(format!(
            "it has {events} events, {saved} rows and ends with {end}, the original {records}, {rows} and {last}"
        )));
    }
    decode_events(&opened.journal).map_err(unsound)?;
    opened.rows.iter().try_for_each(decode_row).map_err(unsound)
}

fn decode_events(journal: &Journal) -> Result<(), String> {
    let mut from = journal.first();
    loop {
        let page = journal.read(from, PAGE).map_err(|error| error.to_string())?;
        let Some(end) = page.last() else { return Ok(()) };
        from = end.seq + 1;
        for record in &page {
            let decoded = ContainerEvent::decode(record.kind, &record.payload);
            let readable = kind(record.kind).is_some_and(|kind| kind.schema == record.schema)
                && decoded.is_some_and(|decoded| decoded.is_ok());
            if !readable {
                return Err(format!("event {} of kind {} cannot be decoded", record.seq, record.kind));
            }
        }
    }
}

fn decode_row(row: &SavedRow) -> Result<(), String> {
    let known = row.stream.kind() == CONTAINER_STREAM && row.schema == CONTAINER_ROW_SCHEMA;
    if known && codec::decode::<ContainerRowV1>(&row.bytes).is_ok() {
        Ok(())
    } else {
        Err(format!("the row of `{}` cannot be decoded", row.stream))
    }
}

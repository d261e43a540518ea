//! Reads a migrated copy as the engine will: a copy replaces the original only after verification.

use std::path::Path;

use store::{Journal, OpenReport, Options, SavedRow, Seq};

use super::MigrateError;
use crate::FORMAT;
use crate::kinds::{check_event, check_row, kind, row_schema};

/// Events decoded at once.
const PAGE: usize = 1000;

/// Fails unless the copy is consistent, holds this many events and rows, ends with this event, and every one of them
/// decodes in its current shape.
pub(super) fn verify(copy: &Path, records: u64, rows: u64, last: Seq) -> Result<(), MigrateError> {
    let unsound = |problem: String| MigrateError::Unsound { copy: copy.to_owned(), problem };
    let options = Options {
        format: FORMAT,
        // The copy is only read: no event is moved to the archive, no space reserved.
        hot_window: u64::MAX / 4,
        floor_bytes: 0,
        reserve_bytes: 0,
        ..Options::default()
    };
    let opened = Journal::open(copy, options).map_err(|source| MigrateError::Copy { copy: copy.to_owned(), source })?;
    // Losses of the original are losses of the copy, too.
    let (gaps, missing) = (opened.report.gaps.clone(), opened.report.missing.clone());
    let quiet = OpenReport { took: opened.report.took, gaps, missing, ..OpenReport::default() };
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
            let readable = kind(record.kind).is_some_and(|kind| kind.schema == record.schema)
                && check_event(record.kind, &record.payload).is_some_and(|checked| checked.is_ok());
            if !readable {
                return Err(format!("event {} of kind {} cannot be decoded", record.seq, record.kind));
            }
        }
    }
}

fn decode_row(row: &SavedRow) -> Result<(), String> {
    let kind = row.stream.kind();
    if row_schema(kind) == Some(row.schema) && check_row(kind, &row.bytes).is_some_and(|checked| checked.is_ok()) {
        Ok(())
    } else {
        Err(format!("the row of `{}` cannot be decoded", row.stream))
    }
}

#[cfg(test)]
mod tests {
    use store::{Append, NewEvent, Row, StreamId};

    use super::*;
    use crate::kinds::{CONTAINER_ROW_SCHEMA, CONTAINER_STREAM, ContainerEvent};
    use crate::v1::{ActorV1, ContextV1, PausedV1};

    /// Makes a store with three copies of the event, and the row.
    fn store_of(dir: &Path, format: u16, event: &NewEvent, row: &Row) {
        let journal = Journal::open(dir, Options { format, ..Options::default() }).unwrap().journal;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let append = Append {
            stream: StreamId::new(CONTAINER_STREAM, &[1; 32]).unwrap(),
            expected: 0,
            at: 1,
            urgency: store::Urgency::Ordinary,
            events: vec![event.clone(); 3],
            row: row.clone(),
            on_durable: None,
        };
        runtime.block_on(journal.append(append)).unwrap();
        runtime.block_on(journal.close());
    }

    fn paused() -> NewEvent {
        let context =
            ContextV1 { actor: ActorV1::Engine, operation: [0; 8], name: String::new(), image: String::new() };
        let event = ContainerEvent::Paused(PausedV1 {});
        NewEvent { kind: event.kind().number, schema: event.kind().schema, payload: event.encode(&context) }
    }

    fn problem(event: &NewEvent, row: &Row, counts: (u64, u64, Seq)) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        let copy = dir.path().join("copy");
        store_of(&copy, FORMAT, event, row);
        match verify(&copy, counts.0, counts.1, counts.2) {
            Ok(()) => None,
            Err(MigrateError::Unsound { problem, .. }) => Some(problem),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_sound_copy_passes() {
        assert_eq!(problem(&paused(), &Row::Keep, (3, 0, 3)), None);
    }

    #[test]
    fn an_incomplete_copy_is_unsound() {
        for counts in [(4, 0, 3), (2, 0, 3), (3, 1, 3), (3, 0, 4)] {
            let problem = problem(&paused(), &Row::Keep, counts).unwrap();
            assert!(problem.starts_with("it has 3 events, 0 rows and ends with 3, the original"), "{problem}");
        }
    }

    #[test]
    fn an_undecodable_event_or_row_is_unsound() {
        let event = |kind, schema, payload: &[u8]| NewEvent { kind, schema, payload: payload.to_vec() };
        let good = paused().payload;
        for event in [event(99, 1, &good), event(6, 2, &good), event(6, 1, &good[1..])] {
            let problem = problem(&event, &Row::Keep, (3, 0, 3)).unwrap();
            assert_eq!(problem, format!("event 1 of kind {} cannot be decoded", event.kind));
        }
        for schema in [CONTAINER_ROW_SCHEMA, CONTAINER_ROW_SCHEMA + 1] {
            let row = Row::Put { schema, bytes: b"none".to_vec() };
            let problem = problem(&paused(), &row, (3, 1, 3)).unwrap();
            assert!(problem.starts_with("the row of `1/"), "{problem}");
        }
    }

    #[test]
    fn a_copy_of_the_old_format_is_rejected() {
        let dir = tempfile::tempdir().unwrap();
        let copy = dir.path().join("journal");
        store_of(&copy, FORMAT - 1, &paused(), &Row::Keep);
        let error = verify(&copy, 3, 0, 3).unwrap_err();
        assert!(matches!(error, MigrateError::Copy { .. }), "{error:?}");
    }
}

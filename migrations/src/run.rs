//! Brings a store of an older format to the format of today, in a copy, and lets the copy take the original's place.
//!
//! ```text
//! <dir>             the store; as it was until the flip
//! <dir>.migrating   the copy, perhaps half written: worth nothing, removed
//! <dir>.migrated    the copy, verified and durable; there only during the flip
//! <dir>.v0-<time>   the original afterwards, kept until somebody removes it
//! ```
//!
//! The flip is three renames, each made durable before the next: `.migrating` to `.migrated`, the store to its name for
//! keeping, `.migrated` to the store. A crash leaves one of these states: the store is there, and all else is removed and
//! done again, because an older program may have written to the store since; or the store is not there but `.migrated` is,
//! and the last rename is all that is missing.

mod files;
mod verify;

use std::io;
use std::path::{Path, PathBuf};

use store::{OpenError, OpenReport, RewriteError, Stored};

use crate::FORMAT;
use crate::upcast::{UpcastError, Upcasts, What};
use files::Names;
use verify::verify;

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// There is no store yet.
    Absent,
    /// The store is of the format of today.
    Current,
    /// An earlier migration was interrupted just before its end, which is made up for now.
    Finished,
    /// The store was of an older format.
    Migrated(Box<Migrated>),
}

/// A migration that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// The format before.
    pub from: u16,
    /// The format now.
    pub to: u16,
    /// How many events were brought over.
    pub records: u64,
    /// How many savepoint rows were brought over.
    pub rows: u64,
    /// Where the original is kept. Nobody removes it but people.
    pub original: PathBuf,
    /// What had to be repaired in the copy on the way.
    pub repaired: OpenReport,
}

/// The store was not migrated, and is as it was.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// To be read, not written: see `store::OpenReport::read_only`.
    #[error("the store at `{dir}` has format {found}, this program knows formats up to {known}")]
    Newer { dir: PathBuf, found: u16, known: u16 },
    /// Whoever put something there has to take it away, and the copy is installed at the next attempt.
    #[error("the migrated store waits at `{migrated}`, but at `{dir}` is something that is no store")]
    Occupied { dir: PathBuf, migrated: PathBuf },
    #[error("cannot tell the format of the store at `{dir}`")]
    Format { dir: PathBuf, source: OpenError },
    #[error("cannot bring the store at `{dir}` from format {from} to {to}")]
    Rewrite { dir: PathBuf, from: u16, to: u16, source: RewriteError },
    #[error("cannot open the migrated copy at `{copy}`")]
    Copy { copy: PathBuf, source: OpenError },
    #[error("the migrated copy at `{copy}` is not what it should be: {problem}")]
    Unsound { copy: PathBuf, problem: String },
    #[error("cannot {action} `{path}`")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

/// Where a migration stands: told before each step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Left-overs of an interrupted migration are removed.
    Clear,
    /// The copy is begun.
    Copy,
    /// The event or row with this number, counted from 0, is converted.
    Convert(u64),
    /// The copy is read again from beginning to end.
    Verify,
    /// The copy is declared good.
    Seal,
    /// The original makes way.
    SetAside,
    /// The copy takes its place.
    Install,
    /// All is done.
    Done,
}

/// Makes sure that the store at `dir`, if there is one, has the format of today. Blocks, for as long as it takes to read
/// and write the whole store, which nobody else may have open; twice its space is needed.
///
/// Safe to be interrupted at any point and to be called again. After an error the store is as it was.
pub fn migrate(dir: &Path) -> Result<Outcome, MigrateError> {
    migrate_with(dir, &Upcasts::of_today(), &mut |_| ())
}

/// The same with other upcasts, and telling where it stands.
pub fn migrate_with(dir: &Path, upcasts: &Upcasts, step: &mut dyn FnMut(Step)) -> Result<Outcome, MigrateError> {
    let names = Names::of(dir)?;
    let finished = if names.awaits_install()? {
        step(Step::Install);
        names.install()?;
        true
    } else {
        false
    };
    let format = |source| MigrateError::Format { dir: dir.to_owned(), source };
    let Some(found) = store::format_of(dir).map_err(format)? else { return names.no_store() };
    if found > FORMAT {
        return Err(MigrateError::Newer { dir: dir.to_owned(), found, known: FORMAT });
    }
    step(Step::Clear);
    names.clear()?;
    if found == FORMAT {
        return Ok(if finished { Outcome::Finished } else { Outcome::Current });
    }
    let copied = copy(&names, found, upcasts, step);
    // What is of no use shall not fill the disk until the next attempt. The error that matters is the first.
    let (records, rows, repaired) = copied.inspect_err(|_| drop(names.clear()))?;
    step(Step::Seal);
    names.seal()?;
    step(Step::SetAside);
    let original = names.set_aside(found)?;
    step(Step::Install);
    names.install()?;
    step(Step::Done);
    let done = Migrated { from: found, to: FORMAT, records, rows, original, repaired };
    Ok(Outcome::Migrated(Box::new(done)))
}

fn copy(
    names: &Names,
    found: u16,
    upcasts: &Upcasts,
    step: &mut dyn FnMut(Step),
) -> Result<(u64, u64, OpenReport), MigrateError> {
    step(Step::Copy);
    let mut count = 0;
    let converted = store::rewrite(&names.store, &names.migrating, FORMAT, |stored| {
        step(Step::Convert(count));
        count += 1;
        convert(upcasts, stored).map_err(Into::into)
    });
    let rewritten = converted.map_err(|source| MigrateError::Rewrite {
        dir: names.store.clone(),
        from: found,
        to: FORMAT,
        source,
    })?;
    step(Step::Verify);
    verify(&names.migrating, rewritten.records, rewritten.rows, rewritten.last)?;
    Ok((rewritten.records, rewritten.rows, rewritten.report))
}

fn convert(upcasts: &Upcasts, stored: Stored) -> Result<Stored, UpcastError> {
    Ok(match stored {
        Stored::Record(mut record) => {
            let what = What::Event(record.kind);
            let (schema, payload) = upcasts.to_today(what, record.schema, record.payload.to_vec())?;
            (record.schema, record.payload) = (schema, payload.into());
            Stored::Record(record)
        }
        Stored::Row(mut row) => {
            let what = What::Row(row.stream.kind());
            (row.schema, row.bytes) = upcasts.to_today(what, row.schema, row.bytes)?;
            Stored::Row(row)
        }
    })
}

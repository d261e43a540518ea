//! Migrates a store of an older format to the current format, in a copy that then replaces the original.
//!
//! ```text
//! <dir>             the store; unchanged until the flip
//! <dir>.migrating   the copy, perhaps half written: useless after a crash, and removed
//! <dir>.migrated    the copy, verified and durable; exists only during the flip
//! <dir>.v0-<time>   the original afterwards, kept until the operator removes it
//! ```
//!
//! The flip is three renames, each made durable before the next: `.migrating` to `.migrated`, the store to its backup
//! name, `.migrated` to the store. A crash leaves one of these states: the store exists, and all copies are removed
//! and made again, because an older program may have written to the store since; or the store is missing but
//! `.migrated` exists, and only the last rename is left to do.

mod files;
mod verify;

use std::io;
use std::path::{Path, PathBuf};

use store::{OpenError, OpenReport, RewriteError, Stored};

use crate::FORMAT;
use crate::upcast::{Shape, UpcastError, Upcasts};
use files::Paths;
use verify::verify;

/// The result of a migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// There is no store yet.
    Absent,
    /// The store has the current format.
    Current,
    /// An earlier migration was interrupted just before its last step, which is done now.
    Finished,
    /// The store had an older format.
    Migrated(Box<Migrated>),
}

/// A completed migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// The format before.
    pub from: u16,
    /// The format now.
    pub to: u16,
    /// The number of migrated events.
    pub records: u64,
    /// The number of migrated savepoint rows.
    pub rows: u64,
    /// The path of the original. Only the operator removes it.
    pub original: PathBuf,
    /// The repairs in the copy.
    pub repaired: OpenReport,
}

/// The reason why the store was not migrated. The store is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The store can be opened read-only: see `store::OpenReport::read_only`.
    #[error("the store at `{dir}` has format {found}, this program knows formats up to {known}")]
    Newer { dir: PathBuf, found: u16, known: u16 },
    /// Once the operator has removed the other content, the next attempt installs the copy.
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

/// The steps of a migration, each reported before it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Remains of an interrupted migration are removed.
    Clear,
    /// The copy is started.
    Copy,
    /// The event or row with this number, counted from 0, is converted.
    Convert(u64),
    /// The copy is read again from beginning to end.
    Verify,
    /// The copy is declared complete.
    Seal,
    /// The original is renamed.
    SetAside,
    /// The copy takes the original's place.
    Install,
    /// The migration is complete.
    Done,
}

/// Migrates the store at `dir`, if there is one, to the current format. Blocks, for as long as it takes to read and
/// write the whole store, which must not be open elsewhere; twice its space is needed.
///
/// Safe to interrupt at any point and to call again. After an error the store is unchanged.
pub fn migrate(dir: &Path) -> Result<Outcome, MigrateError> {
    migrate_with(dir, &Upcasts::current(), &mut |_| ())
}

/// The same with other upcasts, and with a callback for each step.
pub fn migrate_with(dir: &Path, upcasts: &Upcasts, step: &mut dyn FnMut(Step)) -> Result<Outcome, MigrateError> {
    let paths = Paths::of(dir)?;
    let finished = if paths.awaits_install()? {
        step(Step::Install);
        paths.install()?;
        true
    } else {
        false
    };
    let format = |source| MigrateError::Format { dir: dir.to_owned(), source };
    let Some(found) = store::format_of(dir).map_err(format)? else { return paths.no_store() };
    if found > FORMAT {
        return Err(MigrateError::Newer { dir: dir.to_owned(), found, known: FORMAT });
    }
    step(Step::Clear);
    paths.clear()?;
    if found == FORMAT {
        return Ok(if finished { Outcome::Finished } else { Outcome::Current });
    }
    let copied = copy(&paths, found, upcasts, step);
    // A useless copy must not fill the disk until the next attempt. An error of the removal is ignored in favour of
    // the first error.
    let (records, rows, repaired) = copied.inspect_err(|_| drop(paths.clear()))?;
    step(Step::Seal);
    paths.seal()?;
    step(Step::SetAside);
    let original = paths.set_aside(found)?;
    step(Step::Install);
    paths.install()?;
    step(Step::Done);
    let done = Migrated { from: found, to: FORMAT, records, rows, original, repaired };
    Ok(Outcome::Migrated(Box::new(done)))
}

fn copy(
    paths: &Paths,
    found: u16,
    upcasts: &Upcasts,
    step: &mut dyn FnMut(Step),
) -> Result<(u64, u64, OpenReport), MigrateError> {
    step(Step::Copy);
    let mut count = 0;
    let converted = store::rewrite(&paths.store, &paths.migrating, FORMAT, |stored| {
        step(Step::Convert(count));
        count += 1;
        convert(upcasts, stored).map_err(Into::into)
    });
    let rewritten = converted.map_err(|source| MigrateError::Rewrite {
        dir: paths.store.clone(),
        from: found,
        to: FORMAT,
        source,
    })?;
    step(Step::Verify);
    verify(&paths.migrating, rewritten.records, rewritten.rows, rewritten.last)?;
    Ok((rewritten.records, rewritten.rows, rewritten.report))
}

fn convert(upcasts: &Upcasts, stored: Stored) -> Result<Stored, UpcastError> {
    Ok(match stored {
        Stored::Record(mut record) => {
            let shape = Shape::Event(record.kind);
            let (schema, payload) = upcasts.to_current(shape, record.schema, record.payload.to_vec())?;
            (record.schema, record.payload) = (schema, payload.into());
            Stored::Record(record)
        }
        Stored::Row(mut row) => {
            let shape = Shape::Row(row.stream.kind());
            (row.schema, row.bytes) = upcasts.to_current(shape, row.schema, row.bytes)?;
            Stored::Row(row)
        }
    })
}

//! Why something asked of a volume did not happen.

use std::io;
use std::path::PathBuf;

use store::AppendError;

use super::User;
use crate::domain::id::VolumeName;
use crate::domain::volume::Rejection;
use crate::ledger::TurnError;

#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    #[error(
        "`{name}` is not a volume name: letters, digits, `_`, `.` and `-`, beginning with a letter or digit, 128 bytes at most; a path begins with `/`"
    )]
    InvalidName { name: String },
    #[error("No such volume: {name}")]
    NoSuchVolume { name: VolumeName },
    #[error("volume {name} is in use: {}", super::users::text(.users))]
    InUse { name: VolumeName, users: Vec<User> },
    #[error("volume {name} is being removed; `isula volume rm {name}` tries an unfinished removal again")]
    BeingRemoved { name: VolumeName },
    #[error("volume {name}: {}", Rejection::LabelsTooLong)]
    LabelsTooLong { name: VolumeName },
    #[error("volume {name} cannot be removed: something is mounted at `{}`; unmount it first", path.display())]
    Mounted { name: VolumeName, path: PathBuf },
    #[error("cannot {action} `{}`", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot write the journal")]
    Journal(#[source] AppendError),
}

impl VolumeError {
    pub(super) fn of_turn(error: TurnError<Rejection>, name: &VolumeName) -> Self {
        let name = name.clone();
        match error {
            TurnError::Rejected(Rejection::NoSuchVolume) => Self::NoSuchVolume { name },
            TurnError::Rejected(Rejection::BeingRemoved) => Self::BeingRemoved { name },
            TurnError::Rejected(Rejection::LabelsTooLong) => Self::LabelsTooLong { name },
            TurnError::Journal(error) => Self::Journal(error),
        }
    }
}

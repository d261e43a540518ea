//! The errors of the verbs. Their texts are the reference's where it has one.

use std::io;
use std::path::PathBuf;

use store::AppendError;

use crate::cause::chain;
use crate::definition::DefinitionError;
use crate::domain::container::Rejection;
use crate::domain::id::{ContainerId, Name};
use crate::exec::ExecError;
use crate::image::ImageError;
use crate::ledger::TurnError;
use crate::network::NetworkError;
use crate::records::ResolveError;
use crate::rootfs::RootfsError;
use crate::runtime::RuntimeError;
use crate::spec::files::FilesError;
use crate::volume::VolumeError;

/// A verb that was refused, failed, or has no outcome yet.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    #[error("No such container:{reference}")]
    NoSuchContainer { reference: String },
    #[error("Multiple IDs found with provided prefix: {reference}")]
    Ambiguous { reference: String },
    #[error(
        "Conflict. The name \"{name}\" is already in use by container {holder}. You have to remove (or rename) that container to be able to reuse that name."
    )]
    NameTaken { name: Name, holder: ContainerId },
    #[error("{}", rejection_text(.verb, .reference, .rejection))]
    Rejected { verb: Verb, reference: String, rejection: Rejection },
    #[error("cannot write the journal: {}", chain(.0))]
    Journal(AppendError),
    #[error("{message}")]
    Invalid { message: String },
    #[error("Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-]* are allowed")]
    InvalidName { name: String },
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error(transparent)]
    Volume(VolumeError),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    #[error(transparent)]
    HostFiles(#[from] FilesError),
    #[error("cannot make `{path}`: {source}")]
    Bundle { path: PathBuf, source: io::Error },
    #[error("the volumes' directory `{path}` is not valid UTF-8")]
    VolumesPath { path: PathBuf },
    #[error("the client has gone before the container was created")]
    CallerGone,
    #[error("the container was made, and not started")]
    NotStarted,
    #[error("Cannot update container: {message}")]
    UpdateFailed { message: String },
    #[error(transparent)]
    Exec(ExecError),
    #[error("cannot reach the shim of container {reference}: {source}")]
    ShimUnreachable { reference: String, source: io::Error },
    #[error("cannot resize: {source}")]
    Resize { source: io::Error },
    #[error("{message}")]
    ShimRefused { message: String },
    #[error("the shim left without an answer")]
    ShimLeft,
    #[error("the shim does not answer")]
    ShimSilent,
    #[error("{message}")]
    StartFailed { message: String },
    #[error("the restart of {reference} gave way to a stop or removal")]
    RestartReplaced { reference: String },
    #[error("Cannot {operation} container {reference}: {message}")]
    OperationFailed { operation: &'static str, reference: String, message: String },
    /// `place` is where in the kernel the process hangs, if it is known.
    #[error("Container {reference} did not end after SIGKILL{place}")]
    OutlivesKill { reference: String, place: String },
    #[error("the {operation} of {reference} has no outcome yet")]
    NoOutcome { operation: &'static str, reference: String },
    #[error("the removal of {reference} has not finished; it goes on in the background")]
    RemovalPending { reference: String },
    #[error("cannot make an id: {0}")]
    NoId(getrandom::Error),
    #[error("the daemon is stopping")]
    Stopping,
    #[error("{message}")]
    Panicked { message: String },
}

/// The verb of a request, for the text of its rejection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Create,
    Start,
    Stop,
    Restart,
    Kill,
    Pause,
    Resume,
    Rename,
    Remove,
    Attach,
    Resize,
    Exec,
    Top,
    Update,
    Copy,
}

impl ContainerError {
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid { message: message.into() }
    }

    /// The error of a turn in which `reference` names the container.
    pub fn of_turn(error: TurnError<Rejection>, verb: Verb, reference: &str) -> Self {
        match error {
            TurnError::Rejected(rejection) => Self::of_rejection(rejection, verb, reference),
            TurnError::Journal(error) => Self::Journal(error),
        }
    }

    pub fn of_rejection(rejection: Rejection, verb: Verb, reference: &str) -> Self {
        let reference = reference.to_owned();
        match rejection {
            Rejection::NoSuchContainer => Self::NoSuchContainer { reference },
            rejection => Self::Rejected { verb, reference, rejection },
        }
    }

    pub fn of_resolve(error: ResolveError, reference: &str) -> Self {
        let reference = reference.to_owned();
        match error {
            ResolveError::NotFound => Self::NoSuchContainer { reference },
            ResolveError::Ambiguous => Self::Ambiguous { reference },
        }
    }
}

impl From<VolumeError> for ContainerError {
    fn from(error: VolumeError) -> Self {
        match error {
            VolumeError::Journal(error) => Self::Journal(error),
            other => Self::Volume(other),
        }
    }
}

fn rejection_text(verb: &Verb, id: &str, rejection: &Rejection) -> String {
    match (rejection, verb) {
        (Rejection::NoSuchContainer, _) => format!("No such container:{id}"),
        (Rejection::IdTaken, _) => format!("Conflict. The id {id} is already in use"),
        (Rejection::InTransition, _) => {
            format!("Container {id} is busy: an operation on it has not finished; try again or see `isula events`")
        }
        (Rejection::NotRunning, Verb::Kill) => format!("Cannot kill container: Container {id} is not running"),
        (Rejection::NotRunning, _) => format!("Container {id} is not running"),
        (Rejection::Paused, Verb::Start) => "Cannot start a paused container, try unpause instead.".to_owned(),
        (Rejection::Paused, Verb::Stop | Verb::Kill | Verb::Restart) => {
            format!("Container {id} is paused. Unpause the container before stopping or killing")
        }
        (Rejection::Paused, Verb::Exec) => format!("Container {id} is paused, unpause the container before exec"),
        (Rejection::Paused, Verb::Attach) => {
            format!("You cannot attach to container {id}, which is paused. Unpause it first")
        }
        (Rejection::Paused, _) => format!("Container {id} is paused"),
        (Rejection::DefinitionChanged, _) => {
            format!("Container {id} was changed by somebody else in the same moment; try again")
        }
        (Rejection::StillRunning, _) => format!(
            "You cannot remove a running container {id}. Stop the container before attempting removal or use -f"
        ),
        (Rejection::StillPaused, _) => format!(
            "You cannot remove a paused container {id}. Unpause and then stop the container before attempting removal or use -f"
        ),
        (Rejection::BeingRemoved, _) => format!("Container {id} is being removed"),
        (Rejection::SameName { name }, _) => {
            format!("Renaming a container with the same name as its current name: {name}")
        }
    }
}

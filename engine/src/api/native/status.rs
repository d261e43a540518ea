//! Every rejection and every error as a gRPC status, in one place. The texts are the reference's where it has one.

use store::AppendError;
use tonic::{Code, Status};

use crate::cause::chain;
use crate::containers::ResolveError;
use crate::definition::DefinitionError;
use crate::domain::container::Rejection;
use crate::domain::id::{ContainerId, Name};
use crate::domain::image;
use crate::domain::text::cut;
use crate::files::FilesError;
use crate::image::ImageError;
use crate::image::layer::LayerError;
use crate::image::registry::RegistryError;
use crate::image::store::StoreError;
use crate::ledger::TurnError;
use crate::network::NetworkError;
use crate::runtime::RuntimeError;
use crate::usage::{PsError, TopError};
use crate::volume::VolumeError;

/// A message travels in a header, encoded with up to three bytes for one of its own, and headers have a limit: a name
/// in a request may be of any length.
const MESSAGE_LIMIT: usize = 4000;

/// The errors of a request.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("No such container:{reference}")]
    NoSuchContainer { reference: String },
    #[error("Multiple IDs found with provided prefix: {reference}")]
    Ambiguous { reference: String },
    #[error("{message}")]
    Invalid { message: String },
    #[error(
        "Conflict. The name \"{name}\" is already in use by container {holder}. You have to remove (or rename) that container to be able to reuse that name."
    )]
    NameTaken { name: Name, holder: ContainerId },
    #[error("{}", rejection_text(.verb, .reference, .rejection))]
    Rejected { verb: Verb, reference: String, rejection: Rejection },
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    #[error("cannot list the processes of container {reference}: {}", chain(.source))]
    Top { reference: String, source: TopError },
    #[error("container {reference}: {}", chain(.source))]
    Files { reference: String, source: FilesError },
    #[error(transparent)]
    Volume(VolumeError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error("cannot write the journal: {}", chain(.0))]
    Journal(AppendError),
    #[error("{message}")]
    Failed { message: String },
    #[error("{message}")]
    Deadline { message: String },
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

impl ApiError {
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid { message: message.into() }
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed { message: message.into() }
    }

    /// The error of a turn in which `reference` names the container.
    pub fn of_turn(error: TurnError<Rejection>, verb: Verb, reference: &str) -> Self {
        match error {
            TurnError::Rejected(Rejection::NoSuchContainer) => {
                Self::NoSuchContainer { reference: reference.to_owned() }
            }
            TurnError::Rejected(rejection) => Self::Rejected { verb, reference: reference.to_owned(), rejection },
            TurnError::Journal(error) => Self::Journal(error),
        }
    }

    pub fn of_resolve(error: ResolveError, reference: &str) -> Self {
        let reference = reference.to_owned();
        match error {
            ResolveError::NotFound => Self::NoSuchContainer { reference },
            ResolveError::Ambiguous => Self::Ambiguous { reference },
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::NoSuchContainer { .. } => Code::NotFound,
            Self::Ambiguous { .. } | Self::Invalid { .. } => Code::InvalidArgument,
            Self::NameTaken { .. } => Code::AlreadyExists,
            Self::Rejected { rejection, .. } => match rejection {
                Rejection::NoSuchContainer => Code::NotFound,
                Rejection::IdTaken => Code::AlreadyExists,
                Rejection::InTransition => Code::DeadlineExceeded,
                Rejection::NotRunning
                | Rejection::Paused
                | Rejection::StillRunning
                | Rejection::StillPaused
                | Rejection::BeingRemoved
                | Rejection::DefinitionChanged
                | Rejection::SameName { .. } => Code::FailedPrecondition,
            },
            Self::Runtime(error) => match error {
                RuntimeError::Missing { .. } => Code::FailedPrecondition,
                RuntimeError::Spawn { .. } | RuntimeError::Failed { .. } => Code::Internal,
                RuntimeError::Deadline { .. } => Code::DeadlineExceeded,
            },
            Self::Top { source, .. } => of_top(source),
            Self::Files { source, .. } => of_files(source),
            Self::Volume(error) => match error {
                VolumeError::NoSuchVolume { .. } => Code::NotFound,
                VolumeError::InvalidName { .. } | VolumeError::LabelsTooLong { .. } => Code::InvalidArgument,
                VolumeError::InUse { .. } | VolumeError::BeingRemoved { .. } | VolumeError::Mounted { .. } => {
                    Code::FailedPrecondition
                }
                VolumeError::Io { .. } => Code::Internal,
                VolumeError::Journal(_) => Code::Unavailable,
            },
            Self::Definition(_) | Self::Failed { .. } => Code::Internal,
            Self::Image(error) => of_image(error),
            Self::Network(error) => of_network(error),
            Self::Journal(error) => of_journal(error),
            Self::Deadline { .. } => Code::DeadlineExceeded,
        }
    }
}

impl From<VolumeError> for ApiError {
    fn from(error: VolumeError) -> Self {
        match error {
            VolumeError::Journal(error) => Self::Journal(error),
            other => Self::Volume(other),
        }
    }
}

fn of_files(error: &FilesError) -> Code {
    match error {
        FilesError::NoSuchPath { .. } => Code::NotFound,
        FilesError::NotADirectory { .. }
        | FilesError::TooManyLinks { .. }
        | FilesError::TooDeep { .. }
        | FilesError::NotCopied { .. }
        | FilesError::Archive { .. } => Code::InvalidArgument,
        FilesError::ReadOnly { .. }
        | FilesError::InMemory { .. }
        | FilesError::Source { .. }
        | FilesError::IsAMount { .. }
        | FilesError::DirectoryInTheWay { .. }
        | FilesError::NotADirectoryInTheWay { .. }
        | FilesError::Direct
        | FilesError::Ended
        | FilesError::NotMounted { .. }
        | FilesError::Rejected(_) => Code::FailedPrecondition,
        FilesError::Changed { .. } | FilesError::GaveWay { .. } | FilesError::Stopped => Code::Aborted,
        FilesError::Full { .. } | FilesError::TooMany { .. } => Code::ResourceExhausted,
        FilesError::Slow => Code::DeadlineExceeded,
        FilesError::Input { .. } | FilesError::Output { .. } => Code::Cancelled,
        FilesError::Io { .. }
        | FilesError::Definition(_)
        | FilesError::Rootfs(_)
        | FilesError::Fill(_)
        | FilesError::Task { .. } => Code::Internal,
    }
}

fn of_top(error: &TopError) -> Code {
    match error {
        TopError::Rejected(_) | TopError::NoGroup => Code::FailedPrecondition,
        TopError::Slow => Code::DeadlineExceeded,
        TopError::Ps(error) => match error {
            PsError::Missing => Code::FailedPrecondition,
            PsError::Slow => Code::DeadlineExceeded,
            PsError::Run { .. } => Code::Internal,
            PsError::Options | PsError::Failed { .. } | PsError::NoPid | PsError::Unclear | PsError::TooMuch => {
                Code::InvalidArgument
            }
        },
    }
}

fn of_journal(error: &AppendError) -> Code {
    match error {
        AppendError::DiskFull { .. } => Code::ResourceExhausted,
        AppendError::TooLarge { .. } => Code::InvalidArgument,
        _ => Code::Unavailable,
    }
}

fn of_image(error: &ImageError) -> Code {
    match error {
        ImageError::NoSuchImage { .. } => Code::NotFound,
        ImageError::Ambiguous { .. }
        | ImageError::Reference(_)
        | ImageError::NotATag { .. }
        | ImageError::Archive { .. }
        | ImageError::Document { .. }
        | ImageError::WrongLayer { .. }
        | ImageError::Change { .. }
        | ImageError::Filter { .. } => Code::InvalidArgument,
        ImageError::InUse { .. }
        | ImageError::ManyNames { .. }
        | ImageError::BeingRemoved { .. }
        | ImageError::Mounted { .. }
        | ImageError::Platform { .. }
        | ImageError::ReadOnly => Code::FailedPrecondition,
        ImageError::Rejected(image::Rejection::NoSuchImage) => Code::NotFound,
        ImageError::Rejected(image::Rejection::TooManyNames { .. }) => Code::FailedPrecondition,
        ImageError::Layer { source, .. } => match **source {
            LayerError::Full { .. } => Code::ResourceExhausted,
            LayerError::Write { .. } | LayerError::Open { .. } => Code::Internal,
            LayerError::Stopped => Code::Cancelled,
            _ => Code::InvalidArgument,
        },
        ImageError::Store(StoreError::Slow { .. }) => Code::DeadlineExceeded,
        ImageError::Registry { source, .. } | ImageError::Login(source) => of_registry(source),
        ImageError::Store(error) if is_full(error) => Code::ResourceExhausted,
        ImageError::Journal(error) => of_journal(error),
        ImageError::Shared(error) => of_image(error),
        ImageError::GivenUp => Code::Cancelled,
        ImageError::Store(_)
        | ImageError::Receive { .. }
        | ImageError::Send { .. }
        | ImageError::View { .. }
        | ImageError::Task { .. } => Code::Internal,
    }
}

fn of_network(error: &NetworkError) -> Code {
    match error {
        NetworkError::NoSuchNetwork { .. } => Code::NotFound,
        NetworkError::Exists { .. } => Code::AlreadyExists,
        NetworkError::InvalidName { .. }
        | NetworkError::Driver { .. }
        | NetworkError::Subnet { .. }
        | NetworkError::NoPorts { .. }
        | NetworkError::Unreachable { .. }
        | NetworkError::LoopbackV6 { .. } => Code::InvalidArgument,
        NetworkError::Overlap { .. }
        | NetworkError::InUse { .. }
        | NetworkError::BeingRemoved { .. }
        | NetworkError::NotOurs { .. }
        | NetworkError::Missing(_)
        | NetworkError::PortTaken { .. }
        | NetworkError::PortInUse { .. } => Code::FailedPrecondition,
        NetworkError::NoSubnet { .. } => Code::ResourceExhausted,
        NetworkError::Slow { .. }
        | NetworkError::SlowDetach { .. }
        | NetworkError::Unknown { .. }
        | NetworkError::Locked { .. }
        | NetworkError::Busy { .. } => Code::DeadlineExceeded,
        NetworkError::Conf(_)
        | NetworkError::Plugin { .. }
        | NetworkError::WrongAddress { .. }
        | NetworkError::Io { .. }
        | NetworkError::Record { .. }
        | NetworkError::RecordContent { .. }
        | NetworkError::GivenUp { .. }
        | NetworkError::Netlink { .. }
        | NetworkError::Task { .. } => Code::Internal,
    }
}

fn is_full(error: &StoreError) -> bool {
    matches!(error, StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull)
}

fn of_registry(error: &RegistryError) -> Code {
    match error {
        RegistryError::NotFound { .. } => Code::NotFound,
        RegistryError::Unauthorized { .. } | RegistryError::LoginRefused { .. } => Code::Unauthenticated,
        RegistryError::Denied { .. } => Code::PermissionDenied,
        RegistryError::Stalled { .. } => Code::DeadlineExceeded,
        RegistryError::NoEndpoint { last, .. } => of_registry(last),
        RegistryError::InvalidServer { .. } | RegistryError::InvalidUser { .. } => Code::InvalidArgument,
        error if error.is_passing() => Code::Unavailable,
        _ => Code::Internal,
    }
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let message = match &error {
            ApiError::Journal(_) => error.to_string(),
            other => chain(other),
        };
        Self::new(error.code(), cut(&message, MESSAGE_LIMIT))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected(verb: Verb, rejection: Rejection) -> (Code, String) {
        let status = Status::from(ApiError::Rejected { verb, reference: "x".into(), rejection });
        (status.code(), status.message().to_owned())
    }

    #[test]
    fn a_message_is_limited_for_long_requests() {
        let status = Status::from(ApiError::NoSuchContainer { reference: "x".repeat(1 << 20) });
        assert_eq!(status.message().len(), MESSAGE_LIMIT);
    }

    #[test]
    fn rejections_have_the_references_texts_and_codes() {
        for (verb, rejection, code, text) in [
            (
                Verb::Kill,
                Rejection::NotRunning,
                Code::FailedPrecondition,
                "Cannot kill container: Container x is not running",
            ),
            (Verb::Pause, Rejection::NotRunning, Code::FailedPrecondition, "Container x is not running"),
            (Verb::Start, Rejection::NoSuchContainer, Code::NotFound, "No such container:x"),
            (
                Verb::Start,
                Rejection::Paused,
                Code::FailedPrecondition,
                "Cannot start a paused container, try unpause instead.",
            ),
            (
                Verb::Remove,
                Rejection::StillRunning,
                Code::FailedPrecondition,
                "You cannot remove a running container x. Stop the container before attempting removal or use -f",
            ),
        ] {
            assert_eq!(rejected(verb, rejection), (code, text.to_owned()));
        }
    }
}

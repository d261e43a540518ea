//! Every rejection and every error as a gRPC status, in one place. The texts are the reference's where it has one.

use store::AppendError;
use tonic::{Code, Status};

use crate::cause::chain;
use crate::containers::ContainerError;
use crate::definition::DefinitionError;
use crate::domain::container::Rejection;
use crate::domain::image;
use crate::domain::text::cut;
use crate::exec::ExecError;
use crate::files::FilesError;
use crate::image::ImageError;
use crate::image::layer::LayerError;
use crate::image::registry::RegistryError;
use crate::image::store::StoreError;
use crate::network::NetworkError;
use crate::runtime::RuntimeError;
use crate::spec::SpecError;
use crate::usage::{PsError, TopError};
use crate::volume::VolumeError;

/// A message travels in a header, encoded with up to three bytes for one of its own, and headers have a limit: a name
/// in a request may be of any length.
const MESSAGE_LIMIT: usize = 4000;

/// The errors of a request.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("{message}")]
    Invalid { message: String },
    #[error(transparent)]
    Container(#[from] ContainerError),
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

impl ApiError {
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid { message: message.into() }
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed { message: message.into() }
    }

    fn code(&self) -> Code {
        match self {
            Self::Container(error) => of_container(error),
            Self::Invalid { .. } => Code::InvalidArgument,
            Self::Runtime(error) => of_runtime(error),
            Self::Top { source, .. } => of_top(source),
            Self::Files { source, .. } => of_files(source),
            Self::Volume(error) => of_volume(error),
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

fn of_container(error: &ContainerError) -> Code {
    match error {
        ContainerError::NoSuchContainer { .. } => Code::NotFound,
        ContainerError::Ambiguous { .. }
        | ContainerError::Invalid { .. }
        | ContainerError::InvalidName { .. }
        | ContainerError::Rootfs(_) => Code::InvalidArgument,
        ContainerError::NameTaken { .. } => Code::AlreadyExists,
        ContainerError::Rejected { rejection, .. } => of_rejection(rejection),
        ContainerError::Journal(error) => of_journal(error),
        ContainerError::Image(error) => of_image(error),
        ContainerError::Network(error) => of_network(error),
        ContainerError::Volume(error) => of_volume(error),
        ContainerError::Runtime(error) => of_runtime(error),
        ContainerError::Exec(error) => of_exec(error),
        ContainerError::Definition(_)
        | ContainerError::HostFiles(_)
        | ContainerError::Bundle { .. }
        | ContainerError::VolumesPath { .. }
        | ContainerError::CallerGone
        | ContainerError::ShimUnreachable { .. }
        | ContainerError::Resize { .. }
        | ContainerError::ShimRefused { .. }
        | ContainerError::ShimLeft
        | ContainerError::NotStarted
        | ContainerError::UpdateFailed { .. }
        | ContainerError::StartFailed { .. }
        | ContainerError::RestartReplaced { .. }
        | ContainerError::OperationFailed { .. }
        | ContainerError::NoId(_)
        | ContainerError::Stopping
        | ContainerError::Panicked { .. } => Code::Internal,
        ContainerError::ShimSilent
        | ContainerError::OutlivesKill { .. }
        | ContainerError::NoOutcome { .. }
        | ContainerError::RemovalPending { .. } => Code::DeadlineExceeded,
    }
}

fn of_runtime(error: &RuntimeError) -> Code {
    match error {
        RuntimeError::Missing { .. } => Code::FailedPrecondition,
        RuntimeError::Spawn { .. } | RuntimeError::Failed { .. } => Code::Internal,
        RuntimeError::Deadline { .. } => Code::DeadlineExceeded,
    }
}

fn of_volume(error: &VolumeError) -> Code {
    match error {
        VolumeError::NoSuchVolume { .. } => Code::NotFound,
        VolumeError::InvalidName { .. } | VolumeError::LabelsTooLong { .. } => Code::InvalidArgument,
        VolumeError::InUse { .. } | VolumeError::BeingRemoved { .. } | VolumeError::Mounted { .. } => {
            Code::FailedPrecondition
        }
        VolumeError::Io { .. } => Code::Internal,
        VolumeError::Journal(_) => Code::Unavailable,
    }
}

fn of_exec(error: &ExecError) -> Code {
    match error {
        ExecError::Rejected(rejection) => of_rejection(rejection),
        ExecError::Journal(error) => of_journal(error),
        ExecError::Spec(SpecError::Decode { .. } | SpecError::Encode { .. }) => Code::Internal,
        ExecError::Spec(_) => Code::InvalidArgument,
        ExecError::Runtime(error) => of_runtime(error),
        ExecError::Timeout { .. }
        | ExecError::NoAnswer { .. }
        | ExecError::NotReleased { .. }
        | ExecError::Crowded { .. }
        | ExecError::Slow { .. } => Code::DeadlineExceeded,
        ExecError::Definition(_)
        | ExecError::NotStarted { .. }
        | ExecError::ShimMissing { .. }
        | ExecError::State { .. }
        | ExecError::Describe(_)
        | ExecError::Spawn { .. }
        | ExecError::ShimDied => Code::Internal,
    }
}

fn of_rejection(rejection: &Rejection) -> Code {
    match rejection {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containers::Verb;

    fn rejected(verb: Verb, rejection: Rejection) -> (Code, String) {
        let status = Status::from(ApiError::from(ContainerError::Rejected { verb, reference: "x".into(), rejection }));
        (status.code(), status.message().to_owned())
    }

    #[test]
    fn a_message_is_limited_for_long_requests() {
        let status = Status::from(ApiError::from(ContainerError::NoSuchContainer { reference: "x".repeat(1 << 20) }));
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

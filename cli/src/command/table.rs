//! Verbs that differ in a name and a call: one request for each thing named, whose name is printed when it is done.

use clap::{ArgMatches, Command, value_parser};
use cri_api::isula::v1::{
    ContainerRequest, ImageRequest, KillRequest, NetworkRequest, RemoveRequest, RemoveVolumeRequest, RenameRequest,
    RestartRequest, StopRequest, TagRequest,
};
use tonic::{Response, Status};

use super::{Invocation, Outcome, Verb};
use crate::client::Client;
use crate::failure::GENERAL;
use crate::flag;
use crate::targets::{self, AT_ONCE};

pub(super) const STOP: Verb = verb(
    "stop",
    "Stop containers",
    "stop [OPTIONS] CONTAINER [CONTAINER...]",
    |command| containers(command.arg(flag::switch("force", "Kill at once").short('f')).arg(grace())),
    |given| {
        each(given, AT_ONCE, async |client, matches, container| {
            let force = flag::is_on(matches, "force");
            client.containers().stop(StopRequest { container, timeout: time(matches), force }).await
        })
    },
);

pub(super) const RESTART: Verb = verb(
    "restart",
    "Restart containers",
    "restart [OPTIONS] CONTAINER [CONTAINER...]",
    |command| containers(command.arg(grace())),
    // In turn: a user who names a database before its dependants means that order.
    |given| {
        each(given, 1, async |client, matches, container| {
            client.containers().restart(RestartRequest { container, timeout: time(matches) }).await
        })
    },
);

pub(super) const KILL: Verb = verb(
    "kill",
    "Send a signal to containers",
    "kill [OPTIONS] CONTAINER [CONTAINER...]",
    |command| {
        let signal = flag::value("signal", "SIGNAL", "Name or number [default: SIGKILL]").short('s');
        containers(command.arg(signal))
    },
    |given| {
        each(given, AT_ONCE, async |client, matches, container| {
            let signal = flag::text_or_empty(matches, "signal");
            client.containers().kill(KillRequest { container, signal }).await
        })
    },
);

pub(super) const PAUSE: Verb =
    verb("pause", "Freeze all processes of containers", "pause CONTAINER [CONTAINER...]", containers, |given| {
        each(given, AT_ONCE, async |client, _, container| {
            client.containers().pause(ContainerRequest { container }).await
        })
    });

pub(super) const UNPAUSE: Verb =
    verb("unpause", "Thaw frozen containers", "unpause CONTAINER [CONTAINER...]", containers, |given| {
        each(given, AT_ONCE, async |client, _, container| {
            client.containers().unpause(ContainerRequest { container }).await
        })
    });

pub(super) const REMOVE: Verb = verb(
    "rm",
    "Remove containers",
    "rm [OPTIONS] CONTAINER [CONTAINER...]",
    |command| {
        let force = flag::switch("force", "Also when it is running (kills it)").short('f');
        containers(command.arg(force).arg(flag::switch("volumes", "With its anonymous volumes").short('v')))
    },
    |given| {
        // The second of two containers that share a volume removes it: in parallel, each would leave it to the other.
        let at_once = if flag::is_on(&given.matches, "volumes") { 1 } else { AT_ONCE };
        each(given, at_once, async |client, matches, container| {
            let (force, volumes) = (flag::is_on(matches, "force"), flag::is_on(matches, "volumes"));
            client.containers().remove(RemoveRequest { container, force, volumes }).await
        })
    },
);

pub(super) const REMOVE_NETWORK: Verb = verb(
    "rm",
    "Remove networks that no container uses",
    "rm [OPTIONS] NETWORK [NETWORK...]",
    |command| command.arg(flag::words("NETWORK")),
    |given| each(given, AT_ONCE, async |client, _, name| client.networks().remove(NetworkRequest { name }).await),
);

pub(super) const REMOVE_VOLUME: Verb = verb(
    "rm",
    "Remove volumes and their data",
    "rm [OPTIONS] VOLUME [VOLUME...]",
    |command| {
        command.arg(flag::switch("force", "One that does not exist is fine").short('f')).arg(flag::words("VOLUME"))
    },
    |given| {
        each(given, AT_ONCE, async |client, matches, volume| {
            client.volumes().remove(RemoveVolumeRequest { volume, force: flag::is_on(matches, "force") }).await
        })
    },
);

pub(super) const RENAME: Verb = verb(
    "rename",
    "Rename a container",
    "rename OLD_NAME NEW_NAME",
    |command| command.arg(flag::words("NAME")),
    |given| {
        exactly(given, async |client, [container, name]| {
            client.containers().rename(RenameRequest { container, name }).await
        })
    },
);

pub(super) const TAG: Verb = verb(
    "tag",
    "Give an image a further name",
    "tag IMAGE NAME[:TAG]",
    |command| command.arg(flag::words("IMAGE NAME")),
    |given| exactly(given, async |client, [image, name]| client.images().tag(TagRequest { image, name }).await),
);

pub(super) const UNMOUNT: Verb = verb(
    "unmount",
    "Take away what image mount has shown",
    "unmount IMAGE",
    |command| command.arg(flag::words("IMAGE")),
    |given| exactly(given, async |client, [image]| client.images().unmount(ImageRequest { image }).await),
);

/// A verb with the common exit code of a refusal.
const fn verb(
    name: &'static str,
    about: &'static str,
    usage: &'static str,
    flags: fn(Command) -> Command,
    run: fn(Invocation) -> Outcome,
) -> Verb {
    Verb { name, about, usage, refusal: GENERAL, hidden: false, flags, run }
}

fn containers(command: Command) -> Command {
    command.arg(flag::words("CONTAINER"))
}

fn grace() -> clap::Arg {
    let time = flag::value("time", "SECONDS", "Grace before SIGKILL [default: the container's own, 10]");
    time.short('t').value_parser(value_parser!(u32))
}

fn time(matches: &ArgMatches) -> Option<u32> {
    matches.get_one::<u32>("time").copied()
}

/// One call for each name, up to `at_once` in parallel; prints the names of those that succeed.
fn each<T>(
    Invocation { name: verb, matches, daemon }: Invocation,
    at_once: usize,
    call: impl AsyncFn(&Client, &ArgMatches, String) -> Result<Response<T>, Status> + 'static,
) -> Outcome {
    Box::pin(async move {
        let names = targets::names(&matches, &verb)?;
        let client = daemon.connect().await?;
        targets::each_at_once(&names, at_once, async |name| {
            call(&client, &matches, name.to_owned()).await?;
            Ok(Some(name.to_owned()))
        })
        .await
    })
}

/// One call with exactly `N` names; prints nothing.
fn exactly<const N: usize, T>(
    Invocation { name: verb, matches, daemon }: Invocation,
    call: impl AsyncFn(&Client, [String; N]) -> Result<Response<T>, Status> + 'static,
) -> Outcome {
    Box::pin(async move {
        let names = targets::exactly(&matches, &verb)?;
        call(&daemon.connect().await?, names).await?;
        Ok(0)
    })
}

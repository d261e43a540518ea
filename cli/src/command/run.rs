//! `isula run`: creates and starts a container. Detached, it prints the id; in the foreground it stands for the
//! container's process: same output, same input, same exit code.

use std::io::IsTerminal;

use clap::{ArgMatches, Command};
use cri_api::isula::v1::attach_input::Input;
use cri_api::isula::v1::attach_output::Output;
use cri_api::isula::v1::{AttachInput, AttachOpen, AttachRun, CreateRequest, CreateResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};

use super::create::with_image;
use super::{Invocation, Verb, warn};
use crate::client::Client;
use crate::failure::{Failure, USAGE};
use crate::stream::keys::{self, DetachKeys};
use crate::stream::{self, Attach, OpenCall, Ready, Session};
use crate::{container, flag, output};

pub(super) const VERB: Verb = Verb {
    name: "run",
    about: "Create and start a container",
    usage: "run [OPTIONS] ROOTFS|IMAGE [COMMAND] [ARG...]",
    refusal: USAGE,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

fn flags(command: Command) -> Command {
    let streams = "Attach only this stream (STDIN, STDOUT or STDERR)";
    stream::flags(container::flags(command))
        .arg(flag::switch("detach", "Leave it in the background and print its id").short('d'))
        .arg(
            flag::list("attach", "STREAM", streams)
                .short('a')
                .value_parser(["stdin", "stdout", "stderr"])
                .ignore_case(true),
        )
}

async fn run(Invocation { matches, daemon, .. }: Invocation) -> Result<u8, Failure> {
    let request = request(&matches)?;
    let detach = flag::is_on(&matches, "detach");
    let streams = streams(&matches, &request);
    if detach && matches.contains_id("attach") {
        return Err(Failure::usage("Conflicting options: -a and -d"));
    }
    if !(streams.stdin || streams.stdout || streams.stderr) {
        return Err(Failure::usage("Nothing is attached: -a STDIN needs -i"));
    }
    if !detach && request.tty && streams.stdin && !std::io::stdin().is_terminal() {
        return Err(Failure::Client("The input device is not a TTY".into()));
    }
    if detach {
        return detached(&daemon.connect().await?, &matches, request).await;
    }
    let keys = keys::given(&matches)?;
    foreground(&daemon.connect().await?, &matches, request, streams, keys).await
}

fn request(matches: &ArgMatches) -> Result<CreateRequest, Failure> {
    let mut request = container::request(matches, VERB.name)?;
    // A detached run has no attached client, so that no client's leaving could end the input.
    request.stdin_once &= !flag::is_on(matches, "detach");
    Ok(request)
}

/// Which streams are ours.
struct Streams {
    stdin: bool,
    stdout: bool,
    stderr: bool,
}

fn streams(matches: &ArgMatches, request: &CreateRequest) -> Streams {
    let chosen: Vec<&str> = flag::texts(matches, "attach").collect();
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|chosen| chosen.eq_ignore_ascii_case(name));
    Streams {
        stdin: request.open_stdin && wanted("stdin"),
        // A terminal has one output.
        stdout: wanted("stdout") || (request.tty && wanted("stderr")),
        stderr: wanted("stderr") && !request.tty,
    }
}

/// The id comes first, so that a script has it also when the start failed.
async fn detached(client: &Client, matches: &ArgMatches, request: CreateRequest) -> Result<u8, Failure> {
    let run = async |request| client.containers().run(request).await;
    let answer = with_image(client, matches, request, run).await?;
    warn(&answer.warnings);
    output::line(&answer.id)?;
    match answer.failure {
        None => Ok(0),
        Some(failure) => Ok(stream::start_failed(&failure)),
    }
}

async fn foreground(
    client: &Client,
    matches: &ArgMatches,
    request: CreateRequest,
    streams: Streams,
    keys: DetachKeys,
) -> Result<u8, Failure> {
    let tty = request.tty;
    let name = Some(request.name.clone()).filter(|name| !name.is_empty());
    let Streams { stdin, stdout, stderr } = streams;
    let sig_proxy = stream::sig_proxy(matches);
    let open = AttachOpen { stdin, stdout, stderr, size: stream::size(tty), container: String::new() };
    let begin = async |request| begin(client, request, open.clone(), sig_proxy).await;
    let (created, open_call) = with_image(client, matches, request, begin).await??;
    warn(&created.warnings);
    let session = Session {
        call: Attach { open, start: true },
        open_call: Some(open_call),
        if_lost: stream::may_run_still(name.as_deref().unwrap_or(&created.id)),
        container: created.id,
        tty,
        stdin,
        keys,
        sig_proxy,
        redraw: false,
    };
    stream::run(client, session).await
}

/// The container and the opened call that goes on with it; or the signal that ended the command meanwhile.
type Run = Result<(CreateResponse, OpenCall<Attach>), Failure>;

/// Made, started and attached to in one call. If we are ended before it runs, so is the container.
async fn begin(
    client: &Client,
    create: CreateRequest,
    open: AttachOpen,
    sig_proxy: bool,
) -> Result<Response<Run>, Status> {
    let mut ready = match Ready::enter(create.tty, open.stdin, sig_proxy) {
        Ok(ready) => ready,
        Err(failure) => return Ok(Response::new(Err(failure))),
    };
    let (to_daemon, from_us) = mpsc::channel(stream::INPUT_QUEUE);
    let run = AttachRun { create: Some(create), open: Some(open) };
    // There is room for it.
    let _ = to_daemon.try_send(AttachInput { input: Some(Input::Run(run)) });
    let call = async {
        let mut stream = client.containers().run_attached(ReceiverStream::new(from_us)).await?.into_inner();
        let first = stream.message().await?.and_then(|message| message.output);
        Ok::<_, Status>((first, stream))
    };
    let (first, stream) = match ready.unless_ended(call).await {
        Ok(answer) => answer?,
        Err(failure) => return Ok(Response::new(Err(failure))),
    };
    match first {
        Some(Output::Created(created)) => Ok(Response::new(Ok((created, OpenCall { ready, to_daemon, stream })))),
        Some(_) | None => Err(Status::internal("The daemon does not say whether the container was made")),
    }
}

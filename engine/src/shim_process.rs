//! Talking to shims: the description of the process to run, and the attach socket.

use std::io;
use std::sync::Arc;

use isulad_shim::process::{Log, PROCESS_VERSION, PidNamespace, Process, Runtime as ShimRuntime};
use isulad_shim::{Frame, Outcome, Request, StateDir};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::definition::{Definition, Sharing};
use crate::domain::container::Container;
use crate::domain::id::StartId;
use crate::effects::Specified;
use crate::engine::Engine;
use crate::runtime::Runtime;

/// `process.json` for a start.
pub(crate) fn describe(
    engine: &Engine,
    container: &Container,
    definition: &Definition,
    runtime: &Runtime,
    spec: &Specified,
    start: StartId,
) -> Process {
    let bundle = engine.node.bundle(container);
    let log = if definition.log.enabled {
        Log::JsonFile { path: bundle.log(), max_size: definition.log.max_size, max_files: definition.log.max_files }
    } else {
        Log::None
    };
    let instance = engine.node.instance_of(container, start);
    let own_pids = definition.namespaces.pid == Sharing::Own;
    Process {
        version: PROCESS_VERSION,
        id: instance.id,
        bundle: bundle.path().to_owned(),
        // One execution: faster with runc and with crun, see docs/decisions/0001.
        runtime: ShimRuntime { path: runtime.path.clone(), args: runtime.args.clone() },
        runtime_root: instance.root,
        start: start.0,
        terminal: definition.process.tty,
        console_size: None,
        open_stdin: definition.process.open_stdin,
        stdin_once: definition.process.stdin_once,
        first_client: false,
        log,
        exit_record: bundle.exit_record(),
        cgroup_procs: spec.shim_cgroups.clone(),
        oom: spec.oom.clone(),
        runtime_deadline_ms: crate::effects::RUNTIME_DEADLINE.as_millis() as u64,
        systemd_cgroup: engine.node.config.systemd_cgroup,
        pid_namespace: if own_pids { PidNamespace::Own } else { PidNamespace::Shared },
    }
}

/// Asks a shim how its start went; answered as soon as that is known.
pub(crate) async fn ask_status(state: &StateDir) -> io::Result<Outcome> {
    let mut stream = connect(state).await?;
    let mut bytes = Vec::new();
    Request::Status.encode(&mut bytes);
    stream.write_all(&bytes).await?;
    loop {
        match read_frame(&mut stream).await? {
            Some(Frame::Ready(ready)) => return Ok(Outcome::Ready(ready)),
            Some(Frame::Failed(failed)) => return Ok(Outcome::Failed(failed)),
            Some(_) => {}
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// The attach socket of a running container.
pub(crate) async fn connect(state: &StateDir) -> io::Result<UnixStream> {
    let state = Arc::new(state.clone());
    let stream = tokio::task::spawn_blocking(move || state.connect_attach()).await.map_err(io::Error::other)??;
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

/// The next frame; `None` at the end of the stream. Not cancellation safe.
pub(crate) async fn read_frame(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> io::Result<Option<Frame>> {
    let mut header = [0; isulad_shim::control::HEADER];
    match stream.read_exact(&mut header).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    let (kind, length) = isulad_shim::control::parse_header(header).map_err(io::Error::other)?;
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await?;
    Frame::decode(kind, payload).map(Some).map_err(io::Error::other)
}

//! The part of further processes.

use cri_api::isula::v1::execs_server::Execs;
use cri_api::isula::v1::{
    ExecInput, ExecOutput, ExecStarted, ExecSyncRequest, ExecSyncResponse, exec_input, exec_output,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Items, Part};

/// The daemon's behaviour on an exec.
#[derive(Clone)]
pub(crate) enum Executed {
    /// These messages, then the end of the stream.
    Play(Vec<exec_output::Output>),
    /// Starts, and sends nothing more; waits for the client's messages.
    Waits,
    /// The same, and then cannot let the process go on without the client that leaves.
    CannotLetGo,
    /// The same without an answer.
    Silent,
}

impl Default for Executed {
    fn default() -> Self {
        Self::Play(vec![])
    }
}

#[tonic::async_trait]
impl Execs for Part {
    type ExecStream = Items<ExecOutput>;

    async fn exec(&self, request: Request<Streaming<ExecInput>>) -> Result<Response<Self::ExecStream>, Status> {
        let mut input = request.into_inner();
        let Some(ExecInput { input: Some(exec_input::Input::Open(open)) }) = input.message().await? else {
            return Err(Status::invalid_argument("the first message must be open"));
        };
        self.record("Exec", &open);
        self.about(&open.process.clone().unwrap_or_default().container)?;
        let (to_client, outputs) = tokio::sync::mpsc::channel(4);
        let (script, asked) = (self.script.executed.clone(), self.asked.lock().unwrap().clone());
        tokio::spawn(async move {
            let say = async |output| to_client.send(Ok(ExecOutput { output: Some(output) })).await;
            match script {
                Executed::Play(outputs) => {
                    for output in outputs {
                        let _ = say(output).await;
                    }
                }
                Executed::Waits | Executed::CannotLetGo | Executed::Silent => {
                    let _ = say(exec_output::Output::Started(ExecStarted::default())).await;
                    while let Ok(Some(message)) = input.message().await {
                        let received = message.input.unwrap();
                        let _ = asked.send(format!("Input {received:?}"));
                        if matches!(received, exec_input::Input::Detach(_)) {
                            match script {
                                Executed::CannotLetGo => {
                                    let _ = to_client.send(Err(Status::deadline_exceeded("it may have ended"))).await;
                                }
                                Executed::Silent => to_client.closed().await,
                                Executed::Waits | Executed::Play(_) => {}
                            }
                            return;
                        }
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(outputs))))
    }

    async fn exec_sync(&self, _: Request<ExecSyncRequest>) -> Result<Response<ExecSyncResponse>, Status> {
        Err(Status::unimplemented("no command asks for this"))
    }
}

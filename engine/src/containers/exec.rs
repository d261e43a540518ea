//! Exec: a process in a running container, for a caller's streams, detached, or run to its end.

use std::sync::Arc;
use std::time::Duration;

use super::{ContainerError, StartFailure, Target, Verb, sizes};
use crate::engine::Engine;
use crate::exec::{Captured, Exec, ExecError, ExecOptions, Execs, Program};
use crate::journal::record::Context;

/// A process that ran, or why it did not, which is an answer and not an error.
pub(super) type Begun<T> = Result<T, StartFailure>;

/// Begins an exec, with its session unless it is detached.
pub(crate) async fn exec(
    engine: &Arc<Engine>,
    target: Target<'_>,
    program: Program,
    options: ExecOptions,
    context: &Context,
) -> Result<Begun<Exec>, ContainerError> {
    check(&program)?;
    begun(engine.execs.exec(target.id, program, options, context).await, target)
}

/// Runs a program to its end, or kills it when the timeout passes.
pub(crate) async fn exec_sync(
    engine: &Arc<Engine>,
    target: Target<'_>,
    program: &Program,
    timeout: Option<Duration>,
) -> Result<Begun<Captured>, ContainerError> {
    check(program)?;
    if program.tty {
        return Err(ContainerError::invalid("what is run to its end has no terminal"));
    }
    begun(engine.execs.exec_sync(target.id, program, timeout, Execs::OUTPUT_LIMIT).await, target)
}

/// Checks a program as far as possible without the container's files.
fn check(program: &Program) -> Result<(), ContainerError> {
    if program.args.first().is_none_or(String::is_empty) {
        return Err(ContainerError::invalid("No command specified"));
    }
    sizes::program(program)?;
    let texts = program.args.iter().chain(&program.env).chain([&program.user, &program.workdir]);
    if texts.into_iter().any(|text| text.contains('\0')) {
        return Err(ContainerError::invalid("arguments and environment cannot hold a NUL byte"));
    }
    if let Some(entry) = program.env.iter().find(|entry| entry.starts_with('=') || !entry.contains('=')) {
        let key = entry.split('=').next().unwrap_or_default();
        return Err(ContainerError::invalid(format!("invalid environment variable `{key}`: KEY=VALUE is wanted")));
    }
    if !program.workdir.is_empty() && !program.workdir.starts_with('/') {
        let workdir = &program.workdir;
        return Err(ContainerError::invalid(format!(
            "The working directory '{workdir}' is invalid. It needs to be an absolute path"
        )));
    }
    Ok(())
}

fn begun<T>(outcome: Result<T, ExecError>, target: Target<'_>) -> Result<Begun<T>, ContainerError> {
    match outcome {
        Ok(begun) => Ok(Ok(begun)),
        Err(ExecError::NotStarted { code, message }) => Ok(Err(StartFailure { message, code })),
        Err(ExecError::Rejected(rejection)) => {
            Err(ContainerError::of_rejection(rejection, Verb::Exec, target.reference))
        }
        Err(ExecError::Journal(error)) => Err(ContainerError::Journal(error)),
        Err(error) => Err(ContainerError::Exec(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_programs_are_refused_at_once() {
        let program = |change: fn(&mut Program)| {
            let mut program = Program { args: vec!["true".into()], ..Program::default() };
            change(&mut program);
            check(&program).map_err(|error| error.to_string())
        };
        assert_eq!(program(|_| {}), Ok(()));
        for (change, text) in [
            ((|program| program.args.clear()) as fn(&mut Program), "No command specified"),
            (|program| program.args[0].clear(), "No command specified"),
            (|program| program.args.push("a\0b".into()), "arguments and environment cannot hold a NUL byte"),
            (|program| program.env.push("A".into()), "invalid environment variable `A`: KEY=VALUE is wanted"),
            (
                |program| program.workdir = "tmp".into(),
                "The working directory 'tmp' is invalid. It needs to be an absolute path",
            ),
        ] {
            assert_eq!(program(change), Err(text.to_owned()));
        }
    }
}

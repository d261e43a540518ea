//! `isula update`: changes limits and restart policy of containers, of running ones at once.

use clap::{ArgMatches, Command};
use cri_api::isula::v1::{Resources, UpdateRequest};

use super::{Invocation, Verb, warn};
use crate::container::{resources, restart};
use crate::failure::{Failure, GENERAL};
use crate::flag;
use crate::targets::{self, AT_ONCE};

pub(super) const VERB: Verb = Verb {
    name: "update",
    about: "Change limits and restart policy of containers",
    usage: "update [OPTIONS] CONTAINER [CONTAINER...]",
    refusal: GENERAL,
    hidden: false,
    flags,
    run: |invocation| Box::pin(run(invocation)),
};

fn flags(command: Command) -> Command {
    command.args(resources::limit_flags()).arg(restart::flag()).arg(flag::words("CONTAINER"))
}

async fn run(Invocation { matches, daemon, .. }: Invocation) -> Result<u8, Failure> {
    let wanted = request(&matches)?;
    let names = targets::names(&matches, VERB.name)?;
    let client = daemon.connect().await?;
    targets::each_at_once(&names, AT_ONCE, async |name| {
        let request = UpdateRequest { container: name.to_owned(), ..wanted.clone() };
        let answer = client.containers().update(request).await?.into_inner();
        warn(&answer.warnings);
        Ok(Some(name.to_owned()))
    })
    .await
}

fn request(matches: &ArgMatches) -> Result<UpdateRequest, Failure> {
    let resources = Some(resources::limits(matches)).filter(|limits| *limits != Resources::default());
    let restart = restart::given(matches);
    if resources.is_none() && restart.is_none() {
        return Err(Failure::usage("You must provide one or more flags when using this command.".to_owned()));
    }
    Ok(UpdateRequest { container: String::new(), resources, restart })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<UpdateRequest, String> {
        let command = flags(Command::new("update").no_binary_name(true));
        let matches = command.try_get_matches_from(words).map_err(|error| error.to_string())?;
        request(&matches).map_err(|failure| failure.to_string())
    }

    #[test]
    fn only_given_flags_enter_the_request() {
        let request = parsed(&["-m", "64m", "--memory-swap=-1", "--cpus=1.5", "--restart=on-failure:2", "x"]).unwrap();
        let wanted = Resources {
            memory: Some(64 << 20),
            memory_swap: Some(-1),
            nano_cpus: Some(1_500_000_000),
            ..Resources::default()
        };
        assert_eq!(request.resources, Some(wanted));
        assert_eq!(request.restart.unwrap().maximum_retries, 2);
        assert_eq!(parsed(&["--restart=no", "x"]).unwrap().resources, None);
        assert!(parsed(&["x"]).unwrap_err().contains("one or more flags"));
        assert!(parsed(&["--memory=-2", "x"]).is_err());
    }
}

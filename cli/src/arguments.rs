//! From the words of the command line to one command with its matches.
//!
//! Only the flags of the command that was named are built: the others would cost more time than the request itself.
//! The messages are those that scripts written for the engine's predecessor know.

use std::error::Error;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};

use crate::client::Daemon;
use crate::command::{self, Group, Invocation, Named, Verb};
use crate::failure::{Ended, Failure, GENERAL};
use crate::{flag, host, output};

/// Runs the program on its arguments (without the program's name) and returns its exit code.
pub(crate) fn run(words: Vec<OsString>) -> Result<u8, Ended> {
    let parsed = split(words).map_err(|failure| Ended::new(failure, GENERAL))?;
    match parsed {
        Words::Help => print(&help().render_help().to_string()),
        Words::Version => print(&command::version::line()),
        Words::Verb { name, host, rest } => match command::find(&name) {
            Some(Named::Verb(verb)) => execute(verb, name, host.as_deref(), rest),
            Some(Named::Group(group)) => run_in(group, host, rest),
            None => Err(Ended::new(Failure::UnknownCommand { name, help: "isula".into() }, GENERAL)),
        },
    }
}

/// Goes on behind the name of a group.
fn run_in(group: &'static Group, host: Option<String>, words: Vec<OsString>) -> Result<u8, Ended> {
    let parsed = split(words).map_err(|failure| Ended::new(failure, GENERAL))?;
    match parsed {
        Words::Help => print(&outline(group).render_help().to_string()),
        Words::Version => Err(Ended::new(unknown_flag("--version"), GENERAL)),
        Words::Verb { name, host: nearer, rest } => {
            let path = format!("{} {name}", group.name);
            match group.verbs.iter().find(|verb| verb.name == name) {
                Some(verb) => execute(verb, path, nearer.or(host).as_deref(), rest),
                None => {
                    let help = format!("isula {}", group.name);
                    Err(Ended::new(Failure::UnknownCommand { name: path, help }, GENERAL))
                }
            }
        }
    }
}

fn print(text: &str) -> Result<u8, Ended> {
    output::write(text).map(|()| 0).map_err(|failure| Ended::new(failure, GENERAL))
}

enum Words {
    Help,
    Version,
    Verb { name: String, host: Option<String>, rest: Vec<OsString> },
}

/// Reads the flags before the command's name.
fn split(words: Vec<OsString>) -> Result<Words, Failure> {
    let mut words = words.into_iter();
    let mut host = None;
    while let Some(word) = words.next() {
        let text = word.to_str().ok_or_else(|| Failure::usage(format!("{word:?} is not valid UTF-8")))?;
        match text {
            "--help" | "-h" => return Ok(Words::Help),
            "--version" | "-v" => return Ok(Words::Version),
            "-D" | "--debug" | "--" => {}
            "help" => return Ok(help_on(words)),
            "-H" | "--host" => {
                let value = words.next().and_then(|value| value.into_string().ok());
                host = Some(value.ok_or_else(|| Failure::usage(format!("Flag needs an argument: {text}")))?);
            }
            _ => match attached_host(text) {
                Some(value) => host = Some(value.to_owned()),
                None if text.starts_with("--debug=") => {}
                None if text.starts_with('-') => return Err(unknown_flag(text)),
                None => return Ok(Words::Verb { name: text.to_owned(), host, rest: words.collect() }),
            },
        }
    }
    Ok(Words::Help)
}

fn attached_host(word: &str) -> Option<&str> {
    let value = word.strip_prefix("--host=").or_else(|| word.strip_prefix("-H"))?;
    Some(value.strip_prefix('=').unwrap_or(value))
}

/// `isula help run` is `isula run --help`, `isula help image ls` is `isula image ls --help`.
fn help_on(mut words: impl Iterator<Item = OsString>) -> Words {
    match words.next().and_then(|name| name.into_string().ok()) {
        Some(name) => Words::Verb { name, host: None, rest: words.chain(["--help".into()]).collect() },
        None => Words::Help,
    }
}

/// `path` is the command's name with its group's before it.
fn execute(verb: &'static Verb, path: String, host: Option<&str>, rest: Vec<OsString>) -> Result<u8, Ended> {
    perform(verb, path, host, rest).map_err(|failure| Ended::new(failure, verb.refusal))
}

fn perform(verb: &'static Verb, path: String, host: Option<&str>, rest: Vec<OsString>) -> Result<u8, Failure> {
    let matches = match build(verb, &path).no_binary_name(true).try_get_matches_from(rest) {
        Ok(matches) => matches,
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            return output::write(&error.render().to_string()).map(|()| 0);
        }
        Err(error) => return Err(reword(&path, &error)),
    };
    let environment = std::env::var("ISULAD_HOST").ok();
    let socket = host::choose(flag::text(&matches, "host").or(host), environment.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io("start the event loop", error))?;
    runtime.block_on((verb.run)(Invocation { name: path, matches, daemon: Daemon { socket } }))
}

/// The parser of one command.
fn build(verb: &Verb, path: &str) -> Command {
    // A verb of a group may be a command of another name by itself.
    let arguments = verb.usage.split_once(' ').map_or(String::new(), |(_, arguments)| format!(" {arguments}"));
    let command = Command::new(verb.name)
        .about(verb.about)
        .override_usage(format!("isula {path}{arguments}"))
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args_override_self(true)
        .hide(verb.hidden)
        .arg(Arg::new("help").long("help").action(ArgAction::Help).help("Print this help"))
        .arg(flag::value("host", "HOST", "The daemon's socket [default: unix:///var/run/isulad.sock]").short('H'))
        .arg(flag::switch("debug", "Accepted for scripts that give it; has no effect").short('D').hide(true));
    (verb.flags)(command)
}

/// All commands with all their flags, for completions.
pub(crate) fn tree() -> Command {
    let members =
        |group: &'static Group| group.verbs.iter().map(|verb| build(verb, &format!("{} {}", group.name, verb.name)));
    let groups = command::GROUPS.iter().map(|&group| group_frame(group).subcommands(members(group)));
    help_frame().subcommands(command::VERBS.iter().map(|verb| build(verb, verb.name))).subcommands(groups)
}

/// The commands with a line each.
fn help() -> Command {
    let groups = command::GROUPS.iter().map(|group| Command::new(group.name).about(group.about));
    help_frame().subcommands(command::VERBS.iter().map(line)).subcommands(groups)
}

/// The commands of a group with a line each.
fn outline(group: &Group) -> Command {
    group_frame(group).subcommands(group.verbs.iter().map(line))
}

fn line(verb: &Verb) -> Command {
    Command::new(verb.name).about(verb.about).hide(verb.hidden)
}

fn help_frame() -> Command {
    frame("isula", "Containers on this machine, through the daemon isulad")
        .override_usage("isula [OPTIONS] COMMAND [ARGS...]")
        .arg(Arg::new("version").long("version").action(ArgAction::SetTrue).help("Print the version"))
}

fn group_frame(group: &Group) -> Command {
    frame(group.name, group.about).override_usage(format!("isula {} COMMAND [ARGS...]", group.name))
}

fn frame(name: &'static str, about: &'static str) -> Command {
    Command::new(name)
        .about(about)
        .disable_help_flag(true)
        .disable_help_subcommand(true)
        .disable_version_flag(true)
        .arg(Arg::new("help").long("help").action(ArgAction::Help).help("Print this help"))
        .arg(flag::value("host", "HOST", "The daemon's socket [default: unix:///var/run/isulad.sock]").short('H'))
}

fn unknown_flag(word: &str) -> Failure {
    let flag = word.split('=').next().unwrap_or(word);
    Failure::usage(format!("Unknown flag found:'{flag}'"))
}

/// Puts the parser's complaint into the words of the reference.
fn reword(verb: &str, error: &clap::Error) -> Failure {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    let flag = context(ContextKind::InvalidArg).split([' ', '=', '[']).next().unwrap_or_default();
    let value = context(ContextKind::InvalidValue);
    let message = match error.kind() {
        ErrorKind::UnknownArgument if flag.starts_with('-') => return unknown_flag(flag),
        ErrorKind::UnknownArgument => format!("\"{verb}\" does not take the argument '{flag}'"),
        ErrorKind::InvalidValue if value.is_empty() => format!("Flag needs an argument: {flag}"),
        ErrorKind::InvalidValue => format!("Invalid value \"{value}\" for flag {flag}"),
        ErrorKind::ValueValidation => match error.source() {
            Some(reason) => format!("Invalid value \"{value}\" for flag {flag}: {reason}"),
            None => format!("Invalid value \"{value}\" for flag {flag}"),
        },
        _ => {
            let text = error.render().to_string();
            let first = text.lines().next().unwrap_or_default();
            first.strip_prefix("error: ").unwrap_or(first).to_owned()
        }
    };
    Failure::usage(format!("{message}\nSee 'isula {verb} --help'."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(verb: &str, words: &[&str]) -> String {
        let Some(Named::Verb(verb)) = command::find(verb) else { panic!("the verb exists") };
        let error = build(verb, verb.name).no_binary_name(true).try_get_matches_from(words).expect_err("refused");
        reword(verb.name, &error).to_string().lines().next().unwrap_or_default().to_owned()
    }

    #[test]
    fn complaints_are_worded_as_in_the_reference() {
        let cases: &[(&str, &[&str], &str)] = &[
            ("run", &["--bogus", "x"], "Unknown flag found:'--bogus'"),
            ("run", &["--bogus=1", "x"], "Unknown flag found:'--bogus'"),
            ("ps", &["-x"], "Unknown flag found:'-x'"),
            ("ps", &["-ax"], "Unknown flag found:'-x'"),
            ("run", &["--name"], "Flag needs an argument: --name"),
            ("stop", &["-t"], "Flag needs an argument: --time"),
            ("run", &["--tty=maybe"], "Invalid value \"maybe\" for flag --tty"),
            ("info", &["x"], "\"info\" does not take the argument 'x'"),
        ];
        for (verb, words, wanted) in cases {
            assert_eq!(&complaint(verb, words), wanted, "{verb} {words:?}");
        }
    }

    #[test]
    fn every_command_is_well_formed() {
        tree().debug_assert();
        for verb in command::VERBS.iter().chain(command::GROUPS.iter().flat_map(|group| group.verbs)) {
            build(verb, verb.name).debug_assert();
        }
    }

    #[test]
    fn the_host_may_come_before_the_command() {
        for words in
            [&["-H", "a", "ps"][..], &["-Ha", "ps"], &["-H=a", "ps"], &["--host=a", "ps"], &["--host", "a", "ps"]]
        {
            let Ok(Words::Verb { name, host, rest }) = split(words.iter().map(OsString::from).collect()) else {
                panic!("{words:?}");
            };
            assert_eq!((name.as_str(), host.as_deref(), rest.len()), ("ps", Some("a"), 0), "{words:?}");
        }
    }
}

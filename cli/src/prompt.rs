//! Questions to the user at the terminal.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::thread;

use rustix::termios::{self, LocalModes, OptionalActions, Termios};
use tokio::sync::oneshot;

use crate::failure::Failure;

/// Longer than any password that a user means to give.
const SECRET_LIMIT: u64 = 64 * 1024;

/// Asks for a line.
pub(crate) async fn line(question: &str) -> Result<String, Failure> {
    ask(question)?;
    read_line().await
}

/// Asks for a line that is not shown while it is typed. The terminal is as before on every way out.
pub(crate) async fn secret(question: &str) -> Result<String, Failure> {
    let silence = EchoOff::enter()?;
    ask(question)?;
    let answer = read_line().await;
    drop(silence);
    answer
}

/// Asks whether to go on. Without an answer we do not, which is a failure.
pub(crate) async fn consent(warning: &str) -> Result<(), Failure> {
    ask(&format!("{warning}\nAre you sure you want to continue? [y/N] "))?;
    let answer = read_line().await?;
    if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(Failure::Client("Nothing was removed (--force does it without asking)".into()))
}

/// A secret from a pipe or a file: all of it but the newline at its end.
pub(crate) fn piped_secret() -> Result<String, Failure> {
    let mut text = String::new();
    let mut stdin = io::stdin().lock().take(SECRET_LIMIT + 1);
    stdin.read_to_string(&mut text).map_err(|error| Failure::io("read the password from standard input", error))?;
    if text.len() as u64 > SECRET_LIMIT {
        return Err(Failure::usage("The password on standard input is too long"));
    }
    Ok(without_newline(text))
}

/// Whether stdin is a terminal, so that a user can be asked.
pub(crate) fn is_possible() -> bool {
    io::stdin().is_terminal()
}

fn ask(question: &str) -> Result<(), Failure> {
    let mut err = io::stderr().lock();
    err.write_all(crate::text::shown(question).as_bytes()).and_then(|()| err.flush()).map_err(Failure::output)
}

/// Reads on a thread of its own, so that a signal is handled meanwhile. Empty at the end of the input.
async fn read_line() -> Result<String, Failure> {
    let (result, answer) = oneshot::channel();
    let read = move || {
        let mut line = String::new();
        let _ = result.send(io::stdin().lock().read_line(&mut line).map(|_| line));
    };
    thread::Builder::new().name("prompt".into()).spawn(read).map_err(|error| Failure::io("start a thread", error))?;
    match answer.await {
        Ok(Ok(line)) => Ok(without_newline(line)),
        Ok(Err(error)) => Err(Failure::io("read the answer", error)),
        Err(_) => Err(Failure::Client("the thread that reads the answer has died".into())),
    }
}

fn without_newline(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}

/// The terminal without echo; dropping it puts things back.
struct EchoOff {
    before: Termios,
}

impl EchoOff {
    fn enter() -> Result<Self, Failure> {
        let failed = |error: rustix::io::Errno| Failure::io("hide what is typed", error.into());
        let before = termios::tcgetattr(io::stdin()).map_err(failed)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        let guard = Self { before };
        termios::tcsetattr(io::stdin(), OptionalActions::Flush, &silent).map_err(failed)?;
        Ok(guard)
    }
}

impl Drop for EchoOff {
    fn drop(&mut self) {
        // The terminal may be gone: nothing is left to put right then.
        let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
        // The user's newline was not shown either.
        let _ = io::stderr().lock().write_all(b"\n");
    }
}

#[cfg(test)]
mod tests {
    use super::without_newline;

    #[test]
    fn only_the_last_newline_goes() {
        for (text, wanted) in [("a\n", "a"), ("a\r\n", "a"), (" a b \n\n", " a b \n"), ("a", "a"), ("", ""), ("\n", "")]
        {
            assert_eq!(without_newline(text.into()), wanted, "{text:?}");
        }
    }
}

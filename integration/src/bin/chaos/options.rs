//! The options of the command line.

use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};

const USAGE: &str = "usage: chaos [--seed N] [--minutes N] [--clients N] [--runc PATH] [--crun PATH] [--keep]
exits with 0 when every reply held, with 1 when one did not (the scratch directory is kept then)";

#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub seed: u64,
    pub length: Duration,
    pub clients: u64,
    pub runc: Option<PathBuf>,
    pub crun: Option<PathBuf>,
    /// The scratch directory stays, also after a success.
    pub keep: bool,
    /// Made by the process outside of the namespaces.
    pub scratch: PathBuf,
}

impl Options {
    pub(crate) fn parse(words: &[String]) -> anyhow::Result<Self> {
        let mut options = Self {
            seed: RandomState::new().hash_one(std::process::id()) % 1_000_000,
            length: Duration::from_secs(15 * 60),
            clients: 4,
            runc: None,
            crun: None,
            keep: false,
            scratch: PathBuf::new(),
        };
        let mut words = words.iter();
        while let Some(flag) = words.next() {
            if flag == "--keep" {
                options.keep = true;
                continue;
            }
            let value = words.next().with_context(|| format!("{flag} needs a value\n{USAGE}"))?;
            match flag.as_str() {
                "--seed" => options.seed = value.parse().context("--seed needs a number")?,
                "--minutes" => {
                    let minutes: f64 = value.parse().context("--minutes needs a number")?;
                    options.length = Duration::try_from_secs_f64(minutes * 60.0).context("--minutes is too much")?;
                }
                "--clients" => options.clients = value.parse().context("--clients needs a number")?,
                "--runc" => options.runc = Some(value.into()),
                "--crun" => options.crun = Some(value.into()),
                "--scratch" => options.scratch = value.into(),
                _ => bail!("unknown flag {flag}\n{USAGE}"),
            }
        }
        Ok(options)
    }

    /// The same as words.
    pub(crate) fn words(&self) -> Vec<String> {
        let minutes = self.length.as_secs_f64() / 60.0;
        let mut words = vec![
            format!("--seed={}", self.seed),
            format!("--minutes={minutes}"),
            format!("--clients={}", self.clients),
            format!("--scratch={}", self.scratch.display()),
        ];
        let runtimes = [("--runc", &self.runc), ("--crun", &self.crun)];
        words.extend(runtimes.iter().filter_map(|(flag, path)| Some(format!("{flag}={}", path.as_ref()?.display()))));
        let mut words: Vec<String> =
            words.iter().flat_map(|word| word.splitn(2, '=').map(str::to_owned).collect::<Vec<_>>()).collect();
        if self.keep {
            words.push("--keep".to_owned());
        }
        words
    }
}

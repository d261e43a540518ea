//! A container's definition. It follows from the seed and the container's name, so that each part of the program that
//! sees the name knows the possible results.

use super::dice::Dice;

/// The work of the container's first process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Writes a line now and then until it is ended; ends with the code at SIGTERM.
    Server,
    /// Writes this many lines and ends with the code.
    Job { lines: u64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    No,
    Always,
    UnlessStopped,
    OnFailure(u32),
}

#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    pub kind: Kind,
    /// Chosen by the container's own script. No code of the engine's or of a signal is among them.
    pub code: i64,
    pub policy: Policy,
    pub auto_remove: bool,
    pub init: bool,
    pub health: bool,
    pub network: Option<&'static str>,
    pub volume: Option<String>,
    runtime: &'static str,
    pause: &'static str,
}

pub(crate) const NETWORKS: [&str; 2] = ["n0", "n1"];
/// The end of a renamed container's name.
pub(crate) const RENAMED: char = 'x';
/// Bytes, of a container that was not updated.
pub(crate) const MEMORY: i64 = 96 << 20;

impl Recipe {
    /// Names begin with `c<client>-` (containers of one client), `s-` (of all), or `r` (`run --rm` in the foreground).
    pub(crate) fn of(seed: u64, name: &str) -> Self {
        let name = name.trim_end_matches(RENAMED);
        let mut dice = Dice::named(seed, name);
        let foreground = name.starts_with('r');
        let runtime = dice.pick(&["runc", "crun"]).unwrap_or("runc");
        let job = dice.percent(35) || foreground;
        let lines = dice.pick(&[3, 40, 400, 4000]).unwrap_or(3);
        let code = if dice.percent(25) { 0 } else { 20 + dice.below(60).cast_signed() };
        let policy = dice.weighed(&[
            (5, Policy::No),
            (2, Policy::Always),
            (1, Policy::UnlessStopped),
            (2, Policy::OnFailure(2)),
        ]);
        let auto_remove = foreground || dice.percent(15);
        let network = dice.pick(&[None, None, Some("n0"), Some("n1")]).flatten();
        let (init, health, volume) = (dice.percent(25), dice.percent(25), dice.percent(60));
        Self {
            kind: if job { Kind::Job { lines } } else { Kind::Server },
            code,
            policy: if auto_remove { Policy::No } else { policy.unwrap_or(Policy::No) },
            auto_remove,
            init,
            health: health && !job,
            network,
            volume: (volume && !foreground).then(|| format!("v-{}", name.split('-').next().unwrap_or_default())),
            runtime,
            pause: dice.pick(&["0", "0.2", "1"]).unwrap_or("0"),
        }
    }

    fn flags(&self, name: &str) -> Vec<String> {
        let mut flags: Vec<String> =
            ["--name", name, "--runtime", self.runtime, "--memory", "96m"].map(str::to_owned).into();
        let mut add = |words: &[&str]| flags.extend(words.iter().map(|word| (*word).to_owned()));
        match self.policy {
            Policy::No => {}
            Policy::Always => add(&["--restart", "always"]),
            Policy::UnlessStopped => add(&["--restart", "unless-stopped"]),
            Policy::OnFailure(times) => add(&["--restart", &format!("on-failure:{times}")]),
        }
        if self.auto_remove {
            add(&["--rm"]);
        }
        if self.init {
            add(&["--init"]);
        }
        if self.health {
            add(&["--health-cmd", "test -e /etc/passwd", "--health-interval", "2s"]);
        }
        if let Some(network) = self.network {
            add(&["--net", network]);
        }
        if let Some(volume) = &self.volume {
            add(&["-v", &format!("{volume}:/data")]);
        }
        flags
    }

    fn script(&self) -> String {
        let Self { code, pause, .. } = self;
        match self.kind {
            Kind::Server => format!(
                "trap 'exit {code}' TERM; echo begin; i=0; while :; do echo line $i; i=$((i+1)); sleep 0.7 & wait $!; done"
            ),
            Kind::Job { lines } => format!(
                "echo begin; i=0; while [ $i -lt {lines} ]; do echo line $i; i=$((i+1)); done; sleep {pause}; echo end; exit {code}"
            ),
        }
    }

    /// `isula <verb>` that makes it.
    pub(crate) fn words(&self, verb: &[&str], name: &str, rootfs: &str) -> Vec<String> {
        let mut words: Vec<String> = verb.iter().map(|word| (*word).to_owned()).collect();
        words.extend(self.flags(name));
        words.extend(["--external-rootfs", rootfs, "none", "sh", "-c"].map(str::to_owned));
        words.push(self.script());
        words
    }

    /// All that a whole run writes.
    pub(crate) fn output(&self) -> String {
        let Kind::Job { lines } = self.kind else { return String::new() };
        let lines: String = (0..lines).map(|line| format!("line {line}\n")).collect();
        format!("begin\n{lines}end")
    }
}

//! A client's next operation, decided by the seed, the client and the step alone.

use super::dice::Dice;
use super::recipe::{RENAMED, Recipe};
use super::world::World;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Create,
    Run,
    /// `run --rm` of a container of this step alone.
    Foreground,
    Start,
    Stop(&'static str),
    Kill(&'static str),
    Restart,
    Pause,
    Unpause,
    Remove,
    RemoveForce,
    Rename,
    /// Ends with this code.
    Exec(u8),
    ExecDetached,
    Logs,
    Copy,
    /// MiB.
    Update(u16),
    /// Milliseconds.
    Attach(u16),
    Wait(u16),
    Stats,
    Inspect,
    Top,
    List,
    VolumeWrite,
    VolumeRead,
}

#[derive(Debug, Clone)]
pub(crate) struct Decision {
    pub op: Op,
    /// The container's name when it was not renamed.
    pub slot: String,
    /// A text of this step alone: it is written somewhere, to be found again.
    pub token: String,
    /// Also when it can only be refused.
    bold: bool,
    runs: bool,
}

/// Containers of each client alone, and of all.
const OWN: u64 = 4;
const SHARED: u64 = 3;

impl Decision {
    pub(crate) fn of(seed: u64, client: u64, step: u64) -> Self {
        let mut dice = Dice::of(seed, &[client, step]);
        let own = format!("c{client}-{}", dice.below(OWN));
        let slot = if dice.percent(75) { own } else { format!("s-{}", dice.below(SHARED)) };
        let small = u16::try_from(dice.below(1500)).unwrap_or(0);
        let choice = [
            (6, Op::Create),
            (8, Op::Run),
            (8, Op::Foreground),
            (6, Op::Start),
            (6, Op::Stop(dice.pick(&["0", "1", "3"]).unwrap_or("0"))),
            (5, Op::Kill(dice.pick(&["KILL", "TERM", "CONT"]).unwrap_or("KILL"))),
            (4, Op::Restart),
            (4, Op::Pause),
            (6, Op::Unpause),
            (5, Op::Remove),
            (5, Op::RemoveForce),
            (3, Op::Rename),
            (14, Op::Exec(20 + u8::try_from(dice.below(60)).unwrap_or(0))),
            (3, Op::ExecDetached),
            (5, Op::Logs),
            (4, Op::Copy),
            (4, Op::Update(64 + small % 64)),
            (3, Op::Attach(small)),
            (3, Op::Wait(small)),
            (3, Op::Stats),
            (3, Op::Inspect),
            (2, Op::Top),
            (2, Op::List),
            (4, Op::VolumeWrite),
            (4, Op::VolumeRead),
        ];
        let op = dice.weighed(&choice).unwrap_or(Op::List);
        let token = format!("token-{client}-{step}");
        Self { op, slot, token, bold: dice.percent(12), runs: dice.percent(70) }
    }

    /// The operation for a name with or without a container: mostly one that can succeed.
    pub(crate) fn fitting(&self, present: bool) -> Op {
        match self.op {
            Op::Foreground | Op::List => self.op,
            Op::Create | Op::Run if present && !self.bold => Op::Start,
            Op::Create | Op::Run => self.op,
            _ if present || self.bold => self.op,
            _ if self.runs => Op::Run,
            _ => Op::Create,
        }
    }
}

/// Where the recipe's volume is, this client's file in it.
fn volume_file(token: &str) -> String {
    format!("/data/of-{}", token.split('-').nth(1).unwrap_or_default())
}

impl Op {
    /// `isula` with these words does it.
    pub(crate) fn words(self, world: &World, name: &str, token: &str) -> Vec<String> {
        let made = |verb: &[&str]| Recipe::of(world.options.seed, name).words(verb, name, &world.rootfs);
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let script = |script: &str| words(&["exec", name, "sh", "-c", script]);
        match self {
            Self::Create => made(&["create"]),
            Self::Run => made(&["run", "-d"]),
            Self::Foreground => made(&["run"]),
            Self::Start => words(&["start", name]),
            Self::Stop(grace) => words(&["stop", "-t", grace, name]),
            Self::Kill(signal) => words(&["kill", "-s", signal, name]),
            Self::Restart => words(&["restart", "-t", "1", name]),
            Self::Pause => words(&["pause", name]),
            Self::Unpause => words(&["unpause", name]),
            Self::Remove => words(&["rm", name]),
            Self::RemoveForce => words(&["rm", "-f", name]),
            Self::Rename => words(&["rename", name, &other_name(name)]),
            Self::Exec(code) => script(&format!("echo {token}; exit {code}")),
            Self::ExecDetached => words(&["exec", "-d", name, "sh", "-c", "sleep 0.3"]),
            Self::Logs => words(&["logs", name]),
            Self::Copy => vec![],
            Self::Update(mib) => words(&["update", "--memory", &format!("{mib}m"), name]),
            Self::Attach(_) => words(&["attach", "--no-stdin", name]),
            Self::Wait(_) => words(&["wait", name]),
            Self::Stats => words(&["stats", "--no-stream", "--original", name]),
            Self::Inspect => words(&["inspect", "-f", "{{.Id}} {{.State.Status}}", name]),
            Self::Top => words(&["top", name]),
            Self::List => words(&["ps", "-aq", "--no-trunc"]),
            Self::VolumeWrite => {
                let file = volume_file(token);
                script(&format!("echo {token} > {file}.new && mv {file}.new {file} && sync {file}; echo {token}"))
            }
            Self::VolumeRead => script(&format!("cat {} 2>/dev/null; true", volume_file(token))),
        }
    }
}

/// Where a container is renamed to, and back.
pub(crate) fn other_name(name: &str) -> String {
    match name.strip_suffix(RENAMED) {
        Some(plain) => plain.to_owned(),
        None => format!("{name}{RENAMED}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_follow_from_the_seed_alone() {
        let plan = |seed| (0..200).map(|step| format!("{:?}", Decision::of(seed, 1, step))).collect::<Vec<_>>();
        assert_eq!(plan(5), plan(5));
        assert_ne!(plan(5), plan(6));
    }
}

//! Limits: CPU, memory, processes, I/O weight, rlimits.

use clap::{Arg, ArgMatches, value_parser};
use cri_api::isula::v1::{CreateRequest, Resources, Ulimit};

use super::size;
use crate::flag;

/// The kernel's limits per process, in the spelling of `--ulimit`.
const ULIMITS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Limits that can be changed later.
pub(crate) fn limit_flags() -> Vec<Arg> {
    let size = |long, help| flag::value(long, "SIZE", help).value_parser(size::bytes_or_unlimited);
    vec![
        flag::value("cpus", "COUNT", "CPU time in CPUs, such as 1.5").value_parser(size::nano_cpus),
        flag::value("cpu-shares", "N", "Weight among others").value_parser(value_parser!(u64)),
        flag::value("cpu-period", "MICROSECONDS", "Period of the CPU quota").value_parser(value_parser!(u64)),
        flag::value("cpu-quota", "MICROSECONDS", "CPU time per period; -1 is unlimited")
            .value_parser(value_parser!(i64)),
        flag::value("cpu-rt-period", "MICROSECONDS", "Period of the real-time quota").value_parser(value_parser!(u64)),
        flag::value("cpu-rt-runtime", "MICROSECONDS", "Real-time CPU time per period").value_parser(value_parser!(i64)),
        flag::value("cpuset-cpus", "LIST", "CPUs it may run on, such as 0-2,4"),
        flag::value("cpuset-mems", "LIST", "Memory nodes it may use"),
        size("memory", "Memory limit; -1 is unlimited").short('m'),
        size("memory-reservation", "Memory kept for it under pressure"),
        size("memory-swap", "Memory and swap together; -1 is unlimited"),
        size("kernel-memory", "Has no effect: kernels of today count it as memory"),
        flag::value("blkio-weight", "N", "10 to 1000, or 0 for none").value_parser(blkio_weight),
        flag::value("pids-limit", "N", "Processes it may have; -1 or 0 is unlimited")
            .value_parser(value_parser!(i64).range(-1..)),
    ]
}

/// The limits that the flags ask for.
pub(crate) fn limits(matches: &ArgMatches) -> Resources {
    let number = |long: &str| matches.get_one::<i64>(long).copied();
    let count = |long: &str| matches.get_one::<u64>(long).copied();
    Resources {
        memory: number("memory"),
        memory_swap: number("memory-swap"),
        memory_reservation: number("memory-reservation"),
        memory_swappiness: None,
        oom_kill_disable: None,
        kernel_memory: number("kernel-memory"),
        nano_cpus: number("cpus"),
        cpu_shares: count("cpu-shares"),
        cpu_period: count("cpu-period"),
        cpu_quota: number("cpu-quota"),
        cpuset_cpus: flag::text_or_empty(matches, "cpuset-cpus"),
        cpuset_mems: flag::text_or_empty(matches, "cpuset-mems"),
        cpu_rt_runtime: number("cpu-rt-runtime"),
        cpu_rt_period: count("cpu-rt-period"),
        pids_limit: number("pids-limit"),
        blkio_weight: matches.get_one::<u32>("blkio-weight").copied(),
    }
}

pub(super) fn flags() -> Vec<Arg> {
    let others = [
        flag::value("memory-swappiness", "N", "0 to 100; -1 is the machine's")
            .value_parser(value_parser!(i64).range(-1..=100)),
        flag::switch("oom-kill-disable", "Do not kill it when its memory is used up"),
        flag::value("oom-score-adj", "N", "-1000 to 1000").value_parser(value_parser!(i32).range(-1000..=1000)),
        flag::list("ulimit", "NAME=SOFT[:HARD]", "Limit per process, such as nofile=1024:4096; -1 is unlimited")
            .value_parser(ulimit),
    ];
    limit_flags().into_iter().chain(others).collect()
}

pub(super) fn apply(matches: &ArgMatches, request: &mut CreateRequest) {
    let swappiness = matches.get_one::<i64>("memory-swappiness").copied();
    request.resources = Some(Resources {
        memory_swappiness: swappiness.and_then(|value| u64::try_from(value).ok()),
        oom_kill_disable: matches.get_one::<bool>("oom-kill-disable").copied(),
        ..limits(matches)
    });
    request.oom_score_adj = matches.get_one::<i32>("oom-score-adj").copied();
    request.ulimits = matches.get_many::<Ulimit>("ulimit").unwrap_or_default().cloned().collect();
}

fn blkio_weight(text: &str) -> Result<u32, &'static str> {
    text.parse().ok().filter(|weight| *weight == 0 || (10..=1000).contains(weight)).ok_or("want 0, or 10 to 1000")
}

fn ulimit(text: &str) -> Result<Ulimit, String> {
    let (name, limits) = text.split_once('=').ok_or("want NAME=SOFT[:HARD]")?;
    if !ULIMITS.contains(&name) {
        return Err(format!("unknown limit '{name}'; known are {}", ULIMITS.join(", ")));
    }
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let limit = |text: &str| match text.parse::<i64>() {
        Ok(value) if value >= -1 => Ok(value),
        _ => Err(format!("'{text}' is not a limit: want a number, or -1 for unlimited")),
    };
    let (soft, hard) = (limit(soft)?, limit(hard)?);
    let above = hard != -1 && (soft == -1 || soft > hard);
    if above {
        return Err(format!("the soft limit {soft} is above the hard limit {hard}"));
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::parse;

    #[test]
    fn limits() {
        let request = parse(&[
            "--cpus",
            "1.5",
            "--cpu-shares=512",
            "--cpu-quota",
            "-1",
            "--cpu-period=100000",
            "-m512m",
            "--memory-swap",
            "-1",
            "--memory-reservation=64m",
            "--memory-swappiness=10",
            "--oom-kill-disable",
            "--oom-score-adj",
            "-5",
            "--blkio-weight=300",
            "--pids-limit",
            "-1",
            "--cpuset-cpus=0-1",
            "--cpuset-mems=0",
            "--ulimit",
            "nofile=10:20",
            "--ulimit=nproc=5",
            "x",
        ])
        .unwrap();
        let wanted = Resources {
            memory: Some(512 << 20),
            memory_swap: Some(-1),
            memory_reservation: Some(64 << 20),
            memory_swappiness: Some(10),
            oom_kill_disable: Some(true),
            nano_cpus: Some(1_500_000_000),
            cpu_shares: Some(512),
            cpu_period: Some(100_000),
            cpu_quota: Some(-1),
            cpuset_cpus: "0-1".into(),
            cpuset_mems: "0".into(),
            pids_limit: Some(-1),
            blkio_weight: Some(300),
            ..Resources::default()
        };
        assert_eq!(request.resources, Some(wanted));
        assert_eq!(request.oom_score_adj, Some(-5));
        let ulimit = |name: &str, soft, hard| Ulimit { name: name.into(), soft, hard };
        assert_eq!(request.ulimits, [ulimit("nofile", 10, 20), ulimit("nproc", 5, 5)]);
    }

    #[test]
    fn nothing_given_is_nothing_asked() {
        assert_eq!(parse(&["x"]).unwrap().resources, Some(Resources::default()));
    }

    #[test]
    fn nonsense() {
        for bad in [
            "--cpus=x",
            "--cpu-shares=-1",
            "--memory=1x",
            "--memory-swap=-2",
            "--memory-swappiness=101",
            "--oom-score-adj=1001",
            "--blkio-weight=5",
            "--blkio-weight=1001",
            "--pids-limit=-2",
            "--ulimit=nofile",
            "--ulimit=bogus=1",
            "--ulimit=nofile=2:1",
            "--ulimit=nofile=-1:5",
            "--ulimit=nofile=a",
            "--ulimit=nofile=-2",
        ] {
            assert!(parse(&[bad, "x"]).is_err(), "{bad}");
        }
    }
}

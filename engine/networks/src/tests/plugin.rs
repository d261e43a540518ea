//! Single plugins: their output, their hanging, and the processes that they leave in the background.

use super::*;
use crate::plugin::{Idle, await_idle};

#[tokio::test]
async fn nonsense_and_silence_are_failures_that_quote_the_output() {
    let stand = Stand::new();
    for (body, words) in [
        (
            "echo hello",
            "plugin `odd`: ADD answered what cannot be used: expected value at line 1 column 1: said `hello`",
        ),
        ("exit 0", "said nothing"),
        ("echo '[]'", "not an object"),
        ("echo '{\"ips\":[{\"address\":\"x\"}]}'", "`x` is not an address with a prefix"),
        ("echo oh dear >&2; exit 3", "ADD ended with exit status: 3 and said `oh dear`"),
        ("kill -9 $$", "ADD ended with signal: 9 (SIGKILL) and said nothing"),
        ("head -c 2000000 /dev/zero", "more than 1024 KiB"),
    ] {
        stand.plugin("odd", body);
        let problem = stand.fails(&["odd"]).await;
        assert!(problem.contains(words), "{body}: {problem}");
        stand.plugin("odd", "exit 0");
        detach(&stand.settings(), &stand.place(), None).await.unwrap();
        stand.assert_nothing_left();
    }
}

#[tokio::test]
async fn a_plugin_that_hangs_is_killed_with_all_it_started() {
    let stand = Stand::new();
    stand.plugin("slow", &format!("sleep 1000 & echo $! >{}; wait", stand.at("pid").display()));
    let settings = Settings { deadline: Duration::from_secs(15), ..stand.settings() };
    let problem =
        chain(&attach(&settings, &stand.first_runs, &stand.place(), stand.order(&["slow"])).await.unwrap_err());
    assert_eq!(problem, "network net: plugin `slow`: ADD did not finish within 15 s and was killed");
    let sleeper = fs::read_to_string(stand.at("pid")).unwrap().trim().to_owned();
    until("it was not killed", || !alive(&sleeper)).await;
}

fn alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.trim_start().starts_with('Z'))
}

#[tokio::test]
async fn an_end_in_the_background_does_not_hold_the_result_up() {
    let stand = Stand::new();
    stand.plugin("quick", &format!("sleep 1000 & echo '{RESULT}'"));
    // A call that waited for it would reach the plugin's deadline.
    stand.attach(&["quick"]).await.unwrap();
}

#[tokio::test]
async fn detaching_waits_for_a_plugin_that_still_runs() {
    let stand = Stand::new();
    stand.plugin(
        "slow",
        &format!("[ $CNI_COMMAND = ADD ] && sleep 1; echo end >>{}; exit 0", stand.at("log").display()),
    );
    stand.attach(&["slow"]).await.unwrap_err();
    stand.log();
    // A killed daemon leaves it so: the plugin goes on.
    let input = fs::File::open(stand.place().busy).unwrap();
    rustix::fs::flock(&input, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let mut command = std::process::Command::new(stand.at("bin/slow"));
    command.env("CNI_COMMAND", "ADD").env("CNI_IFNAME", "eth0");
    let mut orphan = std::os::unix::process::CommandExt::process_group(command.stdin(input), 0).spawn().unwrap();
    drop(command);
    until("it does not begin", || stand.at("log").exists()).await;
    detach(&stand.settings(), &stand.place(), None).await.unwrap();
    assert_eq!(stand.log(), ["slow ADD eth0 gone", "end", "slow DEL eth0 there", "end"]);
    orphan.wait().unwrap();
}

#[tokio::test]
async fn background_processes_of_a_plugin_are_ended_and_do_not_delay_the_next_call() {
    let stand = Stand::new();
    let (own, other) = (stand.at("own"), stand.at("other"));
    // Both have its input; the second one has left the group.
    let leave = format!(
        "[ $CNI_COMMAND = ADD ] && {{ exec 3<&0; sleep 1000 <&3 >/dev/null 2>&1 & echo $! >{}; setsid sh -c 'echo $$ >{other}.new; mv {other}.new {other}; exec sleep 1000' <&3 >/dev/null 2>&1 & while [ ! -e {other} ]; do sleep 0.01; done; echo '{RESULT}'; }}; exit 0",
        own.display(),
        other = other.display(),
    );
    stand.plugin("leaves", &leave);
    stand.attach(&["leaves"]).await.unwrap();
    let pid = |path: &Path| fs::read_to_string(path).unwrap().trim().to_owned();
    until("it goes on for ever", || !alive(&pid(&own))).await;
    assert!(alive(&pid(&other)), "a process in a session of its own stays");
    assert_eq!(await_idle(&stand.place().busy, Duration::ZERO).await.unwrap(), Idle::Yes);
    detach(&stand.settings(), &stand.place(), None).await.unwrap();
    assert_eq!(stand.log(), ["leaves ADD eth0 there", "leaves DEL eth0 there"]);
    assert!(alive(&pid(&other)), "and is not taken for a plugin that hangs");
    let other = isulad_shim::ProcessRef::of(pid(&other).parse().unwrap()).unwrap();
    isulad_shim::sys::pidfd::PidFd::open(other).and_then(|pidfd| pidfd.send_signal(9)).unwrap();
    stand.assert_nothing_left();
}

#[tokio::test]
async fn a_session_of_an_orphaned_plugin_stays_and_delays_no_call() {
    let (stand, dir) = (Stand::new(), tempfile::tempdir().unwrap());
    let (busy, started) = (stand.place().busy, dir.path().join("started"));
    fs::write(&busy, "").unwrap();
    let input = fs::File::open(&busy).unwrap();
    rustix::fs::flock(&input, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let script = format!("touch {}; exec sleep 1000", started.display());
    let mut service = Command::new("setsid").args(["sh", "-c", &script]).stdin(input).spawn().unwrap();
    until("it does not begin", || started.exists()).await;
    assert_eq!(await_idle(&busy, Duration::ZERO).await.unwrap(), Idle::Yes);
    assert!(service.try_wait().unwrap().is_none(), "it means to stay");
    // Without the clean-up the input would still be locked here.
    stand.good("one");
    stand.attach(&["one"]).await.unwrap();
    detach(&stand.settings(), &stand.place(), None).await.unwrap();
    service.kill().unwrap();
    service.wait().unwrap();
}

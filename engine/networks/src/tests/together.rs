//! Several attachments at once, by plugins that share something on the host.

use std::sync::Arc;

use super::*;

/// Makes the shared thing if it is missing, and is refused if another execution is making it.
fn sharing(stand: &Stand) {
    let (chain, making) = (stand.at("chain"), stand.at("making"));
    let body = format!(
        r#"[ $CNI_COMMAND = ADD ] || exit 0
[ -e {stop} ] && {{ touch {stopped}; exec sleep 1000; }}
if [ ! -e {chain} ]; then
mkdir {making} || {{ echo '{{"cniVersion":"0.4.0","code":999,"msg":"File exists"}}'; exit 1; }}
sleep 0.1; touch {chain}; rmdir {making}
fi
echo '{RESULT}'"#,
        stop = stand.at("stop").display(),
        stopped = stand.at("stopped").display(),
        chain = chain.display(),
        making = making.display(),
    );
    stand.plugin("sharing", &body);
}

async fn attach_one(stand: &Stand, deadline: Duration) -> Result<Record, NetworkError> {
    let number = crate::mark().unwrap();
    let bundle = stand.at(&format!("bundle-{number}"));
    fs::create_dir_all(&bundle).unwrap();
    let place =
        Place { prefix: "abc-".to_owned(), record: bundle.join("network.json"), busy: bundle.join("network-call") };
    let mut order = stand.order(&["sharing"]);
    order.container = format!("abc-{number}");
    order.netns = stand.at(&format!("netns/isula-abc-{number}"));
    attach(&Settings { deadline, ..stand.settings() }, &stand.first_runs, &place, order).await
}

/// Refusals among so many at once.
async fn refused(stand: &Arc<Stand>, count: usize) -> usize {
    let tasks: Vec<_> = (0..count)
        .map(|_| {
            let stand = stand.clone();
            tokio::spawn(async move { attach_one(&stand, PATIENCE).await.is_err() })
        })
        .collect();
    let mut refused = 0;
    for task in tasks {
        refused += usize::from(task.await.unwrap());
    }
    refused
}

#[tokio::test]
async fn many_at_once_do_not_trip_over_each_other() {
    let stand = Arc::new(Stand::new());
    sharing(&stand);
    assert_eq!(refused(&stand, 12).await, 0);
    // Somebody flushes it, as by restarting a firewall: all that are at work may fail, but then it is made again, by
    // one.
    fs::remove_file(stand.at("chain")).unwrap();
    assert_ne!(refused(&stand, 12).await, 12);
    fs::remove_file(stand.at("chain")).unwrap();
    fs::create_dir(stand.at("making")).unwrap();
    attach_one(&stand, PATIENCE).await.unwrap_err();
    fs::remove_dir(stand.at("making")).unwrap();
    assert_eq!(refused(&stand, 12).await, 0);
}

#[tokio::test]
async fn a_hanging_first_run_delays_others_only_briefly() {
    let mut stand = Stand::new();
    // The next one has as long to make the shared thing.
    stand.first_runs = FirstRuns::patient(Duration::from_secs(20));
    let stand = Arc::new(stand);
    sharing(&stand);
    fs::write(stand.at("stop"), "").unwrap();
    let (owned, hangs) = (stand.clone(), Duration::from_secs(1000));
    let hanging = tokio::spawn(async move { attach_one(&owned, hangs).await.is_err() });
    until("it is not run", || stand.at("stopped").exists()).await;
    fs::remove_file(stand.at("stop")).unwrap();
    assert_eq!(refused(&stand, 12).await, 0);
    assert!(!hanging.is_finished());
    hanging.abort();
    assert!(hanging.await.unwrap_err().is_cancelled());
}

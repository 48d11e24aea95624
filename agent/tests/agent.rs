//! The agent's program against a real NATS server; the tests play the coordinator.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by it too")]

#[path = "support/cluster.rs"]
mod cluster;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use cluster::{Cluster, PATIENCE, wait_for};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use windrow_common::units::Resources;
use windrow_common::wire::agent::{EndCause, Held, Report, SelfFence};
use windrow_common::wire::lease::{Lease, Order, Stop};

#[tokio::test]
async fn an_array_runs_and_its_output_arrives() {
    let mut cluster = Cluster::start().await;
    let _agent = cluster.start_agent(&[]);
    let register = cluster.accept(Vec::new()).await;
    assert_eq!((register.resources.cpu.0, register.resources.memory.0), (4000, 1024));
    assert_eq!(register.held, []);

    let script = "echo child $AWS_BATCH_JOB_ARRAY_INDEX of $AWS_BATCH_JOB_ARRAY_SIZE; exit $((AWS_BATCH_JOB_ARRAY_INDEX % 3))";
    let lease = cluster.lease(script, 20).await;
    let (ended, last) = cluster.ended(20).await;
    for (child, ended) in &ended {
        assert_eq!(ended.exit_code, Some((child % 3).try_into().unwrap()), "{ended:?}");
        assert_eq!(ended.cause, EndCause::Exited);
        let text = format!("child {child} of 20\n");
        assert_eq!(ended.log_bytes, text.len() as u64);
        assert_eq!(cluster.output(&lease, *child, ended.log_bytes).await, (text, 0));
    }
    cluster.order(&[], vec![Order::Confirm { upto: last }]).await;
    // A single job afterwards shows that the session lives on.
    cluster.lease("exit 9", 1).await;
    assert_eq!(cluster.ended(1).await.0[&0].exit_code, Some(9));
}

/// Fault 1.
#[tokio::test]
async fn a_killed_agent_adopts_what_runs_and_reports_it_once() {
    let mut cluster = Cluster::start().await;
    let mut agent = cluster.start_agent(&[]);
    cluster.accept(Vec::new()).await;
    let (started, release) = (cluster.scratch().join("started"), cluster.scratch().join("release"));
    let (started_path, release_path) = (started.display(), release.display());
    let script = format!(
        "echo before; touch {started_path}; until [ -e {release_path} ]; do sleep 0.05; done; echo after; exit 7"
    );
    let lease = cluster.lease(&script, 1).await;
    wait_for(&started).await;
    agent.signal(Signal::SIGKILL);
    agent.wait().await;

    let _agent = cluster.start_agent(&[]);
    let register = cluster.accept(Vec::new()).await;
    assert_eq!(
        register.held,
        [Held { lease: lease.id, children: vec![(0, 1)], job: Some(lease.job), lost: Vec::new() }]
    );
    let message = cluster.report().await;
    assert!(matches!(message.reports.as_slice(), [Report::Started { .. }]), "{message:?}");
    std::fs::write(&release, "").unwrap();
    let (ended, last) = cluster.ended(1).await;
    assert_eq!((ended[&0].exit_code, ended[&0].cause), (Some(7), EndCause::Exited));
    let output = cluster.output(&lease, 0, ended[&0].log_bytes).await;
    assert_eq!(output, ("before\nafter\n".to_owned(), 0));

    // Nothing comes a second time: the next report is of the next lease.
    cluster.order(&[], vec![Order::Confirm { upto: last }]).await;
    cluster.lease("exit 5", 1).await;
    assert_eq!(cluster.ended(1).await.0[&0].exit_code, Some(5));
}

#[tokio::test]
async fn results_are_sent_again_until_they_are_confirmed() {
    let mut cluster = Cluster::start().await;
    let mut agent = cluster.start_agent(&[]);
    cluster.accept(Vec::new()).await;
    let lease = cluster.lease("exit 4", 3).await;
    let (first, _) = cluster.ended(3).await;

    cluster.ask_to_register().await;
    let register = cluster.accept(Vec::new()).await;
    assert_eq!(
        register.held,
        [Held { lease: lease.id, children: vec![(0, 3)], job: Some(lease.job), lost: Vec::new() }]
    );
    let (again, _) = cluster.ended(3).await;
    assert_eq!(again, first);

    agent.signal(Signal::SIGKILL);
    agent.wait().await;
    let _agent = cluster.start_agent(&[]);
    cluster.accept(Vec::new()).await;
    let (again, last) = cluster.ended(3).await;
    assert_eq!(again, first);

    cluster.order(&[], vec![Order::Confirm { upto: last }]).await;
    // The answer to a later order shows that the one before it was carried out.
    cluster.lease("true", 1).await;
    let (_, last) = cluster.ended(1).await;
    cluster.order(&[], vec![Order::Confirm { upto: last }]).await;
    cluster.ask_to_register().await;
    let held = cluster.accept(Vec::new()).await.held;
    assert!(held.iter().all(|held| held.lease != lease.id), "{held:?}");
}

/// Fault 6: a coordinator dies with a registration in hand, and the next one asks for it at once. The
/// limit is well below the time that a request has.
#[tokio::test]
async fn a_registration_that_died_with_its_coordinator_is_repeated_for_the_next_one() {
    let mut cluster = Cluster::start().await;
    let _agent = cluster.start_agent(&[]);
    assert!(cluster.leave_unanswered(Duration::from_secs(30)).await);
    cluster.ask_to_register().await;
    assert!(cluster.leave_unanswered(Duration::from_secs(10)).await, "it asks again");
    cluster.ask_to_register().await;
    cluster.accept(Vec::new()).await;
    cluster.lease("true", 1).await;
    cluster.ended(1).await;
}

#[tokio::test]
async fn orders_to_stop_end_what_runs_and_what_waits() {
    let mut cluster = Cluster::start().await;
    let _agent = cluster.start_agent(&["stop_timeout=1s", "backlog_limit=1m"]);
    cluster.accept(Vec::new()).await;
    let started = cluster.scratch().join("started");
    let script = format!(
        "trap '' TERM; [ $AWS_BATCH_JOB_ARRAY_INDEX = 3 ] && touch {}; while :; do sleep 0.05; done",
        started.display()
    );
    let lease = cluster.lease(&script, 5).await;
    wait_for(&started).await;
    let stop = Stop { lease: lease.id, children: vec![(0, 5)] };
    cluster.order(&[], vec![Order::Stop(stop)]).await;
    let (ended, _) = cluster.ended(5).await;
    assert!(ended.values().all(|ended| ended.cause == EndCause::Stopped));
    assert_eq!((ended[&4].exit_code, ended[&4].started_at), (None, None));
    assert_eq!(ended[&0].exit_code, Some(128 + 9), "it does not heed SIGTERM");
}

#[tokio::test]
async fn a_stopped_agent_hands_everything_back_and_leaves() {
    let mut cluster = Cluster::start().await;
    let mut agent = cluster.start_agent(&["backlog_limit=1m"]);
    cluster.accept(Vec::new()).await;
    let started = cluster.scratch().join("started");
    let script = format!("touch {}-$AWS_BATCH_JOB_ARRAY_INDEX; sleep 1000", started.display());
    cluster.lease(&script, 6).await;
    for child in 0..4 {
        wait_for(&cluster.scratch().join(format!("started-{child}"))).await;
    }
    agent.signal(Signal::SIGTERM);
    let mut reports = Vec::new();
    while reports.last() != Some(&Report::Leaving) {
        reports.extend(cluster.report().await.reports);
    }
    let returned = reports
        .iter()
        .any(|report| matches!(report, Report::Returned { children, .. } if children == &[(4, 2)]));
    assert!(returned, "{reports:?}");
    let lost =
        |report: &&Report| matches!(report, Report::Ended(e) if e.cause == EndCause::HostLost);
    assert_eq!(reports.iter().filter(lost).count(), 4, "{reports:?}");
    assert_eq!(agent.wait().await, Some(0));
}

#[tokio::test]
async fn fenced_attempts_are_killed() {
    let mut cluster = Cluster::start().await;
    let _agent = cluster.start_agent(&[]);
    cluster.accept(Vec::new()).await;
    let pid = cluster.scratch().join("pid");
    let script = format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000", pid.display());
    let lease = cluster.lease(&script, 1).await;
    wait_for(&pid).await;
    let process = std::fs::read_to_string(&pid).unwrap();
    let process = std::path::PathBuf::from(format!("/proc/{}", process.trim()));

    cluster.ask_to_register().await;
    cluster
        .accept(vec![Held {
            lease: lease.id,
            children: vec![(0, 1)],
            job: Some(lease.job),
            lost: Vec::new(),
        }])
        .await;
    // The next lease needs the whole agent, so its result shows that the place was given up.
    cluster.lease("true", 4).await;
    let (ended, _) = cluster.ended(4).await;
    assert!(ended.values().all(|ended| ended.lease != lease.id));
    assert!(!process.exists());
}

/// Fault 25.
#[tokio::test]
async fn output_beyond_the_limits_is_left_out_and_counted() {
    let mut cluster = Cluster::start().await;
    let limits = ["logs.rate=1", "logs.burst=300000", "logs.size=250000"];
    let _agent = cluster.start_agent(&limits);
    cluster.accept(Vec::new()).await;
    let lease = cluster.lease("yes 123456789 | head -c 1000000", 1).await;
    let (ended, _) = cluster.ended(1).await;
    assert_eq!(ended[&0].log_bytes, 1_000_000);
    let (output, dropped) = cluster.output(&lease, 0, 1_000_000).await;
    assert_eq!(output, "123456789\n".repeat(25_000));
    assert_eq!(dropped, 750_000);
}

/// Fault 26: bytes that are no text, and never the end of a line.
#[tokio::test]
async fn a_line_of_100_mb_is_shipped_in_parts_with_little_memory() {
    let mut cluster = Cluster::start().await;
    let limits = ["logs.rate=1000000000", "logs.burst=1000000000", "logs.size=20000000"];
    let agent = cluster.start_agent(&limits);
    cluster.accept(Vec::new()).await;
    let before = agent.peak_memory();
    let script = r"head -c 100000000 /dev/zero | tr '\0' '\377'";
    let lease = cluster.lease(script, 1).await;
    let (ended, _) = cluster.ended(1).await;
    assert_eq!((ended[&0].log_bytes, ended[&0].exit_code), (100_000_000, Some(0)));
    let (output, dropped) = cluster.output_bytes(&lease, 0, 100_000_000).await;
    assert_eq!((output.len(), dropped), (20_000_000, 80_000_000));
    assert!(output.iter().all(|byte| *byte == 0xff));
    let grown = agent.peak_memory() - before;
    assert!(grown < 32_000, "{grown} KiB for a line of 100 MB");
}

#[tokio::test]
async fn output_is_shipped_after_a_restart() {
    let mut cluster = Cluster::start().await;
    let mut agent = cluster.start_agent(&[]);
    cluster.accept(Vec::new()).await;
    let (shipped, release) = (cluster.scratch().join("shipped"), cluster.scratch().join("release"));
    let (shipped_path, release_path) = (shipped.display(), release.display());
    let script = format!(
        "yes first | head -n 50000; until [ -e {shipped_path} ]; do sleep 0.05; done
        yes second | head -n 50000; touch {release_path}"
    );
    let lease = cluster.lease(&script, 1).await;
    cluster.output(&lease, 0, 300_000).await;
    agent.signal(Signal::SIGKILL);
    agent.wait().await;
    // The job goes on and ends while no agent is there.
    std::fs::write(&shipped, "").unwrap();
    wait_for(&release).await;

    let _agent = cluster.start_agent(&[]);
    cluster.accept(Vec::new()).await;
    let (ended, _) = cluster.ended(1).await;
    assert_eq!(ended[&0].log_bytes, 650_000);
    let (output, dropped) = cluster.output(&lease, 0, 650_000).await;
    assert_eq!(output, "first\n".repeat(50_000) + &"second\n".repeat(50_000));
    assert_eq!(dropped, 0);
}

#[tokio::test]
async fn jobs_get_gpus_of_their_own_and_wait_for_them() {
    let mut cluster = Cluster::start().await;
    let tool = cluster.scratch().join("list-gpus");
    let lines = "echo '0, GPU-a, Model T, 1024'; echo '1, GPU-b, Model T, 1024'";
    std::fs::write(&tool, format!("#!/bin/sh\n{lines}\n")).unwrap();
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = format!("resources.gpu_program={}", tool.display());
    let settings = [&*program, "backlog_limit=1m"];
    let mut agent = cluster.start_agent(&settings);
    let register = cluster.accept(Vec::new()).await;
    let ids: Vec<_> = register.gpus.iter().map(|gpu| gpu.id.as_str()).collect();
    assert_eq!((ids, register.resources.gpu), (vec!["GPU-a", "GPU-b"], 2));

    let scratch = cluster.scratch().to_owned();
    let script = format!(
        "echo $CUDA_VISIBLE_DEVICES >{0}/$AWS_BATCH_JOB_ARRAY_INDEX; \
         until [ -e {0}/go-$AWS_BATCH_JOB_ARRAY_INDEX ]; do sleep 0.05; done",
        scratch.display()
    );
    let shown = |child: u32| std::fs::read_to_string(scratch.join(child.to_string()));
    let one = Resources::new(100, 1).with_gpu(1);
    let lease = cluster.lease_with(&script, 3, one).await;
    let other = cluster.lease("echo cuda=$CUDA_VISIBLE_DEVICES", 1).await;
    // A job without a GPU passes the third, and sees none.
    let ended = cluster.ended(1).await.0;
    let output = cluster.output(&other, 0, ended[&0].log_bytes).await;
    assert_eq!(output.0, "cuda=\n");
    wait_for(&scratch.join("0")).await;
    wait_for(&scratch.join("1")).await;
    assert!(shown(2).is_err(), "it waits for a GPU");

    // Over a restart of the agent the first two keep what they have.
    agent.signal(Signal::SIGKILL);
    agent.wait().await;
    let _agent = cluster.start_agent(&settings);
    cluster.accept(Vec::new()).await;
    std::fs::write(scratch.join("go-1"), "").unwrap();
    wait_for(&scratch.join("2")).await;
    for child in [0, 2] {
        std::fs::write(scratch.join(format!("go-{child}")), "").unwrap();
    }
    let mut ended = BTreeSet::new();
    while ended.len() < 3 {
        for report in cluster.report().await.reports {
            if let Report::Ended(one) = report
                && one.lease == lease.id
            {
                ended.insert(one.child);
            }
        }
    }
    let all: Vec<_> = (0..3).map(|child| shown(child).unwrap()).collect();
    assert_eq!(all, ["GPU-a\n", "GPU-b\n", "GPU-b\n"]);
}

/// Fault 5: what the agent says does not arrive, so nothing is answered.
#[tokio::test]
async fn an_agent_that_is_not_answered_stops_its_jobs_itself() {
    let mut cluster = Cluster::start().await;
    let _agent = cluster.start_agent(&[]);
    let fence = SelfFence { stop_after_millis: 1500, kill_after_millis: None };
    cluster.agree(Vec::new(), Some(fence)).await;
    let lease = cluster.lease("exec sleep 1000", 1).await;
    let register = cluster.accept(Vec::new()).await;
    assert_eq!(register.held[0].lost, [(0, 1)]);
    let (ended, _) = cluster.ended(1).await;
    assert_eq!((ended[&0].lease, ended[&0].cause), (lease.id, EndCause::HostLost));
    assert_eq!(ended[&0].reason.as_deref(), Some("no coordinator could be reached"));
}

#[tokio::test]
async fn an_agent_that_stood_still_kills_first_and_obeys_no_old_orders() {
    let mut cluster = Cluster::start().await;
    let agent = cluster.start_agent(&[]);
    let fence = SelfFence { stop_after_millis: 2000, kill_after_millis: Some(2500) };
    cluster.agree(Vec::new(), Some(fence)).await;
    let (started, old) = (cluster.scratch().join("started"), cluster.scratch().join("old"));
    let script = format!("trap '' TERM; touch {}; sleep 1000 & wait; wait", started.display());
    let lease = cluster.lease(&script, 1).await;
    wait_for(&started).await;
    agent.signal(Signal::SIGSTOP);
    cluster.lease(&format!("touch {}", old.display()), 1).await;
    // How long it stands still is what the story is about.
    tokio::time::sleep(Duration::from_millis(2600)).await;
    agent.signal(Signal::SIGCONT);
    let register = cluster.accept(Vec::new()).await;
    let held: Vec<_> = register.held.iter().map(|held| held.lease).collect();
    assert_eq!(held, [lease.id], "the order that waited was not taken");
    let (ended, _) = cluster.ended(1).await;
    assert_eq!((ended[&0].lease, ended[&0].cause), (lease.id, EndCause::HostLost));
    assert!(!old.exists());
}

/// An agent that stands still ends nothing. Its keeper does, by the time that others may begin.
#[tokio::test]
async fn jobs_of_an_agent_that_stands_still_are_ended_by_its_keeper() {
    let mut cluster = Cluster::start().await;
    let agent = cluster.start_agent(&[]);
    let (lease, groups) = stubborn_jobs(&mut cluster).await;
    agent.signal(Signal::SIGSTOP);
    for group in groups {
        wait_until_gone(group).await;
    }
    agent.signal(Signal::SIGCONT);
    cluster.accept(Vec::new()).await;
    let (ended, _) = cluster.ended(2).await;
    assert!(ended.values().all(|one| (one.lease, one.cause) == (lease.id, EndCause::HostLost)));
    assert_eq!(ended[&0].reason.as_deref(), Some("no coordinator could be reached"));
    // What was agreed then holds no longer.
    cluster.lease("exit 9", 1).await;
    assert_eq!(cluster.ended(1).await.0[&0].exit_code, Some(9));
}

/// The same of one that was killed.
#[tokio::test]
async fn jobs_of_a_killed_agent_are_ended_by_its_keeper() {
    let mut cluster = Cluster::start().await;
    let mut agent = cluster.start_agent(&[]);
    let (lease, groups) = stubborn_jobs(&mut cluster).await;
    agent.signal(Signal::SIGKILL);
    agent.wait().await;
    for group in groups {
        wait_until_gone(group).await;
    }
    let _agent = cluster.start_agent(&[]);
    let register = cluster.accept(Vec::new()).await;
    assert_eq!(register.held.len(), 1, "{register:?}");
    let (ended, _) = cluster.ended(2).await;
    assert!(ended.values().all(|one| (one.lease, one.cause) == (lease.id, EndCause::HostLost)));
}

/// Two jobs that ignore SIGTERM, under a strict policy, and their process groups.
async fn stubborn_jobs(cluster: &mut Cluster) -> (Lease, Vec<Pid>) {
    let fence = SelfFence { stop_after_millis: 3000, kill_after_millis: Some(6000) };
    cluster.agree(Vec::new(), Some(fence)).await;
    let directory = cluster.scratch().to_owned();
    let script = format!(
        "trap '' TERM; echo $$ > {0}/new-$AWS_BATCH_JOB_ARRAY_INDEX; mv {0}/new-$AWS_BATCH_JOB_ARRAY_INDEX {0}/job-$AWS_BATCH_JOB_ARRAY_INDEX; while :; do sleep 0.1; done",
        directory.display()
    );
    let lease = cluster.lease(&script, 2).await;
    let mut groups = Vec::new();
    for index in 0..2 {
        let file = directory.join(format!("job-{index}"));
        wait_for(&file).await;
        let pid = std::fs::read_to_string(file).unwrap();
        groups.push(Pid::from_raw(pid.trim().parse().unwrap()));
    }
    (lease, groups)
}

async fn wait_until_gone(group: Pid) {
    let gone = async {
        while killpg(group, None).is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the keeper ends it");
}

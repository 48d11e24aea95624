//! Scheduling policies and shares, through the real programs, as a user types them.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use windrow_tests::{Cluster, wait_until};

#[test]
fn a_queue_is_divided_into_shares_and_knows_whose_jobs_are_whose() {
    let cluster = Cluster::start();
    let policy = ["policy", "create", "teams", "--share", "research=0.5", "--share", "web*=2"];
    cluster.windrow(&[&policy[..], &["--decay-seconds", "3600"]].concat()).ok();
    let table = cluster.windrow(&["policy", "list"]).ok();
    assert!(table.contains("research=0.5,web*=2"), "{table}");
    cluster.windrow(&["queue", "create", "shared", "--policy", "teams"]).ok();
    let queue = cluster.windrow(&["queue", "get", "shared", "-o", "json"]).json();
    let arn = queue["jobQueues"][0]["schedulingPolicyArn"].as_str().unwrap().to_owned();
    assert!(arn.ends_with("scheduling-policy/teams"), "{arn}");
    let table = cluster.windrow(&["queue", "list"]).ok();
    assert!(table.contains("teams"), "{table}");

    let job = ["--queue", "shared", "--share", "research", "--priority", "7", "--", "true"];
    let job = cluster.submit(&job);
    let other = cluster.submit(&["--queue", "shared", "--share", "web1", "--", "true"]);
    let detail = cluster.ended(&job, 60);
    assert_eq!(detail["status"], "SUCCEEDED", "{detail:#}");
    assert_eq!(
        (&detail["shareIdentifier"], &detail["schedulingPriority"]),
        (&"research".into(), &7.into())
    );
    let shown = cluster.windrow(&["job", "get", &job]).ok();
    assert!(shown.contains("research, priority 7"), "{shown}");
    let listed = |share: &str| cluster.windrow(&["job", "list", "--share", share, "-q"]).ok();
    assert_eq!((listed("research"), listed("web1"), listed("web")), (job, other, String::new()));

    let refused = cluster.windrow(&["submit", "--queue", "shared", "--", "true"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("`shared` has a fair-share scheduling policy"), "{refused:?}");
    assert!(refused.stderr.contains("--share NAME"), "{refused:?}");
    let refused = cluster.windrow(&["policy", "delete", "teams"]);
    assert_eq!(refused.code, 6, "{refused:?}");
    assert!(refused.stderr.contains("used by job queue `shared`"), "{refused:?}");
    // The same by its ARN.
    assert_eq!(cluster.windrow(&["policy", "delete", &arn]).code, 6);
}

#[test]
fn a_policy_changes_where_it_is_told_to_and_goes_when_no_queue_has_it() {
    let cluster = Cluster::start();
    let create = ["policy", "create", "p", "--share", "a=1", "--share", "b=2"];
    cluster.windrow(&[&create[..], &["--reservation", "10"]].concat()).ok();
    let update = ["policy", "update", "p", "--share", "b=4", "--share", "c=0.25"];
    cluster.windrow(&[&update[..], &["--remove-share", "a"]].concat()).ok();
    let shown = cluster.windrow(&["policy", "get", "p", "-o", "json"]).json();
    let fair = &shown["schedulingPolicies"][0]["fairsharePolicy"];
    assert_eq!(fair["computeReservation"], 10);
    let shares = fair["shareDistribution"].as_array().unwrap();
    let shares: Vec<_> =
        shares.iter().map(|s| (&s["shareIdentifier"], &s["weightFactor"])).collect();
    assert_eq!(shares, [(&"b".into(), &4.0.into()), (&"c".into(), &0.25.into())]);
    assert_eq!(cluster.windrow(&["policy", "update", "p", "--remove-share", "a"]).code, 4);
    assert_eq!(cluster.windrow(&["policy", "update", "p"]).code, 2);

    cluster.windrow(&["policy", "create", "other"]).ok();
    cluster.windrow(&["queue", "create", "q", "--policy", "p"]).ok();
    cluster.windrow(&["queue", "update", "q", "--policy", "other"]).ok();
    cluster.windrow(&["policy", "delete", "p"]).ok();
    let missing = cluster.windrow(&["policy", "describe", "p"]);
    assert_eq!(missing.code, 4, "{missing:?}");
    assert_eq!(cluster.windrow(&["policy", "list", "-q"]).ok(), "other");

    cluster.windrow(&["policy", "create", "parts", "--quota"]).ok();
    cluster.windrow(&["queue", "create", "parted", "--policy", "parts"]).ok();
    cluster.windrow(&["quota-share", "create", "parted/vision", "--limit", "VCPU=2"]).ok();
    let refused = cluster.windrow(&["policy", "update", "parts", "--share", "a=1"]);
    assert!(refused.stderr.contains("for quota shares"), "{refused:?}");
    let both = cluster.windrow(&["policy", "create", "x", "--quota", "--share", "a=1"]);
    assert_eq!(both.code, 2, "{both:?}");
}

#[test]
fn the_priority_of_a_definition_counts_unless_a_job_says_otherwise() {
    let cluster = Cluster::start();
    cluster.windrow(&["policy", "create", "p"]).ok();
    cluster.windrow(&["queue", "create", "q", "--policy", "p"]).ok();
    cluster.windrow(&["jobdef", "register", "d", "--priority", "3", "--", "true"]).ok();
    let submit = ["--queue", "q", "--share", "a", "--job-definition", "d"];
    let plain = cluster.submit(&submit);
    let higher = cluster.submit(&[&submit[..], &["--priority", "9"]].concat());
    assert_eq!(cluster.job(&plain)["schedulingPriority"], 3);
    assert_eq!(cluster.job(&higher)["schedulingPriority"], 9);
    let plan = cluster.windrow(&["plan", "--queue", "q", "--", "true"]);
    assert!(plan.stderr.contains("shareIdentifier must be given"), "{plan:?}");
    cluster.windrow(&["run", "--queue", "q", "--share", "a", "--priority", "1", "--", "true"]).ok();
}

#[test]
fn a_quota_share_is_made_used_changed_and_deleted() {
    let cluster = Cluster::start();
    cluster.windrow(&["policy", "create", "parts", "--quota", "--tag", "team=a"]).ok();
    assert_eq!(cluster.windrow(&["tag", "list", "policy/parts", "-q"]).ok(), "team");
    cluster.windrow(&["queue", "create", "parted", "--policy", "parts"]).ok();
    let share = |verb: &str, flags: &[&str]| {
        cluster.windrow(&[&["quota-share", verb, "parted/vision"][..], flags].concat())
    };
    share("create", &["--limit", "VCPU=1", "--strategy", "lend"]).ok();
    let submit = ["--queue", "parted", "--quota-share", "vision", "--vcpus", "1", "--memory", "16"];
    let sleeps = [&submit[..], &["--", "sleep", "300"]].concat();
    let (runs, waits) = (cluster.submit(&sleeps), cluster.submit(&sleeps));
    wait_until("the first job to run", 30, || {
        (cluster.job(&runs)["status"] == "RUNNING").then_some(())
    });
    let table = cluster.windrow(&["quota-share", "list", "parted"]).ok();
    assert!(table.contains("VCPU=1") && table.contains("LEND"), "{table}");
    let why = cluster.windrow(&["job", "why", &waits, "-o", "json"]).json();
    assert_eq!(why["code"], "QUOTA", "{why:#}");
    cluster.windrow(&["job", "update", &waits, "--priority", "7"]).ok();
    assert_eq!(cluster.job(&waits)["schedulingPriority"], 7);

    share("update", &["--limit", "VCPU=2"]).ok();
    wait_until("the second job to run", 30, || {
        (cluster.job(&waits)["status"] == "RUNNING").then_some(())
    });
    assert_eq!(share("delete", &[]).code, 6, "it is ENABLED");
    share("update", &["--disable"]).ok();
    let refused = cluster.windrow(&[&["submit"][..], &submit, &["--", "true"]].concat());
    assert!(refused.stderr.contains("DISABLED"), "{refused:?}");
    share("delete", &[]).ok();
    for job in [runs, waits] {
        assert_eq!(cluster.ended(&job, 60)["status"], "FAILED", "it goes with its share");
    }
    wait_until("the share to be gone", 30, || (share("get", &[]).code == 4).then_some(()));
}

#[test]
fn a_queue_ends_a_job_that_blocks_it_for_too_long() {
    let cluster = Cluster::start();
    let too_large = "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT=1";
    cluster.windrow(&["queue", "update", "default", "--time-limit-action", too_large]).ok();
    let job = cluster.submit(&["--vcpus", "1000", "--", "true"]);
    let ended = cluster.ended(&job, 60);
    let reason = ended["statusReason"].as_str().unwrap();
    assert!(reason.starts_with("Canceled by JobStateTimeLimit action due to reason"), "{reason}");
    cluster.windrow(&["queue", "update", "default", "--no-time-limit-actions"]).ok();
    let queue = cluster.windrow(&["queue", "get", "default", "-o", "json"]).json();
    assert!(queue["jobQueues"][0]["jobStateTimeLimitActions"].is_null(), "{queue:#}");
}

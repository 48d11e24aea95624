//! Scheduling policies: what can be made, changed and given to queues, and what jobs then need.

use windrow_common::api::ErrorKind;
use windrow_common::api::jobs::{KeyValuesPair, ListJobs, SubmitJob};
use windrow_common::api::policies::{
    CreateSchedulingPolicy, DeleteSchedulingPolicy, DescribeSchedulingPolicies, FairsharePolicy,
    ListSchedulingPolicies, ShareAttributes, UpdateSchedulingPolicy, WeightFactor,
};
use windrow_common::api::resources::{CreateJobQueue, DescribeJobQueues, UpdateJobQueue};
use windrow_common::ids::JobId;

use crate::core::Command;
use crate::core::world::{World, queue_request};
use crate::view;

fn weight(share: &str, weight: u32) -> ShareAttributes {
    ShareAttributes { share_identifier: share.into(), weight_factor: Some(WeightFactor(weight)) }
}

fn fair(entries: &[(&str, u32)]) -> FairsharePolicy {
    let entries = entries.iter().map(|(share, factor)| weight(share, *factor));
    FairsharePolicy { share_distribution: entries.collect(), ..FairsharePolicy::default() }
}

#[test]
fn a_policy_is_given_at_creation_exchanged_and_never_taken_away() {
    let mut w = World::new();
    w.policy("p", fair(&[("a", 5000)]));
    w.policy("other", fair(&[]));
    w.fair_queue("shared", "p");
    let refused = w.refused(Command::UpdateQueue(UpdateJobQueue {
        job_queue: "q".into(),
        scheduling_policy_arn: Some("p".into()),
        ..Default::default()
    }));
    assert!(refused.message.contains("created without a scheduling policy"), "{refused:?}");
    let delete = |arn: &str| Command::DeletePolicy(DeleteSchedulingPolicy { arn: arn.into() });
    let refused = w.refused(delete("p"));
    assert!(refused.message.contains("used by job queue `shared`"), "{refused:?}");
    w.does(Command::UpdateQueue(UpdateJobQueue {
        job_queue: "shared".into(),
        scheduling_policy_arn: Some(
            "arn:aws:batch:local:000000000000:scheduling-policy/other".into(),
        ),
        ..Default::default()
    }));
    w.does(delete("p"));
    assert_eq!(w.refused(delete("p")).kind, ErrorKind::NotFound);
    let queues = view::describe_queues(&w.state, &DescribeJobQueues::default()).unwrap();
    let arns: Vec<_> = queues.job_queues.iter().map(|q| q.scheduling_policy_arn.clone()).collect();
    let other = "arn:aws:batch:local:000000000000:scheduling-policy/other".to_owned();
    assert_eq!(arns, [None, Some(other.clone())]);
    let listed = view::list_policies(&w.state, &ListSchedulingPolicies::default()).unwrap();
    assert_eq!(listed.scheduling_policies.len(), 1);
    assert_eq!(listed.scheduling_policies[0].arn, other);
    w.check_replay();
}

#[test]
fn a_policy_shows_what_it_was_given_and_an_update_replaces_all_of_it() {
    let mut w = World::new();
    let given = FairsharePolicy {
        share_decay_seconds: Some(3600),
        compute_reservation: Some(50),
        share_distribution: vec![weight("a", 1250), weight("team*", 20_000)],
    };
    w.policy("p", given.clone());
    let show = |w: &World| {
        let request = DescribeSchedulingPolicies { arns: vec!["p".into(), "unknown".into()] };
        let mut shown = view::describe_policies(&w.state, &request).unwrap().scheduling_policies;
        assert_eq!(shown.len(), 1);
        shown.remove(0).fairshare_policy.unwrap()
    };
    assert_eq!(show(&w), given);
    let update = Command::UpdatePolicy(UpdateSchedulingPolicy {
        arn: "p".into(),
        fairshare_policy: Some(fair(&[("b", 10_000)])),
        quota_share_policy: None,
    });
    w.does(update);
    assert_eq!(show(&w).share_distribution, [weight("b", 10_000)]);
    assert_eq!(show(&w).compute_reservation, Some(0));
    w.check_replay();
}

#[test]
fn wrong_policies_are_refused_with_what_is_wrong() {
    let mut w = World::new();
    let wrong = [
        (FairsharePolicy { share_decay_seconds: Some(604_801), ..fair(&[]) }, "604800"),
        (FairsharePolicy { compute_reservation: Some(100), ..fair(&[]) }, "from 0 to 99"),
        (fair(&[("UserA*", 1), ("UserA1", 1)]), "`UserA1` overlaps `UserA*`"),
        (fair(&[("UserA1", 1), ("UserA*", 1)]), "`UserA*` overlaps `UserA1`"),
        (fair(&[("User*", 1), ("UserA*", 1)]), "overlaps"),
        (fair(&[("a", 1), ("a", 1)]), "overlaps"),
        (fair(&[("*", 1)]), "shareIdentifier"),
        (fair(&[("a.b", 1)]), "shareIdentifier"),
    ];
    for (policy, text) in wrong {
        let command = Command::CreatePolicy(CreateSchedulingPolicy {
            name: "p".into(),
            fairshare_policy: Some(policy),
            ..Default::default()
        });
        let refused = w.refused(command);
        assert!(refused.message.contains(text), "{refused:?}");
    }
    let none = CreateSchedulingPolicy { name: "p".into(), ..Default::default() };
    assert!(w.refused(Command::CreatePolicy(none)).message.contains("fairsharePolicy"));
    let queue = CreateJobQueue { scheduling_policy_arn: Some("p".into()), ..queue_request("x", 1) };
    assert_eq!(w.refused(Command::CreateQueue(queue)).kind, ErrorKind::NotFound);
}

#[test]
fn a_job_names_its_share_where_there_are_shares_and_nowhere_else() {
    let mut w = World::new();
    w.policy("p", fair(&[]));
    w.fair_queue("shared", "p");
    let submit = |queue: &str, share: Option<&str>, priority: Option<u32>| Command::Submit {
        id: JobId::from_u128(99),
        request: Box::new(SubmitJob {
            job_name: "j".into(),
            job_queue: queue.into(),
            job_definition: "d".into(),
            share_identifier: share.map(str::to_owned),
            scheduling_priority_override: priority,
            ..Default::default()
        }),
    };
    for (command, text) in [
        (submit("shared", None, None), "shareIdentifier must be given"),
        (submit("q", Some("a"), None), "has no fair-share scheduling policy"),
        (submit("shared", Some("a b"), None), "shareIdentifier"),
        (submit("shared", Some("a"), Some(10_000)), "from 0 to 9999"),
    ] {
        let refused = w.refused(command);
        assert!(refused.message.contains(text), "{refused:?}");
    }
    w.does(submit("shared", Some("a"), Some(7)));
    let detail = w.detail(JobId::from_u128(99));
    assert_eq!(detail.share_identifier.as_deref(), Some("a"));
    assert_eq!(detail.scheduling_priority, Some(7));
    w.check_replay();
}

#[test]
fn the_jobs_of_a_share_are_listed_by_the_status_asked_for() {
    let mut w = World::new();
    w.policy("p", fair(&[]));
    w.fair_queue("shared", "p");
    for (number, share) in [(1, "a"), (2, "b"), (3, "a")] {
        w.does(Command::Submit {
            id: JobId::from_u128(number),
            request: Box::new(SubmitJob {
                job_name: "j".into(),
                job_queue: "shared".into(),
                job_definition: "d".into(),
                share_identifier: Some(share.into()),
                ..Default::default()
            }),
        });
    }
    let list = |share: &str, status: Option<&str>| {
        let filter =
            KeyValuesPair { name: "SHARE_IDENTIFIER".into(), values: vec![share.to_owned()] };
        let request = ListJobs {
            job_queue: Some("shared".into()),
            job_status: status.map(str::to_owned),
            filters: vec![filter],
            ..Default::default()
        };
        let rows = view::list_jobs(&w.state, &request, w.now).unwrap().job_summary_list;
        rows.into_iter().map(|row| row.job_id).collect::<Vec<_>>()
    };
    let ids = |numbers: &[u128]| {
        numbers.iter().map(|n| JobId::from_u128(*n).to_string()).collect::<Vec<_>>()
    };
    assert_eq!(list("a", Some("RUNNABLE")), ids(&[3, 1]));
    assert_eq!(list("b", Some("ALL")), ids(&[2]));
    assert_eq!(list("c", Some("ALL")), ids(&[]));
    assert_eq!(list("a", None), ids(&[]), "by default only those that run");
}

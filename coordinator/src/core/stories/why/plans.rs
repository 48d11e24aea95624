//! Where a submission would go.

use windrow_common::api::explain::{PlanJob, PlanJobResponse, WaitCode};
use windrow_common::api::jobs::{JobStatus, SubmitJob};
use windrow_common::api::quota::ResourceSharingStrategy;

use super::causes::needs;
use super::explain;
use crate::core::limits::Limits;
use crate::core::world::{World, name, on};
use crate::view;

fn plan(w: &World, job: SubmitJob) -> PlanJobResponse {
    let before = w.state.clone();
    let request = PlanJob { job, definition: None };
    let planned = view::plan_job(&w.state, &Limits::default(), &request, w.now).unwrap();
    assert!(w.state == before, "a plan changes nothing");
    planned
}

#[test]
fn a_plan_says_where_a_job_would_go_or_why_not() {
    let mut w = World::new();
    let why = plan(&w, w.request()).explanation.unwrap();
    assert_eq!(why.code, WaitCode::NoAgent);
    w.agent("a", 2);
    let planned = plan(&w, w.request());
    assert!(planned.starts_now, "{planned:?}");
    assert_eq!(planned.agents, ["a"]);
    assert_eq!(planned.job.job_name, "j");
    let job = w.job();
    assert_eq!(w.status(job), JobStatus::Starting, "and so it does");
    // Behind what waits already.
    needs(&mut w, "2", "100");
    let planned = plan(&w, w.request());
    let why = planned.explanation.unwrap();
    assert_eq!((why.code, why.position), (WaitCode::Reservation, Some(2)));
    let job = w.job();
    assert_eq!(explain(&w, job.into()).code, WaitCode::Reservation, "and so it is");
    // Dependencies are followed.
    let waits = SubmitJob { depends_on: on(job), ..w.request() };
    assert_eq!(plan(&w, waits).explanation.unwrap().code, WaitCode::DependencyPending);
    // What would be refused is refused.
    let request =
        PlanJob { job: SubmitJob { job_queue: "nowhere".into(), ..w.request() }, definition: None };
    let refused = view::plan_job(&w.state, &Limits::default(), &request, w.now).unwrap_err();
    assert_eq!(refused.message, "JobQueue nowhere not found.");
}

#[test]
fn a_plan_may_bring_its_definition() {
    let mut w = World::new();
    w.agent("a", 2);
    let definition = Some(w.image_definition("new"));
    let job = SubmitJob { job_definition: "new".into(), ..w.request() };
    let request = PlanJob { job, definition };
    let planned = view::plan_job(&w.state, &Limits::default(), &request, w.now).unwrap();
    assert_eq!(planned.explanation.unwrap().code, WaitCode::Constraint);
    assert!(!w.state.definitions.contains_key(&name("new")));
}

#[test]
fn a_plan_knows_for_whom_others_make_room() {
    let mut w = World::new();
    w.quota_queue();
    w.quota_share("owner", 2, ResourceSharingStrategy::Lend);
    w.quota_share("other", 1, ResourceSharingStrategy::LendAndBorrow);
    w.definition("large", "2", "100");
    let agent = w.agent("a", 3);
    for _ in 0..2 {
        let request = w.shared("other");
        w.submit(request);
    }
    w.start_all(&agent);
    w.submit(SubmitJob { job_definition: "large".into(), ..w.shared("owner") });
    assert_eq!(w.state.preemptions.len(), 1);
    let planned = plan(&w, w.request());
    assert_eq!(planned.explanation.map(|why| why.code), Some(WaitCode::Reservation));
    let job = w.job();
    assert_eq!(explain(&w, job.into()).code, WaitCode::Reservation, "and so it is");
}

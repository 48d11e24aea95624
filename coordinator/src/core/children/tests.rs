//! Every arrow of the life of a child, and the missing ones.

use super::*;

fn attempt(exit_code: i32) -> Attempt {
    Attempt {
        agent: 0,
        started_at: Some(Timestamp(1)),
        ended_at: Timestamp(2),
        exit_code: Some(exit_code),
        status_reason: None,
        reason: None,
        log_bytes: 0,
        containers: None,
    }
}

fn counts_hold(children: &Children) {
    assert_eq!(children.counts, children.recount());
}

#[test]
fn a_million_untried_children_are_ranges() {
    let mut children = Children::new(1_000_000);
    children.admit();
    children.release(std::slice::from_ref(&(0..1_000_000)));
    assert_eq!(children.runnable_count(), 1_000_000);
    assert!(children.chunks.is_empty());
    assert_eq!(children.next_runnable(10), Some((0..10, 1)));
}

#[test]
fn every_transition_keeps_the_counts() {
    let mut children = Children::new(600);
    counts_hold(&children);
    children.admit();
    children.release(&[0..300, 400..600]);
    counts_hold(&children);
    children.lease(0..4, LeaseId(1));
    children.start(0, Timestamp(5));
    children.give_back(1);
    children.retry(2, attempt(1), true, None);
    children.end(3, attempt(0), true);
    counts_hold(&children);
    assert_eq!(children.status(1), JobStatus::Runnable);
    assert_eq!(children.next_runnable(9), Some((2..3, 2)), "retries go first");
    children.fail_idle(
        std::slice::from_ref(&(0..600)),
        &NeverRan { reason: "no more".into(), at: Timestamp(9) },
    );
    counts_hold(&children);
    assert_eq!(children.status(0), JobStatus::Running);
    assert_eq!(children.status(2), JobStatus::Failed);
    assert_eq!(children.status(350), JobStatus::Failed);
    assert_eq!(children.count(JobStatus::Failed), 598);
    children.end(0, attempt(0), true);
    assert!(children.all_ended());
}

#[test]
fn transitions_that_do_not_exist_change_nothing() {
    let mut children = Children::new(2);
    children.admit();
    children.release(std::slice::from_ref(&(0..1)));
    let before = children.clone();
    children.start(0, Timestamp(1));
    children.give_back(0);
    children.retry(1, attempt(1), true, None);
    children.end(1, attempt(0), true);
    assert_eq!(children, before);
    children.lease(0..1, LeaseId(1));
    children.end(0, attempt(0), true);
    let ended = children.clone();
    children.start(0, Timestamp(1));
    children.end(0, attempt(1), false);
    children.retry(0, attempt(1), true, None);
    assert_eq!(children, ended, "terminal is final");
}

#[test]
fn pending_and_idle_parts_are_exact() {
    let mut children = Children::new(1000);
    children.admit();
    children.release(&[10..20, 500..510]);
    children.lease(10..12, LeaseId(1));
    assert_eq!(children.pending_in(std::slice::from_ref(&(5..25))), vec![5..10, 20..25]);
    assert_eq!(children.idle_in(std::slice::from_ref(&(5..25))), vec![5..10, 12..25]);
}

#[test]
fn a_child_that_backs_off_is_runnable_and_not_leased_before_its_time() {
    let mut children = Children::new(3);
    children.admit();
    children.release(std::slice::from_ref(&(0..3)));
    children.lease(0..3, LeaseId(1));
    children.retry(0, attempt(1), true, Some(Timestamp(20)));
    children.retry(2, attempt(1), true, Some(Timestamp(10)));
    counts_hold(&children);
    assert_eq!((children.status(0), children.runnable_count()), (JobStatus::Runnable, 0));
    assert_eq!((children.readiness(), children.next_runnable(9)), (None, None));
    assert_eq!(children.next_back_off_end(), Some(Timestamp(10)));
    assert!(children.back_off_over(Timestamp(9), 9).is_empty());
    assert_eq!(children.back_off_over(Timestamp(20), 1), vec![2..3]);
    children.end_back_off(&[2..3, 1..2]);
    assert_eq!(children.next_runnable(9), Some((2..3, 2)));
    let all = 0..3;
    assert_eq!(children.idle_in(std::slice::from_ref(&all)), vec![0..1, 2..3]);
    let ended = NeverRan { reason: "no more".into(), at: Timestamp(9) };
    children.fail_idle(std::slice::from_ref(&all), &ended);
    counts_hold(&children);
    assert_eq!((children.status(0), children.next_back_off_end()), (JobStatus::Failed, None));
}

#[test]
fn looks_by_status_find_every_child_once() {
    let mut children = Children::new(1000);
    let failed = NeverRan { reason: "no".into(), at: Timestamp(9) };
    let found = |children: &Children, status| {
        let (mut all, mut from) = (Vec::new(), Some(0));
        while let Some(start) = from {
            let (ranges, next) = children.with_status(status, start);
            all.extend(ranges.into_iter().flatten());
            from = next;
        }
        all
    };
    let check = |children: &Children| {
        for status in JobStatus::ALL {
            let walked: Vec<u32> =
                (0..1000).filter(|child| children.status(*child) == status).collect();
            assert_eq!(found(children, status), walked, "{status}");
        }
    };
    check(&children);
    children.admit();
    children.release(&[0..300, 700..900]);
    check(&children);
    children.lease(0..4, LeaseId(1));
    children.start(0, Timestamp(5));
    children.retry(1, attempt(1), true, None);
    children.end(2, attempt(0), true);
    children.fail_idle(&[290..310, 890..1000], &failed);
    check(&children);
}

#[test]
fn a_rerun_in_place_reopens_what_failed_and_nothing_else() {
    let mut children = Children::new(1000);
    children.admit();
    children.release(std::slice::from_ref(&(0..500)));
    children.lease(0..3, LeaseId(1));
    children.retry(0, attempt(1), true, None);
    children.lease(0..1, LeaseId(2));
    for (child, succeeded) in [(0, false), (1, true), (2, false)] {
        children.end(child, attempt(1), succeeded);
    }
    let ended = NeverRan { reason: "no more".into(), at: Timestamp(9) };
    children.fail_idle(&[3..10, 990..1000], &ended);
    let all = 0..1000;
    assert_eq!(children.failed_in(&all), vec![0..1, 2..10, 990..1000]);
    assert_eq!(children.failed_in(&(5..995)), vec![5..10, 990..995]);
    children.reopen(&[0..10, 995..2000]);
    counts_hold(&children);
    assert_eq!(
        (children.status(0), children.status(1)),
        (JobStatus::Pending, JobStatus::Succeeded)
    );
    assert_eq!((children.status(3), children.status(994)), (JobStatus::Pending, JobStatus::Failed));
    assert_eq!((children.past(0).len(), children.attempts_before(0)), (2, 2));
    assert_eq!(children.pending_in(&[0..20, 900..1000]), vec![0..1, 2..10, 900..990, 995..1000]);
    children.release(&[0..1, 2..4]);
    counts_hold(&children);
    assert_eq!(children.next_runnable(9), Some((0..1, 3)), "it counts on from its last attempt");
    children.lease(0..1, LeaseId(3));
    assert_eq!(children.get(0).live(), Some((3, 0)), "none of them is charged");
    children.fail_idle(std::slice::from_ref(&all), &ended);
    counts_hold(&children);
    assert_eq!(children.status(2), JobStatus::Failed);
}

#[test]
fn a_new_job_carries_over_what_has_succeeded() {
    let mut before = Children::new(10);
    before.admit();
    before.release(std::slice::from_ref(&(0..10)));
    before.lease(0..4, LeaseId(1));
    for child in 0..4 {
        before.end(child, attempt(0), child != 2);
    }
    let ended = NeverRan { reason: "no more".into(), at: Timestamp(9) };
    before.fail_idle(std::slice::from_ref(&(0..10)), &ended);
    let mut children = Children::new(10);
    children.carry(&before);
    counts_hold(&children);
    assert_eq!(children.count(JobStatus::Succeeded), 3);
    children.admit();
    counts_hold(&children);
    assert_eq!(children.pending_in(std::slice::from_ref(&(0..10))), vec![2..3, 4..10]);
    assert_eq!(children.with_status(JobStatus::Succeeded, 0).0, vec![0..2, 3..4]);
    // Also the carried ones of a job are carried over.
    let mut again = Children::new(10);
    again.carry(&children);
    assert_eq!(again.count(JobStatus::Succeeded), 3);
}

#[test]
fn packed_records_are_found_and_opened_like_others() {
    let mut children = Children::new(600);
    children.admit();
    children.release(std::slice::from_ref(&(0..600)));
    children.lease(0..300, LeaseId(1));
    for child in (0..256).rev().chain(260..290) {
        children.end(child, attempt(0), child % 100 != 7);
    }
    counts_hold(&children);
    assert!(matches!(children.chunks[&0], Chunk::Packed(_)));
    assert!(matches!(children.chunks[&1], Chunk::Open { .. }));
    let all = 0..600;
    assert_eq!(children.failed_in(&all), vec![7..8, 107..108, 207..208]);
    assert_eq!(children.with_status(JobStatus::Succeeded, 200).0, vec![200..207, 208..256]);
    assert_eq!(children.idle_in(std::slice::from_ref(&all)), vec![300..600]);
    assert_eq!(children.leased_in(std::slice::from_ref(&all)).len(), 14);
    assert!(children.pending_in(std::slice::from_ref(&all)).is_empty());
    let Child::Ended { last, .. } = children.get(9).into_owned() else { panic!("it has ended") };
    assert_eq!(last, attempt(0));
    assert_eq!(children.piece(0).records.len(), 300);
    children.reopen(std::slice::from_ref(&(0..110)));
    counts_hold(&children);
    assert_eq!(children.pending_in(std::slice::from_ref(&all)), vec![7..8, 107..108]);
    children.release(&[7..8, 107..108]);
    children.lease(7..8, LeaseId(2));
    children.end(7, attempt(0), true);
    assert!(matches!(children.chunks[&0], Chunk::Open { .. }), "one of them waits");
    children.lease(107..108, LeaseId(3));
    children.end(107, attempt(0), true);
    assert!(matches!(children.chunks[&0], Chunk::Packed(_)));
    for child in (256..260).chain(290..300) {
        children.end(child, attempt(0), true);
    }
    let ended = NeverRan { reason: "no more".into(), at: Timestamp(9) };
    children.fail_idle(std::slice::from_ref(&all), &ended);
    counts_hold(&children);
    children.archive();
    assert_eq!(children.failed_in(&all), vec![207..208, 300..600]);
}

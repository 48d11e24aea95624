//! Who leads, told step by step.

use super::*;

const LEASE: Duration = Duration::from_secs(3);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The key, and coordinators that compete for it.
#[derive(Default)]
struct World {
    now: Duration,
    revision: u64,
    key: Option<Seen>,
}

impl World {
    fn candidate(nonce: u64) -> Election {
        let me =
            Candidate { holder: format!("c{nonce}"), nonce, process: format!("process {nonce}") };
        let mut election = Election::new(me, LEASE);
        election.set_ready(Some((1, Position::default())));
        election
    }

    fn write(&mut self, expected: u64, record: &Record) -> Written {
        if expected != self.key.as_ref().map_or(0, |seen| seen.revision) {
            return Written::Refused;
        }
        self.revision += 1;
        self.key = Some(Seen { revision: self.revision, record: record.clone() });
        Written::Stored(self.revision)
    }

    /// Lets it do what it wants to do now.
    fn act(&mut self, election: &mut Election) {
        for _ in 0..10 {
            match election.next(self.now) {
                Action::Look => election.on_seen(self.now, self.now, self.key.clone()),
                Action::Write { expected, record } => {
                    let written = self.write(expected, &record);
                    election.on_written(self.now, record, written);
                }
                Action::Wait { until } => {
                    assert!(until > self.now, "it would wait for nothing");
                    return;
                }
            }
        }
        panic!("it never waits");
    }

    /// Time passes, in which these act every 50 ms.
    fn run(&mut self, time: Duration, elections: &mut [&mut Election]) {
        let end = self.now + time;
        while self.now < end {
            self.now += ms(50);
            elections.iter_mut().for_each(|election| self.act(election));
        }
    }
}

#[test]
fn the_first_leads_at_once_and_stays_leader() {
    let (mut w, mut a, mut b) = (World::default(), World::candidate(1), World::candidate(2));
    w.act(&mut a);
    assert_eq!(a.role(), Role::Leader);
    w.run(ms(60_000), &mut [&mut a, &mut b]);
    assert_eq!((a.role(), b.role()), (Role::Leader, Role::Standby));
    assert!(a.is_certain(w.now) && !b.is_certain(w.now));
    assert_eq!(b.leader().unwrap().holder, "c1");
}

#[test]
fn a_standby_takes_over_a_lease_after_the_last_renewal() {
    let (mut w, mut a, mut b) = (World::default(), World::candidate(1), World::candidate(2));
    w.run(ms(10_000), &mut [&mut a, &mut b]);
    w.run(LEASE - ms(1_100), &mut [&mut b]);
    assert_eq!(b.role(), Role::Standby, "the leader may still renew");
    w.run(ms(1_500), &mut [&mut b]);
    assert_eq!(b.role(), Role::Leader);
    // The old one wakes up.
    assert!(!a.is_certain(w.now), "it gives nothing out before it has looked");
    w.act(&mut a);
    assert_eq!(a.role(), Role::Standby);
    w.run(ms(10_000), &mut [&mut a, &mut b]);
    assert_eq!((a.role(), b.role()), (Role::Standby, Role::Leader));
}

#[test]
fn a_leader_that_was_cut_off_has_no_claim_to_a_key_that_vanished() {
    let (mut w, mut a, mut b) = (World::default(), World::candidate(1), World::candidate(2));
    w.run(ms(10_000), &mut [&mut a, &mut b]);
    w.run(2 * LEASE, &mut [&mut b]);
    assert_eq!(b.role(), Role::Leader, "the other one is cut off");
    // NATS starts again, and the bucket is in memory. The old leader is the first to look.
    w.key = None;
    w.act(&mut a);
    assert_eq!(a.role(), Role::Standby);
    assert!(w.key.is_none(), "it leaves the key to the one that led since");
    w.run(LEASE, &mut [&mut a, &mut b]);
    assert_eq!((a.role(), b.role()), (Role::Standby, Role::Leader));
}

#[test]
fn of_several_standbys_one_wins() {
    let mut w = World::default();
    let mut all: Vec<Election> = (1..6).map(World::candidate).collect();
    w.run(ms(5_000), &mut all.iter_mut().collect::<Vec<_>>());
    assert_eq!(all[0].role(), Role::Leader);
    let mut rest: Vec<&mut Election> = all.iter_mut().skip(1).collect();
    w.run(ms(5_000), &mut rest);
    let leaders = rest.iter().filter(|election| election.role() == Role::Leader);
    assert_eq!(leaders.count(), 1);
}

#[test]
fn a_release_is_taken_up_at_once() {
    let (mut w, mut a, mut b) = (World::default(), World::candidate(1), World::candidate(2));
    w.run(ms(10_000), &mut [&mut a, &mut b]);
    let Some(Action::Write { expected, record }) = a.release() else { panic!() };
    let written = w.write(expected, &record);
    a.on_written(w.now, record, written);
    assert_eq!(a.role(), Role::Standby);
    w.run(ms(300), &mut [&mut b]);
    assert_eq!(b.role(), Role::Leader);
    assert!(a.release().is_none(), "a standby has nothing to release");
}

#[test]
fn one_that_is_not_ready_does_not_take_over() {
    let (mut w, mut a, mut b) = (World::default(), World::candidate(1), World::candidate(2));
    a.set_ready(None);
    w.run(ms(10_000), &mut [&mut a]);
    assert_eq!(a.role(), Role::Standby);
    w.run(ms(300), &mut [&mut a, &mut b]);
    assert_eq!(b.role(), Role::Leader);
}

#[test]
fn a_renewal_whose_answer_was_lost_is_recognised() {
    let (mut w, mut a) = (World::default(), World::candidate(1));
    w.act(&mut a);
    w.now += LEASE / 3;
    let Action::Write { expected, record } = a.next(w.now) else { panic!() };
    w.write(expected, &record);
    a.on_unanswered(w.now);
    assert_eq!(a.role(), Role::Leader);
    w.run(ms(2_000), &mut [&mut a]);
    assert!(a.is_certain(w.now));
    assert_eq!(w.key.as_ref().unwrap().record.nonce, 1);
}

#[test]
fn while_nobody_can_reach_the_key_no_lease_runs_out() {
    let (mut w, mut a, mut b) = (World::default(), World::candidate(1), World::candidate(2));
    w.run(ms(10_000), &mut [&mut a, &mut b]);
    for _ in 0..100 {
        w.now += ms(50);
        a.on_unanswered(w.now);
        b.on_unanswered(w.now);
    }
    assert!(!a.is_certain(w.now));
    // Whoever is first back: the leader has a full lease to renew.
    w.run(LEASE - ms(100), &mut [&mut b]);
    assert_eq!(b.role(), Role::Standby);
    w.run(ms(500), &mut [&mut a, &mut b]);
    assert_eq!((a.role(), b.role()), (Role::Leader, Role::Standby));
}

#[test]
fn when_the_key_is_lost_its_last_holder_goes_first() {
    let (mut w, mut a, mut b) = (World::default(), World::candidate(1), World::candidate(2));
    w.run(ms(10_000), &mut [&mut a, &mut b]);
    w.key = None;
    w.run(ms(1_000), &mut [&mut b]);
    assert_eq!(b.role(), Role::Standby);
    w.run(ms(1_500), &mut [&mut a, &mut b]);
    assert_eq!((a.role(), b.role()), (Role::Leader, Role::Standby));
    w.key = None;
    w.run(LEASE + ms(300), &mut [&mut b]);
    assert_eq!(b.role(), Role::Leader, "unless it is gone too");
}

#[test]
fn a_process_that_is_known_to_be_gone_is_not_waited_for() {
    let (mut w, mut a, mut b) = (World::default(), World::candidate(1), World::candidate(2));
    w.act(&mut a);
    assert_eq!(b.next(w.now), Action::Look);
    b.on_seen(w.now, w.now, w.key.clone());
    b.on_holder_gone();
    // It has much to read first, and looks meanwhile.
    b.set_ready(None);
    w.run(LEASE / 2, &mut [&mut b]);
    b.set_ready(Some((1, Position::default())));
    w.act(&mut b);
    assert_eq!(b.role(), Role::Leader);
}

#[test]
fn where_there_is_a_journal_nobody_takes_an_absent_key_at_once() {
    let (mut w, mut a) = (World::default(), World::candidate(1));
    let position = Position { sequence: 7, ..Position::default() };
    a.set_ready(Some((1, position)));
    w.run(LEASE - ms(100), &mut [&mut a]);
    assert_eq!(a.role(), Role::Standby, "one that remembers more may come back");
    w.run(ms(300), &mut [&mut a]);
    assert_eq!(a.role(), Role::Leader);
}

#[test]
fn a_leader_that_gives_way_leaves_the_key_to_another() {
    let (mut w, mut a, mut b) = (World::default(), World::candidate(1), World::candidate(2));
    w.run(ms(1_000), &mut [&mut a, &mut b]);
    assert_eq!(a.role(), Role::Leader);
    a.give_way();
    w.run(ms(500), &mut [&mut a, &mut b]);
    assert_eq!((a.role(), b.role()), (Role::Standby, Role::Leader));
    w.run(LEASE * 2, &mut [&mut a]);
    assert_eq!(a.role(), Role::Standby, "it is not ready until it says so");
}

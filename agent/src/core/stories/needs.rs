//! What jobs need beside cores and memory: GPUs of their own, time to stop.

use super::*;

#[test]
fn gpus_are_given_one_by_one_and_kept_over_a_restart() {
    let mut w = World::new();
    let needs_one = |id| Lease { resources: Resources::new(1, 1).with_gpu(1), ..lease(id, 2) };
    w.order(Order::Run(needs_one(1)));
    w.order(Order::Run(needs_one(2)));
    assert_eq!(w.started, [key(1, 0), key(1, 1)], "two GPUs, two attempts");
    let gpus = |w: &World, id: u64| -> Vec<String> {
        let running = w.core.held().leases.get(&LeaseId(id)).map(|held| &held.running);
        running.into_iter().flatten().flat_map(|(_, begun)| begun.gpus.clone()).collect()
    };
    assert_eq!(gpus(&w, 1), ["GPU-a", "GPU-b"]);
    w.exit(key(1, 0), 0);
    assert_eq!((gpus(&w, 2), w.started.len()), (vec!["GPU-a".to_owned()], 3));
    assert_eq!(w.restart(), []);
    w.register(Vec::new());
    w.exit(key(1, 1), 0);
    assert_eq!(gpus(&w, 2), ["GPU-a", "GPU-b"], "what runs on has kept its own");
}

#[test]
fn a_job_has_its_own_time_to_stop() {
    let mut w = World::new();
    let mut slow = command("true");
    slow.containers[0].stop_timeout_seconds = Some(90);
    let (session, term, version) = (w.session, 1, wire::VERSION);
    let orders = vec![Order::Run(Lease { spec: slow.digest(), ..lease(1, 1) })];
    let specs = vec![(slow.digest(), slow)];
    let message = OrderMessage { version, term, session, specs, orders };
    w.handle(Input::Orders(vec![(1, message)]));
    w.order(Order::Stop(Stop { lease: LeaseId(1), children: vec![(0, 1)] }));
    assert_eq!(w.stops, [(key(1, 0), StopSignal::Terminate)]);
    w.advance(Duration::from_secs(89));
    assert_eq!(w.stops.len(), 1);
    w.advance(Duration::from_secs(1));
    assert_eq!(w.stops[1], (key(1, 0), StopSignal::Kill));
}

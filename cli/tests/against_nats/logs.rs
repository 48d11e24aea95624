//! `logs`.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use windrow_common::ids::JobRef;
use windrow_common::streams::{HEADER_DROPPED, HEADER_OFFSET};

use super::support::{JOB, Server, code, ended_with_3, job, publish, streams, text};

#[tokio::test]
async fn output_is_printed_without_repeat_and_drops_are_told() {
    let server = Server::start();
    server.respond(|_, _| Ok(json!({"jobs": [ended_with_3()]})));
    let (jetstream, subjects) = streams(&server).await;
    let subject = subjects.log(JOB.parse::<JobRef>().unwrap(), 1);
    publish(&jetstream, subject.clone(), &[(HEADER_OFFSET, "0")], "a\n").await;
    publish(&jetstream, subject.clone(), &[(HEADER_OFFSET, "0")], "a\n").await;
    let dropped = [(HEADER_OFFSET, "4"), (HEADER_DROPPED, "2")];
    publish(&jetstream, subject, &dropped, "b\n").await;
    for arguments in [&["job", "logs", JOB][..], &["logs", "-f", JOB]] {
        let output = server.windrow(arguments);
        assert_eq!((code(&output), text(&output.stdout)), (0, "a\nb\n"), "{arguments:?}");
        assert!(text(&output.stderr).contains("2 bytes of output were left out"));
    }
    let output = server.windrow(&["logs", "--prefix", JOB]);
    assert_eq!(text(&output.stdout), "[0] a\n[0] b\n");
    let output = server.windrow(&["logs", "--attempt", "1", JOB]);
    assert_eq!(text(&output.stdout), "a\nb\n");
    let output = server.windrow(&["logs", "--attempt", "2", JOB]);
    assert_eq!((code(&output), text(&output.stdout)), (4, ""));
    assert!(text(&output.stderr).contains("no attempt 2: it has had 1"), "{output:?}");
}

#[tokio::test]
async fn the_output_of_one_of_several_containers_is_picked_out() {
    let server = Server::start();
    server.respond(|_, _| {
        let mut job = ended_with_3();
        let of = |name: &str| json!({"name": name, "image": "busybox"});
        job["ecsProperties"] = json!({"taskProperties": [{"containers": [of("app"), of("side")]}]});
        Ok(json!({"jobs": [job]}))
    });
    let (jetstream, subjects) = streams(&server).await;
    let subject = subjects.log(JOB.parse::<JobRef>().unwrap(), 1);
    let all = "app | one\nside | two\napp | three\n";
    publish(&jetstream, subject, &[(HEADER_OFFSET, "0")], all).await;
    assert_eq!(text(&server.windrow(&["logs", JOB]).stdout), all);
    let app = server.windrow(&["logs", JOB, "--container", "app"]);
    assert_eq!(text(&app.stdout), "one\nthree\n");
    let unknown = server.windrow(&["logs", JOB, "--container", "ap"]);
    assert_eq!(code(&unknown), 4);
    assert!(text(&unknown.stderr).contains("its containers are app, side"));
}

#[tokio::test(flavor = "multi_thread")]
async fn following_goes_on_when_the_server_comes_back() {
    static ENDED: AtomicBool = AtomicBool::new(false);
    let mut server = Server::start();
    server.respond(|_, _| {
        let ended = ENDED.load(Ordering::SeqCst);
        Ok(json!({"jobs": [if ended { ended_with_3() } else { job("RUNNING") }]}))
    });
    let (jetstream, subjects) = streams(&server).await;
    let subject = subjects.log(JOB.parse::<JobRef>().unwrap(), 1);
    publish(&jetstream, subject.clone(), &[(HEADER_OFFSET, "0")], "a\n").await;
    let mut follow = Command::new(env!("CARGO_BIN_EXE_windrow"))
        .args(["logs", "-f", JOB])
        .env("WINDROW_NATS_URL", &server.url)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "a");
    server.restart();
    let (jetstream, _) = streams(&server).await;
    for (offset, line) in [("2", "b\n"), ("4", "c\n")] {
        publish(&jetstream, subject.clone(), &[(HEADER_OFFSET, offset)], line).await;
    }
    ENDED.store(true, Ordering::SeqCst);
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(rest, ["b", "c"]);
    assert_eq!(follow.wait().unwrap().code(), Some(0));
}

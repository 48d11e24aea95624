//! The question before a selection of jobs is ended, asked at a terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::pty::openpty;
use serde_json::json;

use super::support::{JOB, Server, code, job, text};

/// The program at a terminal at which somebody types; gives what stood there in the end, and its
/// output, which goes elsewhere.
fn typing(server: &Server, answer: &str, arguments: &[&str]) -> (String, Output) {
    let terminal = openpty(None, None).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_windrow"))
        .args(arguments)
        .env("WINDROW_NATS_URL", &server.url)
        .env_remove("WINDROW_OUTPUT")
        .stdin(Stdio::from(terminal.slave.try_clone().unwrap()))
        .stderr(Stdio::from(terminal.slave))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut keyboard = File::from(terminal.master.try_clone().unwrap());
    let mut screen = File::from(terminal.master);
    writeln!(keyboard, "{answer}").unwrap();
    let output = child.wait_with_output().unwrap();
    // The terminal keeps what was written to it; reading fails when it has been read, as nobody
    // has the other end any more.
    let mut shown = Vec::new();
    let _ = screen.read_to_end(&mut shown);
    (String::from_utf8(shown).unwrap(), output)
}

#[test]
fn a_selection_is_ended_only_if_the_person_at_the_terminal_agrees() {
    static TERMINATED: AtomicU32 = AtomicU32::new(0);
    let server = Server::start();
    server.respond(|operation, request| {
        Ok(match (operation, request["filters"][1]["values"][0].as_str()) {
            ("ListJobs", Some("RUNNING")) => json!({"jobSummaryList": vec![job("RUNNING"); 12]}),
            ("ListJobs", Some(_)) => json!({"jobSummaryList": []}),
            (other, _) => {
                assert_eq!(
                    (other, request["jobs"].as_array().unwrap().len()),
                    ("TerminateJobs", 12)
                );
                TERMINATED.fetch_add(1, Ordering::SeqCst);
                json!({"successful": [JOB], "errors": []})
            }
        })
    });
    let arguments = ["job", "terminate", "--name", "x*"];
    for refusal in ["n", "", "maybe"] {
        let (shown, output) = typing(&server, refusal, &arguments);
        assert!(shown.contains("terminate 12 jobs? [y/N]"), "{shown}");
        assert!(shown.contains("nothing was done"), "{shown}");
        assert_eq!((code(&output), text(&output.stdout)), (0, ""), "{refusal:?}: {shown}");
    }
    assert_eq!(TERMINATED.load(Ordering::SeqCst), 0);
    let (shown, output) = typing(&server, "y", &arguments);
    assert_eq!(shown.matches(JOB).count(), 10, "the first ten are named: {shown}");
    assert!(shown.contains("and 2 more"), "{shown}");
    assert_eq!(code(&output), 0, "{shown}");
    assert_eq!(text(&output.stdout), format!("{JOB}: termination requested\n"));
    assert_eq!(TERMINATED.load(Ordering::SeqCst), 1);
}

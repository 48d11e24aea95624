//! `submit`, `run`, `plan` and `job`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use windrow_common::api::events::TYPE_STATE_CHANGE;
use windrow_common::ids::JobRef;
use windrow_common::streams::HEADER_OFFSET;
use windrow_common::subjects::Subjects;

use super::support::{JOB, Responder, Server, code, ended_with_3, job, publish, streams, text};

#[test]
fn a_submission_carries_a_key_and_quiet_prints_only_the_id() {
    let server = Server::start();
    server.respond(|operation, request| {
        assert_eq!(operation, "SubmitJob");
        assert_eq!(request["idempotencyKey"].as_str().unwrap().len(), 36);
        assert_eq!(request["containerOverrides"]["command"], json!(["echo", "-n", "hi"]));
        assert_eq!(request["dependsOn"], json!([{"jobId": JOB, "type": "N_TO_N"}]));
        Ok(json!({"jobArn": "arn", "jobId": JOB, "jobName": request["jobName"]}))
    });
    let dependency = format!("N_TO_N:{JOB}");
    let output =
        server.windrow(&["submit", "-q", "--depends-on", &dependency, "--", "echo", "-n", "hi"]);
    assert_eq!((text(&output.stdout), text(&output.stderr)), (format!("{JOB}\n").as_str(), ""));
    assert_eq!(code(&output), 0);
}

#[test]
fn lists_are_paged_and_printed_in_each_format() {
    let server = Server::start();
    server.respond(|_, request| {
        assert_eq!(request["jobStatus"], "ALL");
        let next = request["nextToken"].is_null().then_some("more");
        Ok(json!({"jobSummaryList": [job("RUNNING")], "nextToken": next}))
    });
    let output = server.windrow(&["job", "list", "-o", "json"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["schemaVersion"], 1);
    assert_eq!(document["jobSummaryList"].as_array().unwrap().len(), 2);
    let output = server.windrow(&["job", "list", "-o", "jsonl", "--limit", "1"]);
    assert_eq!(text(&output.stdout).lines().count(), 1);
    let output = server.windrow(&["job", "list", "-q"]);
    assert_eq!(text(&output.stdout), format!("{JOB}\n{JOB}\n"));
    let output = server.windrow(&["job", "list"]);
    let table = text(&output.stdout);
    assert!(
        table.starts_with("ID ") && table.lines().count() == 3 && !table.contains('\x1b'),
        "{table}"
    );
}

#[test]
fn a_long_list_is_printed_page_by_page() {
    let server = Server::start();
    server.respond(|_, request| {
        let first = request["nextToken"].as_str().is_none();
        let filters = json!([{"name": "JOB_NAME", "values": ["al*"]}, {"name": "AFTER_CREATED_AT", "values": ["1000"]},
            {"name": "JOB_STATUS", "values": ["FAILED"]}]);
        assert_eq!(request["filters"], filters);
        assert!(request["maxResults"].as_u64().unwrap() <= 100, "what is allowed with filters");
        // A page may be empty and still have a token.
        Ok(match (first, request["nextToken"].as_str()) {
            (true, _) => json!({"jobSummaryList": [], "nextToken": "1"}),
            (_, Some("1")) => json!({"jobSummaryList": [job("FAILED")], "nextToken": "2"}),
            (_, _) => json!({"jobSummaryList": [job("FAILED")]}),
        })
    });
    let flags =
        ["job", "list", "--name", "al*", "--since", "1970-01-01T00:00:01Z", "--status", "failed"];
    let with = |more: &[&str]| server.windrow(&[&flags[..], more].concat());
    let table = with(&[]);
    let lines: Vec<&str> = text(&table.stdout).lines().collect();
    assert_eq!((code(&table), lines.len()), (0, 3), "{lines:?} {}", text(&table.stderr));
    assert!(lines[0].starts_with("ID") && lines[1].starts_with(JOB) && lines[2].starts_with(JOB));
    let document: Value = serde_json::from_slice(&with(&["-o", "json"]).stdout).unwrap();
    assert_eq!(document["jobSummaryList"].as_array().unwrap().len(), 2);
    assert_eq!(text(&with(&["-o", "jsonl"]).stdout).lines().count(), 2);
    assert_eq!(text(&with(&["-q", "--limit", "2"]).stdout), format!("{JOB}\n{JOB}\n"));
}

#[test]
fn waits_end_with_the_jobs_outcome_or_the_time_limit() {
    let cases: [(Responder, i32); 5] = [
        (|_, _| Ok(json!({"jobs": [job("SUCCEEDED")]})), 0),
        (|_, _| Ok(json!({"jobs": [job("FAILED")]})), 10),
        (
            |_, _| {
                let mut job = job("FAILED");
                job["isTerminated"] = json!(true);
                Ok(json!({"jobs": [job]}))
            },
            11,
        ),
        (|_, _| Ok(json!({"jobs": [job("RUNNABLE")]})), 124),
        (|_, _| Ok(json!({"jobs": []})), 4),
    ];
    for (answer, expected) in cases {
        let server = Server::start();
        server.respond(answer);
        let output = server.windrow(&["job", "wait", JOB, "--timeout", "500ms"]);
        assert_eq!(code(&output), expected, "{}", text(&output.stderr));
    }
}

#[tokio::test]
async fn run_shows_the_output_and_exits_with_the_jobs_code() {
    let server = Server::start();
    server.respond(|operation, request| match operation {
        "SubmitJob" => Ok(json!({"jobArn": "arn", "jobId": JOB, "jobName": request["jobName"]})),
        _ => Ok(json!({"jobs": [ended_with_3()]})),
    });
    let (jetstream, subjects) = streams(&server).await;
    let subject = subjects.log(JOB.parse::<JobRef>().unwrap(), 1);
    publish(&jetstream, subject, &[(HEADER_OFFSET, "0")], "hello\n").await;
    let output = server.windrow(&["run", "--", "echo", "hello"]);
    assert_eq!((code(&output), text(&output.stdout)), (3, "hello\n"));
}

#[tokio::test]
async fn an_event_ends_a_wait_before_it_would_look_again() {
    static ASKED: AtomicBool = AtomicBool::new(false);
    let server = Server::start();
    server.respond(|_, _| {
        let status = if ASKED.swap(true, Ordering::SeqCst) { "SUCCEEDED" } else { "RUNNABLE" };
        Ok(json!({"jobs": [job(status)]}))
    });
    let client = async_nats::connect(&server.url).await.unwrap();
    let subject = Subjects::new("windrow".parse().unwrap())
        .event(&"default".parse().unwrap(), JOB.parse().unwrap());
    let event = json!([{"specversion": "1.0", "id": "1", "source": "windrow", "type": TYPE_STATE_CHANGE,
        "subject": JOB, "time": "2023-11-14T22:13:20Z", "data": job("SUCCEEDED")}]);
    let publish = async {
        loop {
            client.publish(subject.clone(), event.to_string().into()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    // Less than the time after which a wait looks without an event.
    let wait = tokio::task::spawn_blocking(move || {
        server.windrow(&["job", "wait", JOB, "--timeout", "4s"])
    });
    tokio::select! {
        output = wait => assert_eq!(code(&output.unwrap()), 0),
        () = publish => {}
    }
}

#[test]
fn a_plan_that_has_to_wait_says_why_and_exits_with_3() {
    fn explanation(code: &str) -> Value {
        json!({"jobId": JOB, "jobName": "x", "jobQueue": "default", "status": "RUNNABLE",
            "code": code, "class": "HOST", "message": "no agent of compute environment `e` is UP",
            "hint": "start an agent", "nodesConsidered": 2, "excluded": {"LOST": 2},
            "noEstimate": "nothing will change by itself"})
    }
    let server = Server::start();
    server.respond(|operation, request| {
        let wanted = |name: &str| request["job"]["jobName"] == name;
        Ok(match operation {
            "PlanJob" if wanted("now") => json!({"startsNow": true, "agents": ["a"], "job": job("RUNNABLE")}),
            "PlanJob" if wanted("later") => json!({"startsNow": false, "job": job("PENDING"),
                "explanation": explanation("DEPENDENCY_PENDING")}),
            "PlanJob" => {
                // An image's ad-hoc definition comes along and is not registered.
                assert_eq!(request["definition"]["containerProperties"]["image"], "busybox");
                json!({"startsNow": false, "job": job("RUNNABLE"), "explanation": explanation("NO_AGENT")})
            }
            "ExplainJob" => explanation("NO_AGENT"),
            "ExplainQueue" => json!({"reasons": [{"jobQueue": "default", "code": "NO_AGENT",
                "children": 7, "jobs": 2, "example": JOB, "message": "none"}], "children": {"RUNNABLE": 7}}),
            other => panic!("{other}"),
        })
    });
    let output = server.windrow(&["submit", "--dry-run", "--name", "now", "--", "true"]);
    assert_eq!((code(&output), text(&output.stdout)), (0, "it would start at once on agent `a`\n"));
    assert_eq!(code(&server.windrow(&["plan", "--name", "later", "--", "true"])), 0);
    let output = server.windrow(&["plan", "--image", "busybox", "--", "true"]);
    let shown = text(&output.stdout);
    assert_eq!(code(&output), 3, "{shown}");
    assert!(shown.starts_with("it would wait: NO_AGENT\n") && shown.contains("2 LOST"), "{shown}");
    let output = server.windrow(&["job", "why", JOB]);
    let expected = format!(
        "{JOB}  RUNNABLE  NO_AGENT\nno agent of compute environment `e` is UP\n\
         Hint:       start an agent\nAgents:     2 looked at: 2 LOST\n"
    );
    assert_eq!((code(&output), text(&output.stdout)), (0, expected.as_str()));
    let why = server.windrow(&["queue", "why", "default", "-o", "json"]);
    let why: Value = serde_json::from_slice(&why.stdout).unwrap();
    assert_eq!(why["reasons"][0]["children"], 7);
}

#[test]
fn a_job_is_updated_with_what_was_given_and_nothing_else() {
    let server = Server::start();
    server.respond(|operation, request| {
        assert_eq!(operation, "UpdateJob");
        let expected = match request["maxParallel"].as_u64() {
            Some(_) => json!({"jobId": JOB, "maxParallel": 0}),
            None => json!({"jobId": JOB, "schedulingPriority": 7}),
        };
        assert_eq!(*request, expected);
        Ok(json!({"jobArn": "arn", "jobId": JOB, "jobName": "x"}))
    });
    let update = |flags: &[&str]| server.windrow(&[&["job", "update", JOB][..], flags].concat());
    let output = update(&["--max-parallel", "0"]);
    assert_eq!((code(&output), text(&output.stdout)), (0, format!("{JOB}: updated\n").as_str()));
    assert_eq!(code(&update(&["--priority", "7"])), 0);
    assert_eq!(code(&update(&[])), 2, "nothing is to be changed");
}

#[test]
fn an_image_may_bring_its_command_and_its_definition_is_used_again() {
    let server = Server::start();
    server.respond(|operation, request| {
        let known = |priority: Option<u32>, revision: u32| {
            json!({"jobDefinitionArn": "arn", "revision": revision, "status": "ACTIVE",
                "containerOrchestrationType": "ECS", "jobDefinitionName": "adhoc-tool_1",
                "type": "container", "parameters": {}, "tags": {"a": "b"},
                "platformCapabilities": [], "schedulingPriority": priority,
                "containerProperties": {"image": "tool:1", "resourceRequirements": [
                    {"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "128"}]}})
        };
        Ok(match operation {
            // The newer revision is somebody's own.
            "DescribeJobDefinitions" => {
                json!({"jobDefinitions": [known(None, 1), known(Some(5), 2)]})
            }
            other => {
                assert_eq!(
                    (other, &request["jobDefinition"]),
                    ("SubmitJob", &json!("adhoc-tool_1:1"))
                );
                assert!(request["containerOverrides"].is_null(), "{request}");
                json!({"jobArn": "arn", "jobId": JOB, "jobName": request["jobName"]})
            }
        })
    });
    let output = server.windrow(&["submit", "--image", "tool:1"]);
    assert_eq!((code(&output), text(&output.stdout)), (0, format!("{JOB}\n").as_str()));
}

#[test]
fn a_cancel_that_changes_nothing_says_so() {
    const OTHER: &str = "01900000-0000-7000-8000-000000000002";
    let server = Server::start();
    server.respond(|operation, request| {
        Ok(match operation {
            "CancelJobs" | "TerminateJobs" => json!({"successful": request["jobs"], "errors": []}),
            _ => json!({"jobs": [job("RUNNING")]}),
        })
    });
    let output = server.windrow(&["job", "cancel", JOB, OTHER]);
    let said = text(&output.stderr);
    assert_eq!(code(&output), 0, "{said}");
    assert!(
        said.contains(&format!("{JOB}: it is RUNNING and goes on; `windrow job terminate")),
        "{said}"
    );
    assert!(said.contains(&format!("{OTHER}: there is no such job")), "{said}");
    let said = server.windrow(&["job", "terminate", JOB]).stderr;
    assert_eq!(text(&said), "", "what runs is being stopped");
}

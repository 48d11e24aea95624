//! Queues, policies, tags and what else is not a job.

use serde_json::{Value, json};
use windrow_common::streams::{HEADER_REASON, HEADER_SUBJECT};

use super::support::{JOB, Server, code, publish, streams, text};

#[tokio::test]
async fn dead_letters_are_listed_newest_last() {
    let server = Server::start();
    let (jetstream, subjects) = streams(&server).await;
    let output = server.windrow(&["deadletter", "list"]);
    assert_eq!((code(&output), text(&output.stderr)), (0, "no dead letters\n"));
    for (reason, payload) in [("first", "{"), ("not JSON", "nonsense")] {
        let headers = [(HEADER_REASON, reason), (HEADER_SUBJECT, "windrow.submit.q")];
        publish(&jetstream, subjects.dead(&"submit".parse().unwrap()), &headers, payload).await;
    }
    let output = server.windrow(&["deadletter", "list", "--limit", "1", "-o", "json"]);
    let letters: Value = serde_json::from_slice(&output.stdout).unwrap();
    let [letter] = letters["deadLetters"].as_array().unwrap().as_slice() else { panic!() };
    assert_eq!((&letter["reason"], &letter["size"]), (&json!("not JSON"), &json!(8)));
    assert_eq!(
        (&letter["payload"], &letter["subject"]),
        (&json!("nonsense"), &json!("windrow.submit.q"))
    );
}

#[test]
fn a_request_that_nobody_answers_is_sent_again_long_before_its_time_is_over() {
    let server = Server::start();
    server.respond_after(2, |operation, _| {
        assert_eq!(operation, "DescribeCluster");
        Ok(json!({"cluster": "c", "version": "1", "term": 1, "journalSequence": 1, "jobs": 0,
            "children": {}, "agentsUp": 0, "fencedResults": 0, "memoryBytes": 0}))
    });
    // Longer than a test may take.
    let status = server.windrow(&["cluster", "status", "-q", "--timeout", "1h"]);
    assert_eq!((code(&status), text(&status.stdout)), (0, "c\n"));
}

#[test]
fn what_must_not_happen_twice_is_sent_once() {
    let server = Server::start();
    server.respond_after(1, |operation, _| panic!("`{operation}` was sent again"));
    let created = server.windrow(&[
        "queue",
        "create",
        "q",
        "--priority",
        "1",
        "--ce",
        "e",
        "--timeout",
        "3s",
    ]);
    assert_eq!(code(&created), 7, "{}", text(&created.stderr));
    assert!(text(&created.stderr).contains("look whether it took effect"));
}

#[test]
fn alarms_are_listed_and_acknowledged() {
    let server = Server::start();
    server.respond(|operation, request| {
        if operation == "AcknowledgeAlarm" {
            let id = request["id"].as_u64().unwrap();
            assert!([8, 9].contains(&id));
            assert_eq!(*request, json!({"id": id, "by": "ann", "note": "restored"}));
            return Ok(json!({}));
        }
        assert_eq!(operation, "DescribeCluster");
        let said = json!({"at": 1_000, "by": "bob@host"});
        let alarms = json!([{"at": 0, "text": "old", "id": 8, "acknowledged": said},
            {"at": 0, "text": "open", "id": 9}, {"at": 0, "text": "now", "id": 0}]);
        Ok(json!({"cluster": "c", "version": "1", "term": 1, "journalSequence": 1, "jobs": 0,
            "children": {}, "agentsUp": 0, "fencedResults": 0, "memoryBytes": 0, "alarms": alarms}))
    });
    let alarms = server.windrow(&["cluster", "alarms"]);
    let lines: Vec<&str> = text(&alarms.stdout).lines().collect();
    assert!(lines[1].starts_with("8 ") && lines[1].contains("by bob@host"), "{lines:?}");
    assert!(lines[2].starts_with("9 ") && lines[3].starts_with("- "), "{lines:?}");
    let listed = server.windrow(&["cluster", "alarms", "-o", "json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed["alarms"][0]["acknowledged"]["by"], "bob@host");
    let status = server.windrow(&["cluster", "status"]);
    let shown = text(&status.stdout);
    assert!(!shown.contains("old") && shown.contains("open") && shown.contains("now"), "{shown}");
    let arguments = ["cluster", "acknowledge", "8", "9", "--by", "ann", "--note", "restored"];
    let acknowledged = server.windrow(&arguments);
    let expected = "alarm 8: acknowledged by ann\nalarm 9: acknowledged by ann\n";
    assert_eq!((code(&acknowledged), text(&acknowledged.stdout)), (0, expected));
}

#[test]
fn tags_are_asked_for_by_the_names_people_use() {
    let server = Server::start();
    server.respond(|operation, request| {
        assert_eq!(request["resourceArn"], "job-queue/default");
        Ok(match operation {
            "ListTagsForResource" => json!({"tags": {"team": "a"}}),
            "TagResource" => {
                assert_eq!(request["tags"], json!({"team": "a", "empty": ""}));
                json!({})
            }
            other => {
                assert_eq!((other, &request["tagKeys"]), ("UntagResource", &json!(["team"])));
                json!({})
            }
        })
    });
    let set = server.windrow(&["tag", "set", "queue/default", "team=a", "empty="]);
    assert_eq!((code(&set), text(&set.stdout)), (0, "queue/default: tagged\n"));
    let list = server.windrow(&["tag", "list", "queue/default", "-o", "json"]);
    assert_eq!(
        serde_json::from_slice::<Value>(&list.stdout).unwrap()["tags"],
        json!({"team": "a"})
    );
    let list = server.windrow(&["tag", "list", "job-queue/default"]);
    assert_eq!(text(&list.stdout), "KEY   VALUE\nteam  a\n");
    assert_eq!(code(&server.windrow(&["tag", "remove", "queue/default", "team"])), 0);
}

#[test]
fn a_policy_is_listed_with_its_shares_and_updated_as_a_whole() {
    let server = Server::start();
    server.respond(|operation, request| {
        let fair = json!({"shareDecaySeconds": 60, "shareDistribution": [{"shareIdentifier": "a", "weightFactor": 0.5}]});
        Ok(match operation {
            "ListSchedulingPolicies" => {
                let next = request["nextToken"].is_null().then_some("1");
                json!({"schedulingPolicies": [{"arn": next.unwrap_or("2")}], "nextToken": next})
            }
            "DescribeSchedulingPolicies" => {
                let arns = request["arns"].as_array().unwrap().iter();
                let found = arns.map(|arn| json!({"name": arn, "arn": arn, "fairsharePolicy": fair}));
                json!({"schedulingPolicies": found.collect::<Vec<_>>()})
            }
            other => {
                assert_eq!((other, &request["arn"]), ("UpdateSchedulingPolicy", &json!("p")));
                let shares = json!([{"shareIdentifier": "a", "weightFactor": 0.5}, {"shareIdentifier": "b", "weightFactor": 2.0}]);
                let fair = json!({"shareDecaySeconds": 60, "shareDistribution": shares});
                assert_eq!(request["fairsharePolicy"], fair);
                json!({})
            }
        })
    });
    assert_eq!(text(&server.windrow(&["policy", "list", "-q"]).stdout), "1\n2\n");
    let shown = server.windrow(&["policy", "get", "p"]);
    assert!(text(&shown.stdout).contains("a=0.5"), "{shown:?}");
    assert_eq!(code(&server.windrow(&["policy", "update", "p", "--share", "b=2"])), 0);
    assert_eq!(code(&server.windrow(&["policy", "update", "p"])), 2);
}

#[test]
fn time_limits_of_a_queue_are_given_replaced_and_taken_away() {
    let server = Server::start();
    server.respond(|operation, request| {
        let limits = &request["jobStateTimeLimitActions"];
        let limit = |reason: &str, seconds: u32, action: &str| {
            json!({"reason": reason, "state": "RUNNABLE", "maxTimeSeconds": seconds, "action": action})
        };
        match (operation, request["priority"].as_u64()) {
            ("CreateJobQueue", _) => {
                assert_eq!(request["tags"], json!({"team": "a"}));
                let first = limit("MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT", 600, "CANCEL");
                assert_eq!(*limits, json!([first, limit("ACTION_REQUIRED", 60, "TERMINATE")]));
            }
            ("UpdateJobQueue", Some(1)) => assert!(limits.is_null(), "{limits}"),
            ("UpdateJobQueue", Some(2)) => assert_eq!(*limits, json!([])),
            (other, priority) => {
                assert_eq!((other, priority), ("UpdateJobQueue", None));
                assert_eq!(*limits, json!([limit("ACTION_REQUIRED", 5, "CANCEL")]));
            }
        }
        Ok(json!({"jobQueueName": "q", "jobQueueArn": "arn"}))
    });
    let too_large = "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT=600";
    let create = ["queue", "create", "q", "--tag", "team=a", "--time-limit-action", too_large];
    let create = [&create[..], &["--time-limit-action", "ACTION_REQUIRED=60:terminate"]].concat();
    assert_eq!(code(&server.windrow(&create)), 0);
    let update =
        |flags: &[&str]| code(&server.windrow(&[&["queue", "update", "q"][..], flags].concat()));
    assert_eq!(update(&["--priority", "1"]), 0);
    assert_eq!(update(&["--priority", "2", "--no-time-limit-actions"]), 0);
    assert_eq!(update(&["--time-limit-action", "ACTION_REQUIRED=5"]), 0);
    assert_eq!(update(&["--time-limit-action", "ACTION_REQUIRED"]), 2);
    assert_eq!(update(&[]), 2, "nothing is to be changed");
}

#[test]
fn an_environment_says_how_many_vcpus_it_stands_for() {
    let server = Server::start();
    server.respond(|operation, request| {
        let named = json!({"computeEnvironmentName": "e", "computeEnvironmentArn": "arn"});
        let vcpus = &request["unmanagedvCpus"];
        match operation {
            "CreateComputeEnvironment" => {
                assert_eq!((&request["type"], vcpus), (&json!("UNMANAGED"), &json!(16)));
            }
            "UpdateComputeEnvironment" => {
                assert_eq!((&request["state"], vcpus), (&json!("DISABLED"), &json!(8)));
            }
            other => {
                assert_eq!(other, "DescribeComputeEnvironments");
                let shown = json!({"computeEnvironmentName": "e", "computeEnvironmentArn": "arn",
                    "type": "UNMANAGED", "state": "ENABLED", "status": "VALID", "statusReason": "",
                    "agents": 1, "totalMilliCpu": 2500, "unmanagedvCpus": 8});
                return Ok(json!({"computeEnvironments": [shown]}));
            }
        }
        Ok(named)
    });
    assert_eq!(code(&server.windrow(&["ce", "create", "e", "--unmanaged-vcpus", "16"])), 0);
    let update = server.windrow(&["ce", "update", "e", "--disable", "--unmanaged-vcpus", "8"]);
    assert_eq!(code(&update), 0);
    assert_eq!(code(&server.windrow(&["ce", "update", "e"])), 2, "nothing is to be changed");
    let table = server.windrow(&["ce", "list"]);
    let row: Vec<&str> = text(&table.stdout).lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row, ["e", "UNMANAGED", "ENABLED", "VALID", "1", "2.5", "8", "-"]);
}

#[test]
fn what_happens_to_agents_that_cannot_be_heard_is_asked_for_in_times_people_write() {
    let server = Server::start();
    server.respond(|operation, request| {
        let named = json!({"computeEnvironmentName": "e", "computeEnvironmentArn": "arn"});
        let disconnect = &request["disconnect"];
        match operation {
            "CreateComputeEnvironment" => {
                let expected = json!({"lostAfterSeconds": 90, "stopAfterSeconds": 20,
                    "reconcile": "KEEP_ORIGINAL", "strict": true});
                assert_eq!(disconnect, &expected);
            }
            "UpdateComputeEnvironment" => {
                assert_eq!(disconnect, &json!({"stopAfterSeconds": 0, "strict": false}));
            }
            other => {
                assert_eq!(other, "DescribeComputeEnvironments");
                let shown = json!({"computeEnvironmentName": "e", "computeEnvironmentArn": "arn",
                    "type": "UNMANAGED", "state": "ENABLED", "status": "VALID", "statusReason": "",
                    "agents": 1, "totalMilliCpu": 2500,
                    "disconnect": {"lostAfterSeconds": 90, "reconcile": "KEEP_ORIGINAL"}});
                return Ok(json!({"computeEnvironments": [shown]}));
            }
        }
        Ok(named)
    });
    let create = ["ce", "create", "e", "--lost-after", "1m30s", "--stop-after", "20s", "--strict"];
    let create = [&create[..], &["--reconcile", "keep-original"]].concat();
    assert_eq!(code(&server.windrow(&create)), 0);
    let update = server.windrow(&["ce", "update", "e", "--stop-after", "0", "--no-strict"]);
    assert_eq!(code(&update), 0);
    let table = server.windrow(&["ce", "list"]);
    assert!(text(&table.stdout).contains("lost after 90s,keeps originals"), "{table:?}");
}

#[test]
fn a_policy_is_created_with_its_tags() {
    let server = Server::start();
    server.respond(|operation, request| {
        let expected = json!({"name": "p", "fairsharePolicy": {"computeReservation": 5},
            "tags": {"team": "a", "cost": "b=c"}});
        assert_eq!((operation, request), ("CreateSchedulingPolicy", &expected));
        Ok(json!({"name": "p", "arn": "arn"}))
    });
    let create = ["policy", "create", "p", "--reservation", "5", "--tag", "team=a"];
    let create = server.windrow(&[&create[..], &["--tag", "cost=b=c"]].concat());
    assert_eq!((code(&create), text(&create.stdout)), (0, "policy p: created\n"));
}

#[test]
fn a_quota_share_is_named_with_its_queue_and_shown_with_what_it_borrows() {
    let server = Server::start();
    server.respond(|operation, request| {
        let sharing = json!({"strategy": "LEND_AND_BORROW", "borrowLimit": -1});
        let limits = json!([{"capacityUnit": "VCPU", "maxCapacity": 2}]);
        let named = json!({"quotaShareName": "s", "quotaShareArn": "arn"});
        Ok(match operation {
            "CreateQuotaShare" => {
                assert_eq!(
                    (&request["jobQueue"], &request["quotaShareName"]),
                    (&json!("q"), &json!("s"))
                );
                assert_eq!(
                    (&request["capacityLimits"], &request["resourceSharingConfiguration"]),
                    (&limits, &sharing)
                );
                assert_eq!(
                    (&request["preemptionConfiguration"]["inSharePreemption"], &request["tags"]),
                    (&json!("ENABLED"), &json!({"a": "b"}))
                );
                named
            }
            "UpdateQuotaShare" => {
                assert_eq!(*request, json!({"quotaShareArn": "q/s", "state": "DISABLED"}));
                named
            }
            "DeleteQuotaShare" => {
                assert_eq!(request["quotaShareArn"], "q/s");
                json!({})
            }
            other => {
                assert_eq!((other, &request["jobQueue"]), ("ListQuotaShares", &json!("q")));
                json!({"quotaShares": [{"quotaShareName": "s", "quotaShareArn": "arn",
                    "jobQueueArn": "arn", "capacityLimits": limits, "state": "ENABLED",
                    "resourceSharingConfiguration": sharing, "status": "VALID",
                    "preemptionConfiguration": {"inSharePreemption": "ENABLED"},
                    "used": [{"capacityUnit": "VCPU", "used": 2500, "borrowed": 500}]}]})
            }
        })
    });
    let share = |arguments: &[&str]| server.windrow(&[&["quota-share"][..], arguments].concat());
    let flags =
        ["--strategy", "lend-and-borrow", "--borrow-limit", "-1", "--preempt-lower", "true"];
    let create = [&["create", "q/s", "--limit", "vcpu=2", "--tag", "a=b"][..], &flags].concat();
    assert_eq!(text(&share(&create).stdout), "quota share q/s: created\n");
    assert_eq!(code(&share(&["update", "q/s", "--disable"])), 0);
    assert_eq!(code(&share(&["update", "q/s"])), 2, "nothing is to be changed");
    let table = share(&["list", "q"]);
    let row = text(&table.stdout).lines().nth(1).unwrap().to_owned();
    assert!(row.starts_with("s ") && row.contains("LEND_AND_BORROW"), "{row}");
    assert!(row.ends_with("VCPU=2.5 (0.5 borrowed)"), "{row}");
    assert_eq!(code(&share(&["delete", "q/s"])), 0);
    let unnamed = share(&["create", "s", "--limit", "VCPU=2"]);
    assert!(text(&unnamed.stderr).contains("QUEUE/SHARE"), "{unnamed:?}");
    assert_eq!(code(&share(&["create", "q/s", "--limit", "VCPU=x"])), 2);
}

#[test]
fn jobs_of_a_consumable_resource_are_listed_with_what_they_hold_and_wait_for() {
    let server = Server::start();
    server.respond(|operation, request| {
        assert_eq!(
            (operation, &request["consumableResource"]),
            ("ListJobsByConsumableResource", &json!("licence"))
        );
        let filters = json!([{"name": "JOB_STATUS", "values": ["RUNNABLE"]}]);
        assert_eq!(request["filters"], filters);
        let next = request["nextToken"].is_null().then_some("1");
        Ok(json!({"nextToken": next, "jobs": [{"jobArn": format!("arn:job/{JOB}"),
            "jobQueueArn": "arn:job-queue/q", "jobName": "x", "jobDefinitionArn": "arn",
            "jobStatus": "RUNNABLE", "quantity": 2, "inUseQuantity": 1, "createdAt": 1,
            "statusReason": "why", "consumableResourceProperties": {}}]}))
    });
    let table = server.windrow(&["consumable", "jobs", "licence", "--status", "runnable"]);
    let lines: Vec<&str> = text(&table.stdout).lines().collect();
    assert_eq!((code(&table), lines.len()), (0, 3), "{table:?}");
    let row: Vec<&str> = lines[1].split_whitespace().collect();
    assert_eq!((&row[..6], row[7]), (&[JOB, "x", "q", "RUNNABLE", "2", "1"][..], "why"));
}

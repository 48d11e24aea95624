//! Job definitions as users write them, from a file to what the job sees.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use serde_json::{Value, json};
use windrow_tests::Cluster;
use windrow_tests::program::Finished;

fn register(cluster: &Cluster, name: &str, definition: &Value) -> Finished {
    let file = cluster.scratch().join(format!("{name}.json"));
    std::fs::write(&file, definition.to_string()).unwrap();
    cluster.windrow(&["jobdef", "register", name, "-f", file.to_str().unwrap()])
}

#[test]
fn what_a_definition_says_is_what_the_job_gets() {
    let cluster = Cluster::start();
    let secret = cluster.scratch().join("token");
    std::fs::write(&secret, "s3cret").unwrap();
    let properties = json!({
        "command": ["sh", "-c", "echo \"$1 $TOKEN $A $(ulimit -n)\"", "sh", "Ref::word"],
        "environment": [{"name": "A", "value": "1"}],
        "secrets": [{"name": "TOKEN", "valueFrom": format!("file:{}", secret.display())}],
        "ulimits": [{"name": "nofile", "softLimit": 77, "hardLimit": 78}],
        "logConfiguration": {"logDriver": "awslogs"},
    });
    let definition = json!({"containerProperties": properties, "parameters": {"word": "one"}});
    assert_eq!(register(&cluster, "said", &definition).ok(), "said:1");
    let flags = ["--job-definition", "said", "--parameter", "word=two", "--env", "A=2"];
    let job = cluster.submit(&flags);
    let ended = cluster.ended(&job, 60);
    assert_eq!(ended["status"], "SUCCEEDED", "{ended:#}");
    assert_eq!(cluster.windrow(&["job", "logs", &job]).ok(), "two s3cret 2 77");
    // What is shown is the reference, never the value.
    assert!(!ended.to_string().contains("s3cret"), "{ended:#}");
    assert_eq!(ended["container"]["secrets"][0]["name"], "TOKEN");
    assert_eq!(ended["container"]["command"][4], "two");
    let shown = cluster.windrow(&["jobdef", "get", "said", "-o", "json"]).json();
    let shown = &shown["jobDefinitions"][0]["containerProperties"];
    assert_eq!(shown["ulimits"], properties["ulimits"]);
    assert_eq!(shown["logConfiguration"], properties["logConfiguration"]);
}

#[test]
fn what_cannot_be_is_refused_when_it_is_registered() {
    let cluster = Cluster::start();
    for (definition, part) in [
        (
            json!({"containerProperties": {"command": ["x"], "privileged": true}}),
            "privileged needs an image",
        ),
        (json!({"containerProperties": {"command": ["x"], "noSuchField": 1}}), "noSuchField"),
        (
            json!({"eksProperties": {"podProperties": {}}, "containerProperties": {"command": ["x"]}}),
            "Kubernetes",
        ),
        (
            json!({"ecsProperties": {"taskProperties": [{"containers": [{"image": "i"}]}]}}),
            "vCPU is not provided.",
        ),
    ] {
        let finished = register(&cluster, "wrong", &definition);
        assert!(finished.code != 0 && finished.stderr.contains(part), "{}", finished.stderr);
    }
}

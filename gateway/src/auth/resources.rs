//! What a request is about, as ARNs that policies name. Pure.

use serde_json::Value;

const BATCH: &str = "arn:aws:batch:local:000000000000:";
/// What ARNs of CloudWatch Logs begin with.
pub(crate) const LOGS: &str = "arn:aws:logs:local:000000000000:";

/// Members of requests that name a thing, with the kind that its ARN has.
const NAMED: &[(&str, &str)] = &[
    ("arrayJobId", "job"),
    ("computeEnvironment", "compute-environment"),
    ("computeEnvironmentName", "compute-environment"),
    ("consumableResource", "consumable-resource"),
    ("consumableResourceName", "consumable-resource"),
    ("jobDefinition", "job-definition"),
    ("jobDefinitionName", "job-definition"),
    ("jobId", "job"),
    ("jobQueue", "job-queue"),
    ("jobQueueName", "job-queue"),
    ("multiNodeJobId", "job"),
    ("quotaShareArn", "quota-share"),
    ("schedulingPolicyArn", "scheduling-policy"),
    ("serviceEnvironment", "service-environment"),
    ("serviceEnvironmentName", "service-environment"),
];
/// Members that hold a list of such.
const LISTED: &[(&str, &str, &str)] = &[
    ("computeEnvironmentOrder", "computeEnvironment", "compute-environment"),
    ("serviceEnvironmentOrder", "serviceEnvironment", "service-environment"),
];

/// ARNs of everything a request acts on; `*` if it names nothing, as one that lists or describes.
///
/// `action` is as `batch:SubmitJob`.
pub(super) fn of(action: &str, request: &Value) -> Vec<String> {
    let (service, operation) = action.split_once(':').unwrap_or(("", action));
    let found = match service {
        "logs" => logs(request),
        _ => batch(operation, request),
    };
    if found.is_empty() { vec!["*".to_owned()] } else { found }
}

fn batch(operation: &str, request: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let member = |name: &str| request.get(name).and_then(text);
    let mut found: Vec<String> = Vec::new();
    let job = if operation.contains("ServiceJob") { "service-job" } else { "job" };
    for (name, kind) in NAMED {
        let kind = if *name == "jobId" { job } else { *kind };
        found.extend(member(name).map(|value| arn(kind, &value)));
    }
    for (list, name, kind) in LISTED {
        let entries = request.get(list).and_then(Value::as_array);
        let named = entries.into_iter().flatten().filter_map(|one| one.get(name).and_then(text));
        found.extend(named.map(|value| arn(kind, &value)));
    }
    // A tag's resource comes as its ARN.
    found.extend(member("resourceArn"));
    // Jobs to be cancelled or terminated together.
    if let Some(jobs) = request.get("jobs").filter(|_| !operation.starts_with("Describe")) {
        let jobs = jobs.as_array().into_iter().flatten();
        let ids = jobs.filter_map(|job| text(job).or_else(|| job.get("jobId").and_then(text)));
        found.extend(ids.map(|id| arn(job, &id)));
    }
    if operation.ends_with("SchedulingPolicy") {
        let name = member("arn").or_else(|| member("name"));
        found.extend(name.map(|name| arn("scheduling-policy", &name)));
    }
    if operation == "CreateQuotaShare"
        && let (Some(queue), Some(share)) = (member("jobQueue"), member("quotaShareName"))
    {
        found.push(arn("quota-share", &format!("{}/{share}", plain(&queue))));
    }
    found
}

fn logs(request: &Value) -> Vec<String> {
    let text = |name: &str| request.get(name).and_then(Value::as_str).filter(|t| !t.is_empty());
    let group = text("logGroupName").or_else(|| {
        let arn = text("logGroupIdentifier")?;
        Some(arn.split_once(":log-group:").map_or(arn, |(_, name)| name).trim_end_matches(":*"))
    });
    let Some(group) = group else { return Vec::new() };
    vec![match text("logStreamName") {
        Some(stream) => format!("{LOGS}log-group:{group}:log-stream:{stream}"),
        None => format!("{LOGS}log-group:{group}:*"),
    }]
}

/// The ARN of what is named by its name or ARN: ours, so that one thing has one.
fn arn(kind: &str, text: &str) -> String {
    match text.strip_prefix("arn:").and_then(|rest| rest.splitn(5, ':').nth(4)) {
        Some(resource) => format!("{BATCH}{resource}"),
        None => format!("{BATCH}{kind}/{text}"),
    }
}

/// The name in an ARN.
fn plain(text: &str) -> &str {
    match text.starts_with("arn:") {
        true => text.rsplit('/').next().unwrap_or(text),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_is_about_all_that_it_names_and_one_thing_has_one_arn() {
        let queue = format!("{BATCH}job-queue/q");
        let submit = json!({"jobName": "x", "jobQueue": "q", "jobDefinition": "d:3"});
        let about = of("batch:SubmitJob", &submit);
        assert_eq!(about, [format!("{BATCH}job-definition/d:3"), queue.clone()]);
        let by_arn = json!({"jobQueue": "arn:aws:batch:us-east-1:123456789012:job-queue/q"});
        assert_eq!(of("batch:SubmitJob", &by_arn), [queue.as_str()]);
        assert_eq!(of("batch:UpdateJobQueue", &by_arn), [queue.as_str()]);
        let create = json!({"jobQueueName": "q", "schedulingPolicyArn": "p",
            "computeEnvironmentOrder": [{"order": 1, "computeEnvironment": "e"}]});
        let about = of("batch:CreateJobQueue", &create);
        assert_eq!(about.len(), 3, "{about:?}");
        assert!(about.contains(&format!("{BATCH}compute-environment/e")), "{about:?}");
        let share = json!({"quotaShareName": "s", "jobQueue": "q"});
        assert_eq!(
            of("batch:CreateQuotaShare", &share),
            [queue, format!("{BATCH}quota-share/q/s")]
        );
        let policy = json!({"name": "p"});
        assert_eq!(
            of("batch:CreateSchedulingPolicy", &policy),
            [format!("{BATCH}scheduling-policy/p")]
        );
        let tagged = json!({"resourceArn": format!("{BATCH}job/x"), "tags": {}});
        assert_eq!(of("batch:TagResource", &tagged), [format!("{BATCH}job/x")]);
        let many = json!({"jobs": ["a", {"jobId": "b"}]});
        assert_eq!(of("batch:CancelJobs", &many).len(), 2);
        let job = [format!("{BATCH}service-job/x")];
        assert_eq!(of("batch:TerminateServiceJob", &json!({"jobId": "x"})), job);
        assert_eq!(of("batch:TerminateServiceJobs", &json!({"jobs": ["x"]})), job);
    }

    #[test]
    fn what_lists_is_about_nothing_in_particular() {
        assert_eq!(of("batch:DescribeJobs", &json!({"jobs": ["x"]})), ["*"]);
        assert_eq!(of("batch:ListSchedulingPolicies", &json!({})), ["*"]);
        assert_eq!(of("batch:DescribeJobQueues", &json!(null)), ["*"]);
        assert_eq!(of("logs:DescribeLogGroups", &json!({})), ["*"]);
        let list = json!({"jobQueue": "q", "jobStatus": "RUNNING"});
        assert_eq!(of("batch:ListJobs", &list), [format!("{BATCH}job-queue/q")]);
    }

    #[test]
    fn logs_are_of_a_group_or_of_a_stream_in_it() {
        let group = format!("{LOGS}log-group:/aws/batch/job");
        let stream = json!({"logGroupName": "/aws/batch/job", "logStreamName": "a/b"});
        assert_eq!(of("logs:GetLogEvents", &stream), [format!("{group}:log-stream:a/b")]);
        let by_name = json!({"logGroupName": "/aws/batch/job"});
        assert_eq!(of("logs:FilterLogEvents", &by_name), [format!("{group}:*")]);
        let by_arn = json!({"logGroupIdentifier": format!("{group}:*")});
        assert_eq!(of("logs:FilterLogEvents", &by_arn), [format!("{group}:*")]);
    }
}

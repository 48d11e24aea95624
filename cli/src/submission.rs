//! Requests made from flags and files. Pure: no I/O but reading the named file.

use std::path::Path;

use serde::de::DeserializeOwned;
use windrow_common::api::definitions::{
    ContainerProperties, JobTimeout, KeyValuePair, NodeProperties, NodeRangeProperty,
    RegisterJobDefinition, ResourceRequirement, RetryStrategy,
};
use windrow_common::api::jobs::{
    ContainerOverrides, DependencyCondition, DependencyType, JobDependency, NodePropertyOverride,
    SubmitJob,
};
use windrow_common::ids::{JobRef, NAME_LENGTH_MAX};

use crate::args::{JobWords, OverrideArgs};
use crate::failure::{Attempt, Failure, Result};

/// Queue used when none is named.
pub(crate) const QUEUE_DEFAULT: &str = "default";
/// Definition used when none is named and no image is given: a plain process.
pub(crate) const DEFINITION_DEFAULT: &str = "adhoc";
/// vCPUs of ad-hoc jobs.
pub(crate) const VCPUS_DEFAULT: &str = "1";
/// The node range of ad-hoc multi-node jobs.
const ALL_NODES: &str = "0:";
/// MiB of ad-hoc jobs: small, so that as many fit on a machine as it has cores.
pub(crate) const MEMORY_DEFAULT: u32 = 128;

/// Reads a dependency: `ID`, `ID:INDEX`, `N_TO_N:ID`, `SEQUENTIAL`.
pub(crate) fn parse_dependency(text: &str) -> Result<JobDependency, String> {
    if text == "SEQUENTIAL" {
        let kind = Some(DependencyType::Sequential);
        return Ok(JobDependency { kind, ..JobDependency::default() });
    }
    let (kind, id) = match text.strip_prefix("N_TO_N:") {
        Some(id) => (Some(DependencyType::NToN), id),
        None => (None, text),
    };
    let wrong = |e: &dyn std::fmt::Display| {
        format!("use `ID`, `ID:INDEX`, `N_TO_N:ID` or `SEQUENTIAL`: {e}")
    };
    let id: JobRef = id.parse().map_err(|e| wrong(&e))?;
    if kind.is_some() && id != JobRef::from(id.job) {
        return Err(wrong(&format!("`{id}` is one child, not an array")));
    }
    Ok(JobDependency { job_id: Some(id.to_string()), kind, condition: None })
}

/// Reads a request from a file, by its extension; `-` is JSON or YAML on standard input.
///
/// Errors: unreadable files, unknown extensions, syntax, unknown fields (named with their place).
pub(crate) fn read_file<T: DeserializeOwned>(path: &Path) -> Result<T> {
    if path.as_os_str() == "-" {
        let text = std::io::read_to_string(std::io::stdin())
            .attempt(|| "read standard input".to_owned())?;
        return parse(&text, Format::Yaml, "standard input");
    }
    let shown = path.display().to_string();
    let format = Format::of(path).ok_or_else(|| {
        Failure::error(format!("read `{shown}`: its name does not say what it holds"))
            .hint("name it .json, .yaml, .yml or .toml")
    })?;
    let text = std::fs::read_to_string(path).attempt(|| format!("read `{shown}`"))?;
    parse(&text, format, &shown)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    /// JSON is YAML too.
    Yaml,
    Toml,
}

impl Format {
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "json" => Some(Self::Json),
            "yaml" | "yml" => Some(Self::Yaml),
            "toml" => Some(Self::Toml),
            _ => None,
        }
    }
}

fn parse<T: DeserializeOwned>(text: &str, format: Format, shown: &str) -> Result<T> {
    // A sequence would be read as fields in their order.
    let start = text.trim_start();
    if format != Format::Toml && (start.starts_with('[') || start.starts_with("- ")) {
        return Err(Failure::error(format!("read `{shown}`: it is a list, and not one request"))
            .hint("write one request in a file, as fields and their values"));
    }
    let parsed = match format {
        Format::Json => serde_json::from_str(text).map_err(|e| e.to_string()),
        Format::Yaml => serde_yaml_ng::from_str(text).map_err(|e| e.to_string()),
        Format::Toml => toml::from_str(text).map_err(|e| e.to_string()),
    };
    parsed.map_err(|e| {
        Failure::error(format!("read `{shown}`: {}", e.trim_end()))
            .hint("field names are those of AWS Batch's API, such as `jobName`")
    })
}

/// Lays flags over a request; what no flag names stays. Fills in what a submission must have.
pub(crate) fn apply_words(request: &mut SubmitJob, words: &JobWords, command: &[String]) {
    set_text(&mut request.job_queue, words.queue.as_deref());
    if let Some(size) = words.array {
        request.array_properties.get_or_insert_default().size = Some(size);
    }
    if words.max_parallel.is_some() {
        request.array_properties.get_or_insert_default().max_parallel = words.max_parallel;
    }
    request.share_identifier = words.share.clone().or(request.share_identifier.take());
    request.scheduling_priority_override = words.priority.or(request.scheduling_priority_override);
    request.quota_share_name = words.quota_share.clone().or(request.quota_share_name.take());
    for entry in &words.consumable {
        let list = &mut request.consumable_resource_properties_override.get_or_insert_default();
        let list = &mut list.consumable_resource_list;
        list.retain(|known| known.consumable_resource != entry.consumable_resource);
        list.push(entry.clone());
    }
    if words.nodes.is_some() {
        request.node_overrides.get_or_insert_default().num_nodes = words.nodes;
    }
    request.depends_on.extend(dependencies(words));
    request.tags.extend(words.tags.clone().map());
    set_attempts(&mut request.retry_strategy, words.attempts);
    if let Some(seconds) = words.backoff {
        let strategy = request.retry_strategy.get_or_insert_default();
        strategy.backoff.get_or_insert_default().initial_seconds = Some(seconds);
    }
    request.timeout = timeout(words.timeout_seconds).or(request.timeout);
    apply_overrides(request, &words.overrides, command);
    set_text(&mut request.job_name, words.name.as_ref().map(|n| n.as_str()));
    if request.job_name.is_empty() {
        request.job_name = name_for(request, command);
    }
    if request.job_queue.is_empty() {
        request.job_queue = QUEUE_DEFAULT.to_owned();
    }
}

/// What the flags say to wait for, each with its condition.
fn dependencies(words: &JobWords) -> impl Iterator<Item = JobDependency> {
    let with = |entries: &[JobDependency], condition| {
        let entry = move |entry: &JobDependency| JobDependency { condition, ..entry.clone() };
        entries.iter().map(entry).collect::<Vec<_>>()
    };
    let any = with(&words.after_any, Some(DependencyCondition::Any));
    let failed = with(&words.after_failed, Some(DependencyCondition::Failed));
    with(&words.depends_on, None).into_iter().chain(any).chain(failed)
}

fn apply_overrides(request: &mut SubmitJob, flags: &OverrideArgs, command: &[String]) {
    let mut overrides = request.container_overrides.take().unwrap_or_default();
    if !command.is_empty() {
        overrides.command = command.to_vec();
    }
    for pair in environment(&flags.env) {
        overrides.environment.retain(|known| known.name != pair.name);
        overrides.environment.push(pair);
    }
    for requirement in requirements(flags.vcpus.clone(), flags.memory, flags.gpus) {
        overrides.resource_requirements.retain(|known| known.kind != requirement.kind);
        overrides.resource_requirements.push(requirement);
    }
    if flags.image.is_none() {
        overrides.working_directory = flags.workdir.clone().or(overrides.working_directory);
    }
    let is_empty = overrides == ContainerOverrides::default();
    request.container_overrides = (!is_empty).then_some(overrides);
}

/// Sets the attempts in all, if given; the rules of the strategy stay.
pub(crate) fn set_attempts(strategy: &mut Option<RetryStrategy>, attempts: Option<u32>) {
    if attempts.is_some() {
        strategy.get_or_insert_default().attempts = attempts;
    }
}

/// The limit of an attempt's run time.
pub(crate) fn timeout(seconds: Option<u32>) -> Option<JobTimeout> {
    seconds.map(|seconds| JobTimeout { attempt_duration_seconds: Some(seconds) })
}

/// Variables as the API has them.
pub(crate) fn environment(pairs: &[(String, String)]) -> Vec<KeyValuePair> {
    let pair = |(name, value): &(String, String)| KeyValuePair {
        name: name.clone(),
        value: value.clone(),
    };
    pairs.iter().map(pair).collect()
}

/// Needs as the API has them.
pub(crate) fn requirements(
    vcpus: Option<String>,
    memory: Option<u32>,
    gpus: Option<u32>,
) -> Vec<ResourceRequirement> {
    let need = |kind: &str, value| ResourceRequirement { kind: kind.to_owned(), value };
    let vcpus = vcpus.map(|value| need("VCPU", value));
    let memory = memory.map(|mib| need("MEMORY", mib.to_string()));
    let gpus = gpus.map(|count| need("GPU", count.to_string()));
    vcpus.into_iter().chain(memory).chain(gpus).collect()
}

/// Container settings of an ad-hoc definition for this image, or for plain processes.
pub(crate) fn adhoc_properties(image: Option<&str>, workdir: Option<&str>) -> ContainerProperties {
    ContainerProperties {
        image: image.map(str::to_owned),
        working_directory: workdir.map(str::to_owned),
        resource_requirements: Some(requirements(
            Some(VCPUS_DEFAULT.to_owned()),
            Some(MEMORY_DEFAULT),
            None,
        )),
        ..Default::default()
    }
}

/// Name of the ad-hoc definition for an image. Two images can share one: the revision tells them
/// apart.
pub(crate) fn adhoc_name(image: &str) -> String {
    into_name(&format!("{DEFINITION_DEFAULT}-{image}"))
}

/// A multi-node definition whose nodes all run what this container is.
pub(crate) fn adhoc_nodes(name: &str, container: ContainerProperties) -> RegisterJobDefinition {
    let range = NodeRangeProperty {
        target_nodes: ALL_NODES.to_owned(),
        container: Some(container),
        ..Default::default()
    };
    RegisterJobDefinition {
        job_definition_name: format!("{name}-nodes").chars().take(NAME_LENGTH_MAX).collect(),
        kind: "multinode".to_owned(),
        node_properties: Some(NodeProperties {
            num_nodes: 1,
            main_node: 0,
            node_range_properties: vec![range],
        }),
        ..Default::default()
    }
}

/// Makes overrides of a container overrides of all nodes, unless the request has some for nodes: then
/// it is for the coordinator to say that the two do not go together.
pub(crate) fn override_all_nodes(request: &mut SubmitJob) {
    let nodes = request.node_overrides.get_or_insert_default();
    if !nodes.node_property_overrides.is_empty() {
        return;
    }
    nodes.node_property_overrides = vec![NodePropertyOverride {
        target_nodes: ALL_NODES.to_owned(),
        container_overrides: request.container_overrides.take(),
        ..Default::default()
    }];
}

/// A job's name from its command, else from its definition.
fn name_for(request: &SubmitJob, command: &[String]) -> String {
    let program = command.first().map(|program| program.rsplit('/').next().unwrap_or(program));
    let definition = request.job_definition.rsplit('/').next().unwrap_or_default();
    let definition = definition.split(':').next().filter(|name| !name.is_empty());
    into_name(program.filter(|name| !name.is_empty()).or(definition).unwrap_or("job"))
}

/// The text with what a name cannot hold replaced by `_`, cut to a name's length.
fn into_name(text: &str) -> String {
    let valid = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    text.chars().map(valid).take(NAME_LENGTH_MAX).collect()
}

fn set_text(field: &mut String, value: Option<&str>) {
    if let Some(value) = value {
        value.clone_into(field);
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use windrow_common::api::jobs::ArrayProperties;

    use super::*;
    use crate::args::{Cli, Command};

    const ID: &str = "01900000-0000-7000-8000-000000000001";

    fn submitted(file: &str, flags: &[&str]) -> SubmitJob {
        let words = ["windrow", "submit"].iter().chain(flags);
        let Command::Submit(args) = Cli::try_parse_from(words).unwrap().command else {
            panic!("not submit")
        };
        let mut request = parse(file, Format::Yaml, "test").unwrap();
        apply_words(&mut request, &args.words, &args.command.words);
        request
    }

    #[test]
    fn nodes_of_adhoc_jobs_all_run_the_command() {
        let mut request = submitted("{}", &["--nodes", "3", "--vcpus", "2", "--", "mpi"]);
        override_all_nodes(&mut request);
        assert_eq!(request.container_overrides, None);
        let nodes = request.node_overrides.unwrap();
        assert_eq!(nodes.num_nodes, Some(3));
        let overrides = nodes.node_property_overrides[0].container_overrides.clone().unwrap();
        assert_eq!(overrides.command, vec!["mpi"]);
        let definition = adhoc_nodes("adhoc", adhoc_properties(None, None));
        let range = &definition.node_properties.unwrap().node_range_properties[0];
        assert_eq!(range.target_nodes, nodes.node_property_overrides[0].target_nodes);
    }

    #[test]
    fn dependencies_follow_the_documented_grammar() {
        let plain = parse_dependency(ID).unwrap();
        assert_eq!((plain.job_id.as_deref(), plain.kind), (Some(ID), None));
        let each = parse_dependency(&format!("N_TO_N:{ID}")).unwrap();
        assert_eq!((each.job_id.as_deref(), each.kind), (Some(ID), Some(DependencyType::NToN)));
        let chain = parse_dependency("SEQUENTIAL").unwrap();
        assert_eq!((chain.job_id, chain.kind), (None, Some(DependencyType::Sequential)));
        let child = format!("{ID}:3");
        assert_eq!(parse_dependency(&child).unwrap().job_id, Some(child));
        let chain = format!("SEQUENTIAL:{ID}");
        for bad in ["", "N_TO_N", "N_TO_N:", "x", &format!("N_TO_N:{ID}:3"), &chain] {
            assert!(parse_dependency(bad).unwrap_err().contains("N_TO_N:ID"), "{bad}");
        }
    }

    #[test]
    fn each_flag_has_its_condition() {
        let flags = ["--after-failed", ID, "--depends-on", ID, "--after-any", "SEQUENTIAL"];
        let request = submitted("{}", &flags);
        let conditions: Vec<_> = request.depends_on.iter().map(|d| d.condition).collect();
        let any = Some(DependencyCondition::Any);
        assert_eq!(conditions, [None, any, Some(DependencyCondition::Failed)]);
        assert_eq!(request.depends_on[1].kind, Some(DependencyType::Sequential));
    }

    #[test]
    fn a_back_off_joins_the_strategy_of_the_file() {
        let file = "retryStrategy: {attempts: 4, backoff: {maxSeconds: 60}}";
        let strategy = submitted(file, &["--backoff", "5"]).retry_strategy.unwrap();
        let backoff = strategy.backoff.unwrap();
        assert_eq!((strategy.attempts, backoff.initial_seconds), (Some(4), Some(5)));
        assert_eq!(backoff.max_seconds, Some(60));
    }

    #[test]
    fn a_list_is_not_read_as_the_fields_of_a_request() {
        for (text, format) in
            [("[\"a\"]", Format::Json), (" [a]", Format::Yaml), ("- a", Format::Yaml)]
        {
            let failure = parse::<SubmitJob>(text, format, "f").unwrap_err();
            assert!(failure.message.contains("it is a list"), "{}", failure.message);
        }
        assert_eq!(
            parse::<SubmitJob>("---\njobName: a\n", Format::Yaml, "f").unwrap().job_name,
            "a"
        );
    }

    #[test]
    fn all_three_formats_give_the_same_request() {
        let json = r#"{"jobName": "a", "arrayProperties": {"size": 3}, "dependsOn": [{"type": "SEQUENTIAL"}]}"#;
        let yaml = "jobName: a\narrayProperties: {size: 3}\ndependsOn:\n  - type: SEQUENTIAL\n";
        let toml = "jobName = 'a'\narrayProperties.size = 3\n[[dependsOn]]\ntype = 'SEQUENTIAL'\n";
        let expected: SubmitJob = parse(json, Format::Json, "j").unwrap();
        assert_eq!(
            expected.array_properties,
            Some(ArrayProperties { size: Some(3), ..Default::default() })
        );
        assert_eq!(parse::<SubmitJob>(yaml, Format::Yaml, "y").unwrap(), expected);
        assert_eq!(parse::<SubmitJob>(json, Format::Yaml, "-").unwrap(), expected);
        assert_eq!(parse::<SubmitJob>(toml, Format::Toml, "t").unwrap(), expected);
    }

    #[test]
    fn unknown_fields_and_names_are_refused_with_a_hint() {
        let error = parse::<SubmitJob>("job_name: x", Format::Yaml, "f.yaml").unwrap_err();
        assert!(error.message.contains("f.yaml") && error.message.contains("job_name"), "{error}");
        assert!(error.hint.unwrap().contains("jobName"));
        let error = read_file::<SubmitJob>(Path::new("job.txt")).unwrap_err();
        assert!(error.hint.unwrap().contains(".yaml"), "{}", error.message);
    }

    #[test]
    fn flags_win_over_the_file_and_leave_the_rest() {
        let file = "jobName: a\njobQueue: slow\nretryStrategy: {attempts: 2}\n\
            containerOverrides:\n  command: [old]\n  environment: [{name: A, value: '1'}, {name: B, value: '2'}]\n  \
            resourceRequirements: [{type: VCPU, value: '4'}]\n";
        let request =
            submitted(file, &["--queue", "fast", "--env", "A=9", "--memory", "1GiB", "--", "new"]);
        assert_eq!((request.job_name.as_str(), request.job_queue.as_str()), ("a", "fast"));
        assert_eq!(request.retry_strategy.unwrap().attempts, Some(2));
        let overrides = request.container_overrides.unwrap();
        assert_eq!(overrides.command, ["new"]);
        let environment: Vec<_> =
            overrides.environment.iter().map(|p| (p.name.as_str(), p.value.as_str())).collect();
        assert_eq!(environment, [("B", "2"), ("A", "9")]);
        let needs: Vec<_> = overrides
            .resource_requirements
            .iter()
            .map(|r| (r.kind.as_str(), r.value.as_str()))
            .collect();
        assert_eq!(needs, [("VCPU", "4"), ("MEMORY", "1024")]);
    }

    #[test]
    fn names_are_made_from_command_then_definition() {
        assert_eq!(submitted("{}", &["--", "/bin/my tool.sh"]).job_name, "my_tool_sh");
        assert_eq!(submitted("jobDefinition: align:3", &[]).job_name, "align");
        assert_eq!(submitted("{}", &[]).job_name, "job");
        assert_eq!(submitted("{}", &[]).job_queue, QUEUE_DEFAULT);
        assert_eq!(
            adhoc_name("docker.io/library/alpine:3.20"),
            "adhoc-docker_io_library_alpine_3_20"
        );
        assert_eq!(adhoc_name(&"x".repeat(300)).len(), NAME_LENGTH_MAX);
    }
}

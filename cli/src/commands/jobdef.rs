//! `windrow jobdef ...`.

use serde_json::json;
use windrow_common::api::definitions::{
    DeregisterJobDefinition, DescribeJobDefinitions, DescribeJobDefinitionsResponse,
    JobDefinitionDetail, RegisterJobDefinition, RegisterJobDefinitionResponse,
};

use crate::args::{JobDefinitionCommand, OverrideArgs, RegisterArgs};
use crate::client::Client;
use crate::context::Context;
use crate::failure::{Exit, Failure, Result};
use crate::output::{Answer, Grid, View, or_dash};
use crate::pages;
use crate::submission::{
    MEMORY_DEFAULT, VCPUS_DEFAULT, environment, read_file, requirements, set_attempts, timeout,
};

pub(super) async fn run(context: &Context, command: JobDefinitionCommand) -> Result<Answer> {
    match command {
        JobDefinitionCommand::Register(args) => {
            let request = registration(*args)?;
            let response = context.client().await?.call_once(&request).await?;
            let name = name_of(&response);
            Ok(Answer::one(&response, vec![name.clone()], format!("{name}\n")))
        }
        JobDefinitionCommand::List { all } => {
            let status = (!all).then(|| "ACTIVE".to_owned());
            let request = DescribeJobDefinitions { status, ..Default::default() };
            let definitions = pages::all(&context.client().await?, request).await?;
            Ok(answer(definitions))
        }
        JobDefinitionCommand::Get { names } => get(&context.client().await?, names).await,
        JobDefinitionCommand::Deregister { names } => {
            let client = context.client().await?;
            for name in &names {
                client.call(&DeregisterJobDefinition { job_definition: name.clone() }).await?;
            }
            let text = names.iter().map(|name| format!("{name}: deregistered\n")).collect();
            Ok(Answer::one(&json!({ "jobDefinitions": names }), names.clone(), text))
        }
    }
}

/// `NAME:REVISION` of an active revision with exactly these settings, registered if there is none.
pub(crate) async fn ensure_definition(
    client: &Client,
    wanted: &RegisterJobDefinition,
) -> Result<String> {
    let request = DescribeJobDefinitions {
        job_definition_name: Some(wanted.job_definition_name.clone()),
        status: Some("ACTIVE".to_owned()),
        ..Default::default()
    };
    let known = pages::all(client, request).await?;
    let same = known.iter().rev().find(|known| is_same(known, wanted));
    match same {
        Some(known) => Ok(revision_name(known)),
        None => Ok(name_of(&client.call_once(wanted).await?)),
    }
}

/// Whether it runs the same; tags may have been added to it.
fn is_same(known: &JobDefinitionDetail, wanted: &RegisterJobDefinition) -> bool {
    let tags = wanted.tags.clone();
    RegisterJobDefinition { tags, ..known.definition.clone() } == *wanted
}

fn name_of(response: &RegisterJobDefinitionResponse) -> String {
    format!("{}:{}", response.job_definition_name, response.revision)
}

fn registration(args: RegisterArgs) -> Result<RegisterJobDefinition> {
    let mut request: RegisterJobDefinition = match &args.file {
        Some(file) => read_file(file)?,
        None => RegisterJobDefinition::default(),
    };
    request.job_definition_name = args.name.unwrap_or(request.job_definition_name);
    if request.job_definition_name.is_empty() {
        return Err(Failure::error("register a job definition: it has no name")
            .hint("give it as the first argument, or `jobDefinitionName` in the file"));
    }
    if request.kind.is_empty() {
        request.kind = "container".to_owned();
    }
    request.parameters.extend(args.parameter);
    set_attempts(&mut request.retry_strategy, args.attempts);
    request.timeout = timeout(args.timeout_seconds).or(request.timeout);
    request.scheduling_priority = args.priority.or(request.scheduling_priority);
    let has_several = request.ecs_properties.is_some() || request.kind == "multinode";
    if has_several && request.container_properties.is_none() {
        return several(request, &args.overrides, &args.command.words);
    }
    let container = request.container_properties.get_or_insert_default();
    container.image = args.overrides.image.or(container.image.take());
    container.working_directory = args.overrides.workdir.or(container.working_directory.take());
    if !args.command.words.is_empty() {
        container.command = Some(args.command.words);
    }
    let variables = container.environment.get_or_insert_default();
    for pair in environment(&args.overrides.env) {
        variables.retain(|known| known.name != pair.name);
        variables.push(pair);
    }
    if variables.is_empty() {
        container.environment = None;
    }
    let needs = container.resource_requirements.get_or_insert_default();
    for need in requirements(args.overrides.vcpus, args.overrides.memory, args.overrides.gpus) {
        needs.retain(|known| known.kind != need.kind);
        needs.push(need);
    }
    // Without a word about them, jobs need what ad-hoc jobs need.
    let has = |kind: &str| needs.iter().any(|need| need.kind == kind);
    let vcpus = (!has("VCPU") && container.vcpus.is_none()).then(|| VCPUS_DEFAULT.to_owned());
    let memory = (!has("MEMORY") && container.memory.is_none()).then_some(MEMORY_DEFAULT);
    needs.extend(requirements(vcpus, memory, None));
    Ok(request)
}

/// A definition of several containers or nodes: flags cannot say which of them they mean.
fn several(
    request: RegisterJobDefinition,
    flags: &OverrideArgs,
    command: &[String],
) -> Result<RegisterJobDefinition> {
    let OverrideArgs { image, env, vcpus, memory, gpus, workdir } = flags;
    let given = [
        ("--image", image.is_some()),
        ("--env", !env.is_empty()),
        ("--vcpus", vcpus.is_some()),
        ("--memory", memory.is_some()),
        ("--gpus", gpus.is_some()),
        ("--workdir", workdir.is_some()),
        ("the command", !command.is_empty()),
    ];
    match given.iter().find(|(_, is_given)| *is_given) {
        Some((flag, _)) => Err(Failure::error(format!(
            "register `{}`: {flag} does not go with a definition of several containers",
            request.job_definition_name
        ))
        .hint("write it into the file, at the container that is meant")),
        None => Ok(request),
    }
}

async fn get(client: &Client, names: Vec<String>) -> Result<Answer> {
    let mut found = Vec::new();
    for name in names {
        let mut request = DescribeJobDefinitions::default();
        if name.contains(':') {
            request.job_definitions = vec![name.clone()];
        } else {
            request.job_definition_name = Some(name.clone());
            request.status = Some("ACTIVE".to_owned());
        }
        let definitions = pages::all(client, request).await?;
        if definitions.is_empty() {
            let message = format!("job definition `{name}` does not exist");
            return Err(Failure::new(Exit::NotFound, message)
                .hint("`windrow jobdef list --all` shows those there are"));
        }
        found.extend(definitions);
    }
    Ok(answer(found))
}

fn revision_name(one: &JobDefinitionDetail) -> String {
    format!("{}:{}", one.definition.job_definition_name, one.revision)
}

fn row(one: &JobDefinitionDetail) -> Vec<String> {
    let tasks = one.definition.ecs_properties.iter().flat_map(|ecs| &ecs.task_properties);
    let images: Vec<_> = tasks.flat_map(|t| &t.containers).map(|c| c.image.as_str()).collect();
    let container = one.definition.container_properties.clone().unwrap_or_default();
    let image = container.image.clone().filter(|image| !image.is_empty());
    let needs = container.resource_requirements.iter().flatten();
    let needs = needs.map(|need| format!("{} {}", need.kind, need.value));
    let older = container.vcpus.map(|vcpus| format!("VCPU {vcpus}"));
    let older = older.into_iter().chain(container.memory.map(|mib| format!("MEMORY {mib}")));
    vec![
        revision_name(one),
        one.status.clone(),
        match (image, images.is_empty(), one.definition.kind.as_str()) {
            (Some(image), _, _) => image,
            (None, false, _) => images.join(", "),
            (None, true, "multinode") => "(nodes)".to_owned(),
            (None, true, _) => "(process)".to_owned(),
        },
        needs.chain(older).collect::<Vec<_>>().join(", "),
        or_dash(container.command.as_ref().map(|words| words.join(" "))),
    ]
}

fn answer(definitions: Vec<JobDefinitionDetail>) -> Answer {
    let headers = &["NAME", "STATUS", "IMAGE", "NEEDS", "COMMAND"];
    let grid = Grid::new(headers, definitions.iter().map(row).collect());
    let names = definitions.iter().map(revision_name).collect();
    let response =
        DescribeJobDefinitionsResponse { job_definitions: definitions, next_token: None };
    Answer::list(&response, "jobDefinitions", names, View::Grid(grid, "no job definitions"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn registered(flags: &[&str]) -> Result<RegisterJobDefinition> {
        let words = ["windrow", "jobdef", "register"].iter().chain(flags);
        let command = Cli::try_parse_from(words).unwrap().command;
        let Command::Jobdef(JobDefinitionCommand::Register(args)) = command else {
            panic!("not register")
        };
        registration(*args)
    }

    #[test]
    fn flags_make_a_definition_with_default_needs() {
        let request = registered(&["x", "--image", "i:1", "--vcpus", "2", "--", "ls"]).unwrap();
        assert_eq!(
            (request.job_definition_name.as_str(), request.kind.as_str()),
            ("x", "container")
        );
        let container = request.container_properties.unwrap();
        let needs = requirements(Some("2".to_owned()), Some(MEMORY_DEFAULT), None);
        assert_eq!(container.resource_requirements, Some(needs));
        assert_eq!(container.command, Some(vec!["ls".to_owned()]));
        assert_eq!(container.environment, None);
    }

    #[test]
    fn a_file_of_several_containers_is_registered_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("d.json");
        let text = r#"{"ecsProperties": {"taskProperties": [{"containers": [{"image": "i"}]}]}}"#;
        std::fs::write(&file, text).unwrap();
        let file = file.to_str().unwrap();
        let request = registered(&["x", "-f", file]).unwrap();
        assert!(request.container_properties.is_none() && request.ecs_properties.is_some());
        let error = registered(&["x", "-f", file, "--gpus", "1"]).unwrap_err();
        assert!(error.message.contains("--gpus does not go with"), "{}", error.message);
    }

    #[test]
    fn a_definition_without_a_name_is_refused() {
        assert!(registered(&[]).unwrap_err().message.contains("no name"));
    }
}

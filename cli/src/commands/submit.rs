//! `windrow submit`, and submitting for `run`.

use windrow_common::api::definitions::RegisterJobDefinition;
use windrow_common::api::explain::{PlanJob, WaitCode};
use windrow_common::api::jobs::{SubmitJob, SubmitJobResponse};
use windrow_common::ids::{JobId, JobRef};

use super::job::why::about;
use crate::args::{JobWords, SubmitArgs};
use crate::client::Client;
use crate::context::Context;
use crate::failure::{Attempt, Exit, Failure, Result};
use crate::output::{Answer, Outcome};
use crate::submission::{
    self, DEFINITION_DEFAULT, adhoc_name, adhoc_nodes, adhoc_properties, apply_words,
    override_all_nodes,
};
use crate::wait;

pub(super) async fn run(context: &Context, args: SubmitArgs) -> Result<Outcome> {
    let mut request: SubmitJob = match &args.file {
        Some(file) => submission::read_file(file)?,
        None => SubmitJob::default(),
    };
    if let Some(definition) = args.job_definition {
        request.job_definition = definition;
    }
    let is_named = !request.job_definition.is_empty() || args.words.overrides.image.is_some();
    if args.file.is_none() && !is_named && args.command.words.is_empty() {
        return Err(Failure::error("submit: there is nothing to run").hint(
            "give `-f FILE`, `--job-definition NAME`, `--image IMAGE`, or a command after `--`",
        ));
    }
    request.parameters.extend(args.parameter);
    request.idempotency_key = args.idempotency_key.or(request.idempotency_key);
    if args.dry_run {
        return plan(context, request, &args.words, &args.command.words).await;
    }
    let waits = args.wait || args.progress;
    let client = if waits { context.waiting_client().await? } else { context.client().await? };
    let response = submit(&client, request, &args.words, &args.command.words).await?;
    let id = parse_id(&response)?;
    let text = format!("{id}\n");
    let answer = Answer::one(&response, vec![id.to_string()], text);
    if !waits {
        return Ok(answer.into());
    }
    // The id first: whoever stops waiting needs it.
    context.printer.print(&answer)?;
    let ids = [JobRef::from(id)];
    let jobs = wait::until_ended(&client, &context.printer, &ids, args.progress, context.timeout());
    Ok(Outcome::exit(wait::exit_of(&jobs.await?)))
}

/// Completes a request from flags and submits it. With a key of its own, so that it may be sent
/// again when no answer comes.
pub(super) async fn submit(
    client: &Client,
    mut request: SubmitJob,
    words: &JobWords,
    command: &[String],
) -> Result<SubmitJobResponse> {
    apply_words(&mut request, words, command);
    if let Some(definition) = choose_definition(&mut request, words)? {
        request.job_definition = super::ensure_definition(client, &definition).await?;
    }
    let key = request.idempotency_key.get_or_insert_with(|| JobId::generate().to_string()).clone();
    client.call_with_key(&request, &key).await
}

/// Completes a request from flags and asks where it would go.
async fn plan(
    context: &Context,
    mut job: SubmitJob,
    words: &JobWords,
    command: &[String],
) -> Result<Outcome> {
    apply_words(&mut job, words, command);
    let definition = choose_definition(&mut job, words)?;
    if let Some(definition) = &definition {
        job.job_definition.clone_from(&definition.job_definition_name);
    }
    let plan = context.client().await?.call(&PlanJob { job, definition }).await?;
    let (exit, text) = match &plan.explanation {
        None => {
            let agents = plan.agents.join("`, `");
            (Exit::Done, format!("it would start at once on agent `{agents}`\n"))
        }
        Some(why) => {
            let follows = why.code == WaitCode::DependencyPending;
            let exit = if follows { Exit::Done } else { Exit::Unplaced };
            (exit, format!("it would wait: {}\n{}", why.code, about(why)))
        }
    };
    let answer = Answer::one(&plan, vec![], text);
    Ok(Outcome { answer: Some(answer), exit })
}

/// The ad-hoc definition when none is named; for plain processes in the current directory. Given
/// when there has to be one with these settings.
fn choose_definition(
    request: &mut SubmitJob,
    words: &JobWords,
) -> Result<Option<RegisterJobDefinition>> {
    let flags = &words.overrides;
    if let Some(image) = &flags.image {
        let name = adhoc_name(image);
        let container = adhoc_properties(Some(image), flags.workdir.as_deref());
        let definition = match &request.node_overrides {
            Some(_) => adhoc_nodes(&name, container),
            None => RegisterJobDefinition {
                job_definition_name: name,
                kind: "container".to_owned(),
                container_properties: Some(container),
                ..Default::default()
            },
        };
        if request.node_overrides.is_some() {
            override_all_nodes(request);
        }
        return Ok(Some(definition));
    }
    if request.job_definition.is_empty() {
        request.job_definition = DEFINITION_DEFAULT.to_owned();
        let overrides = request.container_overrides.get_or_insert_default();
        if overrides.working_directory.is_none() {
            let current =
                std::env::current_dir().attempt(|| "find the current directory".to_owned())?;
            overrides.working_directory = Some(current.to_string_lossy().into_owned());
        }
        if request.node_overrides.is_some() {
            let definition = adhoc_nodes(DEFINITION_DEFAULT, adhoc_properties(None, None));
            override_all_nodes(request);
            return Ok(Some(definition));
        }
    }
    Ok(None)
}

/// The id in an answer to a submission.
pub(super) fn parse_id(response: &SubmitJobResponse) -> Result<JobId> {
    response.job_id.parse().attempt(|| "read the answer to SubmitJob".to_owned())
}

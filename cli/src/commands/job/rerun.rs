//! `windrow job rerun`.

use windrow_common::api::jobs::{RerunJob, RerunJobResponse};
use windrow_common::ids::{JobId, JobRef};

use crate::args::RerunArgs;
use crate::context::Context;
use crate::failure::{Attempt, Result};
use crate::output::{Answer, Outcome};
use crate::wait;

pub(super) async fn run(context: &Context, args: RerunArgs) -> Result<Outcome> {
    let client = if args.wait { context.waiting_client().await? } else { context.client().await? };
    let key = args.idempotency_key.unwrap_or_else(|| JobId::generate().to_string());
    let request = RerunJob {
        job_id: args.id.to_string(),
        only_failed: args.failed,
        in_place: args.in_place,
        depends_on: args.depends_on,
        idempotency_key: Some(key.clone()),
    };
    let response = client.call_with_key(&request, &key).await?;
    if args.in_place {
        context.printer.say("jobs that had failed because this one had stay FAILED");
    }
    if let Some(count) = response.children.filter(|count| *count > 1) {
        context.printer.say(&format!("{count} children run again"));
    }
    let answer = answer(&response);
    if !args.wait {
        return Ok(answer.into());
    }
    context.printer.print(&answer)?;
    let id: JobRef =
        response.job_id.parse().attempt(|| "read the answer to RerunJob".to_owned())?;
    let limit = context.timeout();
    let jobs = wait::until_ended(&client, &context.printer, &[id], false, limit).await?;
    Ok(Outcome::exit(wait::exit_of(&jobs)))
}

fn answer(response: &RerunJobResponse) -> Answer {
    let id = response.job_id.clone();
    let text = format!("{id}\n");
    Answer::one(response, vec![id], text)
}

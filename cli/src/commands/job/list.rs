//! `windrow job list`: page after page, each shown as it comes.

use windrow_common::api::jobs::{JobStatus, JobSummary, KeyValuesPair, ListJobs, ListJobsResponse};

use super::show;
use crate::args::ListArgs;
use crate::client::Client;
use crate::context::Context;
use crate::failure::{Exit, Failure, Result};
use crate::output::{Answer, Outcome, View};
use crate::pages;

/// Jobs asked for at once: few answers, each well below NATS' largest message.
const PAGE: usize = 250;
/// The same with filters, as AWS Batch limits it.
const PAGE_FILTERED: usize = 100;

pub(super) async fn run(context: &Context, args: ListArgs) -> Result<Outcome> {
    let limit = args.limit.unwrap_or(usize::MAX);
    let mut request = request(args)?;
    let client = context.client().await?;
    let printer = &context.printer;
    let page_max = if request.filters.is_empty() { PAGE } else { PAGE_FILTERED };
    let mut kept: Vec<JobSummary> = Vec::new();
    let mut listed = 0;
    while listed < limit {
        request.max_results = u32::try_from(page_max.min(limit - listed)).ok();
        let response = client.call(&request).await?;
        listed += response.job_summary_list.len();
        request.next_token = response.next_token;
        kept.extend(response.job_summary_list);
        if request.next_token.is_none() {
            break;
        }
        // A document is one piece; everything else is shown as it comes.
        if printer.streams() && !kept.is_empty() {
            let is_first = listed == kept.len();
            printer.print_part(&answer(std::mem::take(&mut kept)), is_first)?;
        }
    }
    if !printer.streams() || listed == kept.len() {
        return Ok(answer(kept).into());
    }
    if !kept.is_empty() {
        printer.print_part(&answer(kept), false)?;
    }
    Ok(Outcome::exit(Exit::Done))
}

/// Every job that these flags select.
pub(super) async fn select(client: &Client, args: ListArgs) -> Result<Vec<JobSummary>> {
    let max_results = u32::try_from(PAGE_FILTERED).ok();
    pages::all(client, ListJobs { max_results, ..request(args)? }).await
}

pub(super) fn answer(jobs: Vec<JobSummary>) -> Answer {
    let names = jobs.iter().map(|job| job.job_id.clone()).collect();
    let view = View::Grid(show::list(&jobs), "no jobs");
    let response = ListJobsResponse { job_summary_list: jobs, next_token: None };
    Answer::list(&response, "jobSummaryList", names, view)
}

/// The request of these flags. Without filters the status is asked for directly: larger pages.
fn request(args: ListArgs) -> Result<ListJobs> {
    let status = match args.status.as_str() {
        all if all.eq_ignore_ascii_case("all") => "ALL".to_owned(),
        one => one.parse::<JobStatus>().map_err(Failure::error)?.to_string(),
    };
    let filters = [
        ("JOB_NAME", args.name),
        ("JOB_DEFINITION", args.definition),
        ("AFTER_CREATED_AT", args.since.map(|at| at.0.to_string())),
        ("BEFORE_CREATED_AT", args.before.map(|at| at.0.to_string())),
        ("SHARE_IDENTIFIER", args.share),
    ];
    let pair = |(name, value): (&str, String)| KeyValuesPair {
        name: name.to_owned(),
        values: vec![value],
    };
    let mut filters: Vec<_> =
        filters.into_iter().filter_map(|(name, value)| Some(pair((name, value?)))).collect();
    let job_status = match filters.is_empty() {
        true => Some(status),
        false => {
            filters.push(pair(("JOB_STATUS", status)));
            None
        }
    };
    Ok(ListJobs {
        job_queue: args.queue,
        array_job_id: args.children,
        multi_node_job_id: args.nodes,
        job_status,
        filters,
        sort: args.oldest_first.then(|| "OLDEST_FIRST".to_owned()),
        ..Default::default()
    })
}

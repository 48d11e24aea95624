//! ListJobs: jobs of a queue or of all, and children of an array. A page costs what it shows: rows come
//! from tables in the order of the list, and what no table answers is looked at a bounded number of
//! rows at a time, so that a page may be short and still have a token.

mod shelf;

use windrow_common::api::ApiError;
use windrow_common::api::explain::WaitCode;
use windrow_common::api::jobs::{JobStatus, JobSummary, KeyValuesPair, ListJobs, ListJobsResponse};
use windrow_common::ids::{JobId, JobRef, Name};
use windrow_common::time::Timestamp;

use super::explain::{STRETCHES_MAX, representative_within};
use super::jobs::{date_counts, summary};
use super::{LOOKS_MAX, Page, bad_token, page_limit, shown, token};
use crate::core::State;
use crate::core::arn;
use crate::core::find;
use crate::core::listing::{Pattern, Row, Rows};
use crate::core::state::Job;
use crate::scheduler::explain::Look;

pub(super) use shelf::ShelfList;

/// Most rows of one page, as AWS has it.
const LIST_MAX: u32 = 1000;
/// Most rows of one page with filters, as AWS has it.
const FILTERED_MAX: u32 = 100;
/// The one filter beside which `jobStatus` counts.
const SHARE_IDENTIFIER: &str = "SHARE_IDENTIFIER";
/// Most chunks of an array's children that one page looks at, for the same reason.
const CHUNKS_MAX: usize = 256;

/// Jobs of a queue (or all), or children of an array; jobs newest first, children by index.
///
/// # Errors
/// Unknown queue, array, status, filter or token, or a wrong page size.
pub fn list_jobs(
    state: &State,
    request: &ListJobs,
    now: Timestamp,
) -> Result<ListJobsResponse, ApiError> {
    let queue = request.job_queue.as_deref().filter(|q| !q.is_empty());
    let array = request.array_job_id.as_deref().filter(|a| !a.is_empty());
    let nodes = request.multi_node_job_id.as_deref().filter(|n| !n.is_empty());
    let mut page = match (queue, array, nodes) {
        (queue, None, None) => list_queue(state, request, queue),
        (None, Some(array), None) => list_children(state, request, array),
        (None, None, Some(nodes)) => list_nodes(state, request, nodes),
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => {
            Err(ApiError::invalid("give either jobQueue, arrayJobId or multiNodeJobId, not both"))
        }
    }?;
    page.rows.iter_mut().for_each(|row| date_counts(&mut row.array_properties, now));
    add_wait_codes(state, &mut page.rows, now);
    Ok(ListJobsResponse { job_summary_list: page.rows, next_token: page.next_token })
}

/// Says of each row that waits what for.
fn add_wait_codes(state: &State, rows: &mut [JobSummary], now: Timestamp) {
    let (mut look, mut stretches) = (None, STRETCHES_MAX);
    for row in rows.iter_mut().filter(|row| !row.status.is_terminal()) {
        let id = row.job_id.parse::<JobRef>().ok();
        let Some((id, job)) = id.and_then(|id| Some((id, state.jobs.get(&id.job)?))) else {
            continue;
        };
        let Some(id) = representative_within(id, job, &mut stretches) else { continue };
        let look = look.get_or_insert_with(|| Look::new(state, now, None));
        let code = look.why(id).code();
        row.wait_code = (code != WaitCode::Running).then_some(code);
    }
}

/// The statuses asked for: by default RUNNING.
fn statuses(request: &ListJobs, default: &[JobStatus]) -> Result<Vec<JobStatus>, ApiError> {
    match request.job_status.as_deref().filter(|s| !s.is_empty()) {
        None => Ok(default.to_vec()),
        Some(text) => parse_statuses(text),
    }
}

fn parse_statuses(text: &str) -> Result<Vec<JobStatus>, ApiError> {
    if text.eq_ignore_ascii_case("all") {
        return Ok(JobStatus::ALL.to_vec());
    }
    Ok(vec![text.parse().map_err(ApiError::invalid)?])
}

/// What jobs have to be like.
#[derive(Debug)]
struct Filters {
    name: Option<Pattern>,
    definition: Option<Pattern>,
    /// Of a definition named by its ARN.
    revision: Option<u32>,
    before: Option<u64>,
    after: Option<u64>,
    statuses: Vec<JobStatus>,
    share: Option<String>,
}

impl Filters {
    fn read(request: &ListJobs) -> Result<Self, ApiError> {
        // By share, the status given counts, as AWS has it.
        let default = if request.filters.iter().all(|f| f.name == SHARE_IDENTIFIER) {
            statuses(request, &[JobStatus::Running])?
        } else {
            JobStatus::ALL.to_vec()
        };
        let mut filters = Self {
            name: None,
            definition: None,
            revision: None,
            before: None,
            after: None,
            statuses: default,
            share: None,
        };
        for (number, filter) in request.filters.iter().enumerate() {
            if request.filters[..number].iter().any(|other| other.name == filter.name) {
                let shown = shown(&filter.name);
                return Err(ApiError::invalid(format!("filter `{shown}` is given twice")));
            }
            filters.add(filter)?;
        }
        Ok(filters)
    }

    fn add(&mut self, filter: &KeyValuesPair) -> Result<(), ApiError> {
        let [value] = filter.values.as_slice() else {
            return Err(ApiError::invalid(format!(
                "filter `{}` takes exactly one value, got {}",
                shown(&filter.name),
                filter.values.len()
            )));
        };
        match filter.name.as_str() {
            "JOB_NAME" => self.name = Some(Pattern::parse(&value.to_ascii_lowercase())),
            "JOB_DEFINITION" => (self.definition, self.revision) = definition(value)?,
            "BEFORE_CREATED_AT" => self.before = Some(millis(&filter.name, value)?),
            "AFTER_CREATED_AT" => self.after = Some(millis(&filter.name, value)?),
            "JOB_STATUS" => self.statuses = parse_statuses(value)?,
            SHARE_IDENTIFIER => self.share = Some(value.clone()),
            other => {
                return Err(ApiError::invalid(format!("there is no filter `{}`", shown(other)))
                    .hint("use JOB_NAME, JOB_DEFINITION, BEFORE_CREATED_AT, AFTER_CREATED_AT, SHARE_IDENTIFIER or JOB_STATUS"));
            }
        }
        Ok(())
    }

    fn matches(&self, job: &Job) -> bool {
        self.name.as_ref().is_none_or(|p| p.matches(&job.name.as_str().to_ascii_lowercase()))
            && self.definition.as_ref().is_none_or(|p| p.matches(job.definition.0.as_str()))
            && self.revision.is_none_or(|revision| revision == job.definition.1)
            && self.before.is_none_or(|before| job.created_at.0 < before)
            && self.after.is_none_or(|after| job.created_at.0 > after)
            && self
                .share
                .as_deref()
                .is_none_or(|s| job.share.as_ref().is_some_and(|n| n.as_str() == s))
            && (self.statuses.len() == JobStatus::ALL.len()
                || self.statuses.contains(&job.status()))
    }
}

/// A name (any revision; a trailing `*`: names that begin so) or the ARN of one revision.
fn definition(value: &str) -> Result<(Option<Pattern>, Option<u32>), ApiError> {
    if !value.starts_with("arn:") {
        return Ok((Some(Pattern::parse(value)), None));
    }
    let exact = arn::plain(value).split_once(':').filter(|(_, number)| !number.contains('*'));
    let exact = exact.and_then(|(name, number)| Some((name, number.parse().ok()?)));
    let (name, revision) = exact.ok_or_else(|| {
        ApiError::invalid(format!(
            "filter `JOB_DEFINITION`: `{}` is not the ARN of one revision",
            shown(value)
        ))
        .hint("give the ARN with its revision, or a name, which may end in `*`")
    })?;
    Ok((Some(Pattern::Exact(name.to_owned())), Some(revision)))
}

pub(super) fn millis(name: &str, value: &str) -> Result<u64, ApiError> {
    value.parse().map_err(|_| {
        ApiError::invalid(format!(
            "filter `{name}` takes milliseconds since 1970 as a number, got `{}`",
            shown(value)
        ))
    })
}

/// Whether the oldest come first.
fn is_oldest_first(request: &ListJobs) -> Result<bool, ApiError> {
    match request.sort.as_deref().filter(|sort| !sort.is_empty()) {
        None | Some("NEWEST_FIRST") => Ok(false),
        Some("OLDEST_FIRST") => Ok(true),
        Some(other) => Err(ApiError::invalid(format!(
            "sort must be `NEWEST_FIRST` or `OLDEST_FIRST`, got `{}`",
            shown(other)
        ))),
    }
}

fn list_queue(
    state: &State,
    request: &ListJobs,
    queue: Option<&str>,
) -> Result<Page<JobSummary>, ApiError> {
    let queue = queue.map(|text| find::queue(state, text).map(|(name, _)| name)).transpose()?;
    let filters = Filters::read(request)?;
    let page_max = if request.filters.is_empty() { LIST_MAX } else { FILTERED_MAX };
    let limit = page_limit(request.max_results, page_max)?;
    let rows = rows(state, request, queue.as_ref(), &filters)?;
    let mut page = Page { rows: Vec::new(), next_token: None };
    let mut last: Option<Row> = None;
    for (looks, row) in rows.enumerate() {
        if page.rows.len() == limit || looks == LOOKS_MAX {
            page.next_token = last.as_ref().map(write_token);
            break;
        }
        let found = state.index.orders.job(row.order);
        if let Some((id, job)) = found.and_then(|id| Some((id, state.jobs.get(&id)?)))
            && filters.matches(job)
        {
            page.rows.push(summary(state, JobRef::from(id), job));
        }
        last = Some(row);
    }
    if page.next_token.is_none() && !is_oldest_first(request)? {
        page.next_token = shelf::first_token(state, queue.as_ref(), &filters);
    }
    Ok(page)
}

/// Rows after the token, from the table that fits the filters best.
fn rows<'a>(
    state: &'a State,
    request: &ListJobs,
    queue: Option<&Name>,
    filters: &Filters,
) -> Result<Rows<'a>, ApiError> {
    let given = token(request.next_token.as_ref());
    let after = match given {
        None => None,
        Some(token) => Some(parse_token(token).ok_or_else(|| bad_token(token))?),
    };
    let listing = &state.index.listing;
    let oldest_first = is_oldest_first(request)?;
    let Some((pattern, is_name)) = by_group(filters) else {
        let rest = match after {
            None => 0..u64::MAX,
            Some((None, order)) if oldest_first => order.saturating_add(1)..u64::MAX,
            Some((None, order)) => 0..order,
            Some((Some(_), _)) => return Err(bad_token(given.unwrap_or_default())),
        };
        let mut spans = state.index.orders.created_within(filters.after, filters.before);
        if !oldest_first {
            spans.reverse();
        }
        let spans = spans.into_iter().map(move |s| s.start.max(rest.start)..s.end.min(rest.end));
        let (queue, statuses) = (queue.cloned(), filters.statuses.clone());
        return Ok(Box::new(spans.filter(|span| !span.is_empty()).flat_map(move |span| {
            listing.by_status(queue.as_ref(), &statuses, span, oldest_first)
        })));
    };
    if oldest_first {
        return Err(ApiError::invalid(
            "sort `OLDEST_FIRST` does not go with the filters JOB_NAME and JOB_DEFINITION: those lists are grouped by name",
        ));
    }
    let after = match after {
        None => None,
        Some((Some(group), order)) => Some((group, order)),
        Some((None, _)) => return Err(bad_token(given.unwrap_or_default())),
    };
    Ok(match is_name {
        true => listing.by_name(queue, pattern, after.as_ref()),
        false => listing.by_definition(queue, pattern, after.as_ref()),
    })
}

/// The filter whose table is used, and whether it is the one by name.
fn by_group(filters: &Filters) -> Option<(&Pattern, bool)> {
    let name = filters.name.as_ref().map(|pattern| (pattern, true));
    name.or_else(|| filters.definition.as_ref().map(|pattern| (pattern, false)))
}

/// The last row given, or looked at: `ORDER`, in lists by name `NAME.ORDER`.
fn write_token(row: &Row) -> String {
    let group = row.group.as_ref().map_or_else(String::new, |group| format!("{group}."));
    format!("{group}{}", row.order)
}

fn parse_token(token: &str) -> Option<(Option<Name>, u64)> {
    let (group, order) = match token.rsplit_once('.') {
        None => (None, token),
        Some((group, order)) => (Some(group.parse().ok()?), order),
    };
    Some((group, order.parse().ok()?))
}

fn list_children(
    state: &State,
    request: &ListJobs,
    array: &str,
) -> Result<Page<JobSummary>, ApiError> {
    let (id, job) =
        find_whole(state, array, ("array job", "children"), |job| job.array_size.is_some())?;
    list_parts(state, request, id, job)
}

fn list_nodes(
    state: &State,
    request: &ListJobs,
    nodes: &str,
) -> Result<Page<JobSummary>, ApiError> {
    let (id, job) =
        find_whole(state, nodes, ("multi-node job", "nodes"), |job| job.nodes.is_some())?;
    list_parts(state, request, id, job)
}

/// The job that a text names as a whole, of a kind that has such parts.
fn find_whole<'a>(
    state: &'a State,
    text: &str,
    (kind, parts): (&str, &str),
    is_one: impl Fn(&Job) -> bool,
) -> Result<(JobId, &'a Job), ApiError> {
    let id = arn::plain(text).parse::<JobId>().ok();
    let found = id.and_then(|id| Some((id, state.jobs.get(&id)?)));
    match found {
        Some((id, job)) if is_one(job) => Ok((id, job)),
        Some((id, _)) => {
            Err(ApiError::invalid(format!("job {id} is no {kind} and has no {parts}"))
                .hint(format!("`windrow job get {id}` shows it")))
        }
        None => Err(ApiError::not_found(format!("{kind} `{}` does not exist", shown(text)))
            .hint("`windrow job list` shows the jobs there are")),
    }
}

/// Children of an array, or nodes, by index.
fn list_parts(
    state: &State,
    request: &ListJobs,
    id: JobId,
    job: &Job,
) -> Result<Page<JobSummary>, ApiError> {
    if !request.filters.is_empty() {
        return Err(ApiError::invalid("filters do not apply to the children or nodes of a job")
            .hint("select by jobStatus"));
    }
    if is_oldest_first(request)? {
        return Err(ApiError::invalid("children and nodes are always listed by their index"));
    }
    let statuses = statuses(request, &[JobStatus::Running])?;
    let limit = page_limit(request.max_results, LIST_MAX)?;
    let mut from = match token(request.next_token.as_ref()) {
        None => Some(0),
        Some(token) => Some(token.parse::<u32>().map_err(|_| bad_token(token))?),
    }
    .filter(|from| *from < job.children.size());
    let row = |child| summary(state, job.part(id, child), job);
    let mut page = Page { rows: Vec::new(), next_token: None };
    let mut looks = 0;
    while let Some(start) = from {
        if page.rows.len() == limit || looks == CHUNKS_MAX {
            page.next_token = Some(start.to_string());
            break;
        }
        let (found, next) = children(job, &statuses, start);
        looks += 1;
        from = next;
        for child in found {
            if page.rows.len() == limit {
                from = Some(child);
                break;
            }
            page.rows.push(row(child));
        }
    }
    Ok(page)
}

/// Children from `start` on with one of these statuses, and where to look next.
fn children<'a>(
    job: &'a Job,
    statuses: &[JobStatus],
    start: u32,
) -> (Box<dyn Iterator<Item = u32> + 'a>, Option<u32>) {
    match statuses {
        [one] => {
            let (ranges, next) = job.children.with_status(*one, start);
            (Box::new(ranges.into_iter().flatten()), next)
        }
        _ => (Box::new(start..job.children.size()), None),
    }
}

//! Answers to questions: the state in the API's shapes. Reads only.

pub mod changes;
mod consumables;
mod explain;
pub mod history;
mod jobs;
mod list;
mod plan;
mod policies;
mod quota;
mod resources;
mod snapshot;
mod tags;
mod workload;

pub use consumables::{describe_consumable, list_consumables, list_consumers};
pub use explain::{explain_job, explain_queue};
pub use jobs::describe_jobs;
pub use list::list_jobs;
pub use plan::plan_job;
pub use policies::{describe_policies, list_policies};
pub use quota::{describe_quota_share, list_quota_shares};
pub use resources::{
    describe_definitions, describe_environments, describe_queues, list_agents, statistics,
};
pub use snapshot::queue_snapshot;
pub use tags::list_tags;

use windrow_common::api::ApiError;

/// Most rows of one page where AWS has 100.
const PAGE_MAX: u32 = 100;

/// One page of rows: those after `token`, which is the key of the last row given.
struct Page<T> {
    rows: Vec<T>,
    next_token: Option<String>,
}

/// Cuts a page out of rows with ascending (or descending) keys. `rows` yields, from the row after the
/// token on, each row with its key.
fn page<T>(
    rows: impl Iterator<Item = (String, T)>,
    max_results: Option<u32>,
    page_max: u32,
) -> Result<Page<T>, ApiError> {
    let limit = page_limit(max_results, page_max)?;
    let mut page = Page { rows: Vec::new(), next_token: None };
    let mut last = None;
    for (key, row) in rows {
        if page.rows.len() == limit {
            page.next_token = last;
            break;
        }
        page.rows.push(row);
        last = Some(key);
    }
    Ok(page)
}

/// How many rows a page holds.
fn page_limit(max_results: Option<u32>, page_max: u32) -> Result<usize, ApiError> {
    match max_results {
        Some(n) if n == 0 || n > page_max => {
            Err(ApiError::invalid(format!("maxResults must be from 1 to {page_max}, got {n}")))
        }
        Some(n) => Ok(n as usize),
        None => Ok(page_max as usize),
    }
}

/// The token, if it is one: clients send an empty one for none.
fn token(next_token: Option<&String>) -> Option<&str> {
    next_token.map(String::as_str).filter(|token| !token.is_empty())
}

fn bad_token(token: &str) -> ApiError {
    let shown: String = token.chars().take(80).collect();
    ApiError::invalid(format!("nextToken `{shown}` is not one this operation gave"))
}

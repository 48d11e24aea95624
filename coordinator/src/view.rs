//! Answers to questions: the state in the API's shapes. Reads only.

mod access;
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
mod services;
mod snapshot;
mod tags;
mod workload;

pub use access::list_access_keys;
pub use consumables::{describe_consumable, list_consumables, list_consumers};
pub use explain::{explain_job, explain_queue};
pub use jobs::describe_jobs;
pub use list::list_jobs;
pub use plan::plan_job;
pub use policies::{describe_policies, list_policies};
pub use quota::{describe_quota_share, list_quota_shares};
pub use resources::{
    Heard, describe_definitions, describe_environments, describe_queues, list_agents, statistics,
};
pub use services::{describe_service_environments, describe_service_job, list_service_jobs};
pub use snapshot::queue_snapshot;
pub use tags::list_tags;

use std::collections::BTreeMap;
use std::ops::Bound;

use windrow_common::api::ApiError;
use windrow_common::ids::Name;

use crate::core::arn;

/// Most rows of one page where AWS has 100.
const PAGE_MAX: u32 = 100;
/// Most rows of a table that one page looks at: some milliseconds of the coordinator's time.
const LOOKS_MAX: usize = 20_000;

/// One page of rows: those after `token`, which is the key of the last row given.
struct Page<T> {
    rows: Vec<T>,
    next_token: Option<String>,
}

/// Cuts a page out of rows with ascending (or descending) keys. `rows` yields, from the row after the
/// token on, each row with its key.
fn page<K: ToString, T>(
    rows: impl Iterator<Item = (K, T)>,
    max_results: Option<u32>,
    page_max: u32,
) -> Result<Page<T>, ApiError> {
    page_of_some(rows.map(|(key, row)| (key, Some(row))), max_results, page_max)
}

/// The same, of rows some of which are not meant: a page that had to look at very many of those is
/// short and has a token all the same.
fn page_of_some<K: ToString, T>(
    rows: impl Iterator<Item = (K, Option<T>)>,
    max_results: Option<u32>,
    page_max: u32,
) -> Result<Page<T>, ApiError> {
    let limit = page_limit(max_results, page_max)?;
    let mut page = Page { rows: Vec::new(), next_token: None };
    let mut last = None;
    for (looks, (key, row)) in rows.enumerate() {
        if page.rows.len() == limit || looks == LOOKS_MAX {
            page.next_token = last.map(|last: K| last.to_string());
            break;
        }
        page.rows.extend(row);
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

/// Rows of a map after the token, all of them or those named.
fn named<'a, V>(
    map: &'a BTreeMap<Name, V>,
    names: &'a [String],
    next_token: Option<&String>,
) -> Result<impl Iterator<Item = (&'a Name, &'a V)>, ApiError> {
    let after = match token(next_token) {
        None => Bound::Unbounded,
        Some(token) => Bound::Excluded(token.parse::<Name>().map_err(|_| bad_token(token))?),
    };
    let wanted = move |name: &Name| {
        names.is_empty() || names.iter().any(|text| arn::plain(text) == name.as_str())
    };
    Ok(map.range((after, Bound::Unbounded)).filter(move |(name, _)| wanted(name)))
}

/// The token, if it is one: clients send an empty one for none.
fn token(next_token: Option<&String>) -> Option<&str> {
    next_token.map(String::as_str).filter(|token| !token.is_empty())
}

fn bad_token(token: &str) -> ApiError {
    ApiError::invalid(format!("nextToken `{}` is not one this operation gave", shown(token)))
}

/// A user's text as far as a message shows it.
fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_finds_nothing_in_many_rows_ends_and_goes_on_from_there() {
        let is_meant = |row: usize| (row + 1).is_multiple_of(LOOKS_MAX + 5);
        let rows =
            |from: usize| (from..3 * LOOKS_MAX).map(move |row| (row, is_meant(row).then_some(row)));
        let first = page_of_some(rows(0), None, 100).unwrap();
        assert!(first.rows.is_empty());
        let token: usize = first.next_token.unwrap().parse().unwrap();
        assert_eq!(token, LOOKS_MAX - 1, "the last row looked at");
        let second = page_of_some(rows(token + 1), None, 100).unwrap();
        assert_eq!(second.rows, [LOOKS_MAX + 4]);
        assert!(second.next_token.is_some());
        let last = page_of_some(rows(2 * LOOKS_MAX), None, 100).unwrap();
        assert_eq!((last.rows, last.next_token), (vec![2 * LOOKS_MAX + 9], None));
        let full = page((0..10).map(|row| (row, row)), Some(3), 100).unwrap();
        assert_eq!((full.rows, full.next_token.as_deref()), (vec![0, 1, 2], Some("2")));
    }
}

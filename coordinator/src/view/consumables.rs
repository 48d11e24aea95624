//! Consumable resources and the jobs that take of them.

use windrow_common::api::ApiError;
use windrow_common::api::consumables::{
    ConsumableResourceSummary, ConsumableResourceType, DescribeConsumableResource,
    DescribeConsumableResourceResponse, JobByConsumableResource, ListConsumableResources,
    ListConsumableResourcesResponse, ListJobsByConsumableResource,
    ListJobsByConsumableResourceResponse,
};
use windrow_common::api::jobs::{JobStatus, KeyValuesPair};
use windrow_common::ids::{JobId, JobRef, Name};

use super::{PAGE_MAX, bad_token, jobs, named, page, page_of_some, shown, token};
use crate::core::State;
use crate::core::arn;
use crate::core::children::Child;
use crate::core::consumables::{Consumable, to_api};
use crate::core::find;
use crate::core::listing::Pattern;
use crate::core::state::Job;
use crate::scheduler::hold::needs_at_once;

/// One resource.
///
/// # Errors
/// It does not exist.
pub fn describe_consumable(
    state: &State,
    request: &DescribeConsumableResource,
) -> Result<DescribeConsumableResourceResponse, ApiError> {
    let (name, consumable) = find::consumable(state, &request.consumable_resource)?;
    Ok(DescribeConsumableResourceResponse {
        consumable_resource_name: name.to_string(),
        consumable_resource_arn: arn::consumable(&name),
        total_quantity: consumable.total,
        in_use_quantity: consumable.in_use,
        available_quantity: consumable.available(),
        resource_type: consumable.kind,
        created_at: consumable.created_at.0,
        tags: consumable.tags.clone(),
    })
}

/// Resources by name.
///
/// # Errors
/// A wrong filter, token or page size.
pub fn list_consumables(
    state: &State,
    request: &ListConsumableResources,
) -> Result<ListConsumableResourcesResponse, ApiError> {
    let filters = read_filters(&request.filters, &["CONSUMABLE_RESOURCE_NAME"])?;
    let rows = named(&state.consumables, &[], request.next_token.as_ref())?;
    let rows = rows
        .filter(|(name, _)| filters.iter().all(|filter| filter.matches(name.as_str())))
        .map(|(name, consumable)| (name.to_string(), summary(name, consumable)));
    let page = page(rows, request.max_results, PAGE_MAX)?;
    Ok(ListConsumableResourcesResponse {
        consumable_resources: page.rows,
        next_token: page.next_token,
    })
}

fn summary(name: &Name, consumable: &Consumable) -> ConsumableResourceSummary {
    ConsumableResourceSummary {
        consumable_resource_arn: arn::consumable(name),
        consumable_resource_name: name.to_string(),
        total_quantity: consumable.total,
        in_use_quantity: consumable.in_use,
        resource_type: consumable.kind,
    }
}

/// Jobs that take of a resource, newest first. A page looks at a bounded number of jobs, so that it may
/// be short and still have a token.
///
/// # Errors
/// Unknown resource, a wrong filter, token or page size.
pub fn list_consumers(
    state: &State,
    request: &ListJobsByConsumableResource,
) -> Result<ListJobsByConsumableResourceResponse, ApiError> {
    let (name, _) = find::consumable(state, &request.consumable_resource)?;
    let filters = read_filters(&request.filters, &["JOB_STATUS", "JOB_NAME"])?;
    let before = match token(request.next_token.as_ref()) {
        None => None,
        Some(token) => Some(token.parse::<JobId>().map_err(|_| bad_token(token))?),
    };
    let wanted = |job: &Job| {
        filters.iter().all(|filter| match filter.name {
            "JOB_STATUS" => filter.matches(job.status().as_str()),
            _ => filter.matches(job.name.as_str()),
        })
    };
    let rows = state.index.consumers(&name, before).rev().map(|id| {
        let job = &state.jobs[id];
        (*id, wanted(job).then(|| consumer(state, &name, *id, job)))
    });
    let page = page_of_some(rows, request.max_results, PAGE_MAX)?;
    Ok(ListJobsByConsumableResourceResponse { jobs: page.rows, next_token: page.next_token })
}

fn consumer(state: &State, name: &Name, id: JobId, job: &Job) -> JobByConsumableResource {
    let (needs, _) = needs_at_once(state, job);
    let taken = match state.consumables[name].kind {
        ConsumableResourceType::Replenishable => taken(state, name, job),
        ConsumableResourceType::NonReplenishable => 0,
    };
    let summary = jobs::summary(state, JobRef::from(id), job);
    JobByConsumableResource {
        job_arn: summary.job_arn,
        job_queue_arn: arn::queue(&job.queue),
        job_name: job.name.to_string(),
        job_definition_arn: arn::definition(&job.definition.0, job.definition.1),
        job_status: summary.status,
        quantity: quantity_of(name, &needs),
        in_use_quantity: taken,
        created_at: job.created_at.0,
        share_identifier: jobs::share_identifier(job),
        status_reason: summary.status_reason,
        started_at: summary.started_at,
        consumable_resource_properties: to_api(&needs).unwrap_or_default(),
    }
}

/// What the leased children of a job hold of a resource. Nodes may need different amounts.
fn taken(state: &State, name: &Name, job: &Job) -> u64 {
    let of_spec = |spec| quantity_of(name, &state.specs[&spec].spec.consumables);
    if job.nodes.is_none() {
        return of_spec(job.spec).saturating_mul(u64::from(job.live_count()));
    }
    let is_leased = |node: &u32| {
        matches!(*job.children.get(*node), Child::Starting { .. } | Child::Running { .. })
    };
    let nodes = (0..job.children.size()).filter(is_leased);
    nodes.map(|node| of_spec(job.spec_of(node))).fold(0, u64::saturating_add)
}

fn quantity_of(name: &Name, needs: &[(Name, u64)]) -> u64 {
    needs.iter().find(|(other, _)| other == name).map_or(0, |(_, quantity)| *quantity)
}

/// A filter of a known name: any of the values may match, in any case.
struct Filter {
    name: &'static str,
    patterns: Vec<Pattern>,
}

impl Filter {
    fn matches(&self, text: &str) -> bool {
        let text = text.to_ascii_lowercase();
        self.patterns.iter().any(|pattern| pattern.matches(&text))
    }
}

fn read_filters(
    filters: &[KeyValuesPair],
    known: &[&'static str],
) -> Result<Vec<Filter>, ApiError> {
    let read = |filter: &KeyValuesPair| {
        let found = known.iter().find(|name| **name == filter.name);
        let name = *found.ok_or_else(|| {
            ApiError::invalid(format!("there is no filter `{}`", shown(&filter.name)))
                .hint(format!("use {}", known.join(" or ")))
        })?;
        if filter.values.is_empty() {
            return Err(ApiError::invalid(format!("filter `{name}` needs at least one value")));
        }
        if name == "JOB_STATUS" {
            let wrong = filter.values.iter().find_map(|v| v.parse::<JobStatus>().err());
            wrong.map_or(Ok(()), |e| Err(ApiError::invalid(format!("filter `{name}`: {e}"))))?;
        }
        let patterns = filter.values.iter().map(|v| Pattern::parse(&v.to_ascii_lowercase()));
        Ok(Filter { name, patterns: patterns.collect() })
    };
    filters.iter().map(read).collect()
}

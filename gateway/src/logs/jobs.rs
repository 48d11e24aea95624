//! What jobs are of, which the names of their streams need and the stream of output does not say.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use windrow_common::ids::JobId;

use super::name::{Job, Kind};
use super::page::Attempt;
use crate::coordinator::Coordinator;
use crate::error::AwsError;
use crate::operations::Operation;

/// Jobs in one question.
const ASKED_MAX: usize = 100;
/// Jobs remembered; when there are more, all are forgotten.
const KNOWN_MAX: usize = 100_000;

/// Knows jobs, by asking the coordinator once about each: what is remembered of one never changes.
#[derive(Debug)]
pub(super) struct Jobs {
    coordinator: Coordinator,
    known: Mutex<HashMap<JobId, Job>>,
}

#[derive(Deserialize)]
struct Answer {
    jobs: Vec<Detail>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail {
    job_id: String,
    job_definition: String,
    array_properties: Option<Value>,
    node_properties: Option<Value>,
    container: Option<Container>,
    #[serde(default)]
    attempts: Vec<Tried>,
}

#[derive(Deserialize)]
struct Tried {
    container: Option<Container>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    log_stream_name: Option<String>,
}

impl Jobs {
    pub(super) fn new(coordinator: Coordinator) -> Self {
        Self { coordinator, known: Mutex::default() }
    }

    /// What these jobs are; those that the cluster does not know are absent.
    pub(super) async fn find(
        &self,
        ids: impl IntoIterator<Item = JobId>,
    ) -> Result<HashMap<JobId, Job>, AwsError> {
        let mut found = HashMap::new();
        let mut missing = BTreeSet::new();
        {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            for id in ids {
                match known.get(&id) {
                    Some(job) => drop(found.insert(id, job.clone())),
                    None => drop(missing.insert(id)),
                }
            }
        }
        let missing: Vec<String> = missing.iter().map(JobId::to_string).collect();
        for ids in missing.chunks(ASKED_MAX) {
            let details = self.describe(ids).await?;
            let new = details.iter().filter_map(Detail::job);
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= KNOWN_MAX {
                known.clear();
            }
            for (id, job) in new {
                known.insert(id, job.clone());
                found.insert(id, job);
            }
        }
        Ok(found)
    }

    /// Whether an attempt has got so far that its stream has a name.
    pub(super) async fn has_started(&self, job: &Job, of: Attempt) -> Result<bool, AwsError> {
        let name = job.stream(of);
        let details = self.describe(&[job.reference(of).to_string()]).await?;
        let containers = details.iter().flat_map(|detail| {
            let tried = detail.attempts.iter().filter_map(|tried| tried.container.as_ref());
            detail.container.iter().chain(tried)
        });
        let mut names = containers.filter_map(|container| container.log_stream_name.as_ref());
        Ok(names.any(|known| *known == name))
    }

    async fn describe(&self, ids: &[String]) -> Result<Vec<Detail>, AwsError> {
        let operation = Operation::find("DescribeJobs").expect("it is in the table");
        let request = Bytes::from(json!({ "jobs": ids }).to_string());
        let answer = self.coordinator.call(operation, request, true).await?;
        match serde_json::from_slice::<Answer>(&answer) {
            Ok(answer) => Ok(answer.jobs),
            Err(error) => Err(AwsError::server(
                500,
                format!("the coordinator's answer cannot be read: {error}"),
            )),
        }
    }
}

impl Detail {
    /// What it says of a job that is no child or node of another.
    fn job(&self) -> Option<(JobId, Job)> {
        let id = self.job_id.parse().ok()?;
        let definition = self.job_definition.rsplit('/').next()?.split(':').next()?.to_owned();
        let kind = match (&self.array_properties, &self.node_properties) {
            (_, Some(_)) => Kind::Nodes,
            (Some(_), None) => Kind::Array,
            (None, None) => Kind::Single,
        };
        Some((id, Job { definition, kind }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_told_by_its_detail() {
        let id = JobId::from_u128(7);
        let job = |more: Value| {
            let mut detail = json!({"jobId": id.to_string(),
                "jobDefinition": "arn:aws:batch:local:000000000000:job-definition/a-b:3"});
            detail.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value::<Detail>(detail).unwrap().job()
        };
        let with = |kind| Some((id, Job { definition: "a-b".to_owned(), kind }));
        assert_eq!(job(json!({})), with(Kind::Single));
        assert_eq!(job(json!({"arrayProperties": {"size": 3}})), with(Kind::Array));
        assert_eq!(job(json!({"nodeProperties": {"numNodes": 3}})), with(Kind::Nodes));
        assert_eq!(job(json!({"jobId": format!("{id}:3")})), None);
    }
}

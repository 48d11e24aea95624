//! How a page of finished jobs is written: specs once, then the jobs; cut into as many messages as it
//! takes.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use windrow_common::ids::JobId;
use windrow_common::streams::MESSAGE_BYTES_MAX;
use windrow_common::wire::lease::SpecDigest;

use crate::core::shelf::Record;
use crate::core::state::{Job, JobSpec};

/// Version of [`Content`]; a reader refuses higher ones.
const VERSION: u16 = 1;
/// Bytes of the version and the number of parts, before what each message has of the content.
const HEADER_BYTES: usize = 6;

/// What a page has.
#[derive(Debug, Serialize, Deserialize)]
struct Content {
    specs: BTreeMap<SpecDigest, Arc<JobSpec>>,
    jobs: Vec<Row>,
}

/// A [`Record`] without its specs.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    id: JobId,
    job: Box<Job>,
    specs: Vec<SpecDigest>,
    capabilities: Vec<String>,
}

/// A page as messages.
pub(crate) fn write(records: &[Record]) -> Vec<Vec<u8>> {
    let row = |record: &Record| Row {
        id: record.id,
        job: record.job.clone(),
        specs: record.specs.iter().map(|(digest, _)| *digest).collect(),
        capabilities: record.capabilities.clone(),
    };
    let specs = records.iter().flat_map(|record| record.specs.iter().cloned()).collect();
    let content = Content { specs, jobs: records.iter().map(row).collect() };
    let bytes = rmp_serde::to_vec(&content).expect("records have a MessagePack form");
    let parts = bytes.chunks(MESSAGE_BYTES_MAX - HEADER_BYTES);
    let count = u32::try_from(parts.len()).expect("fewer parts than bytes");
    let header = [&VERSION.to_be_bytes()[..], &count.to_be_bytes()].concat();
    parts.map(|part| [&header, part].concat()).collect()
}

/// How many parts the page has of which this is one, and what this one has of it.
///
/// # Errors
/// Says what is wrong with it.
pub(crate) fn part(message: &[u8]) -> Result<(u32, &[u8]), String> {
    let (version, rest) = message.split_first_chunk::<2>().ok_or("it is too short")?;
    let (count, part) = rest.split_first_chunk::<4>().ok_or("it is too short")?;
    match u16::from_be_bytes(*version) {
        version if version > VERSION => {
            Err(format!("it has version {version}, this program reads up to {VERSION}"))
        }
        _ => Ok((u32::from_be_bytes(*count), part)),
    }
}

/// The records of a page, from all of its parts together.
///
/// # Errors
/// Says what is wrong with it.
pub(crate) fn read(bytes: &[u8]) -> Result<Vec<Record>, String> {
    let content: Content = rmp_serde::from_slice(bytes).map_err(|e| e.to_string())?;
    let spec = |digest: &SpecDigest| Some((*digest, content.specs.get(digest)?.clone()));
    let record = |row: Row| {
        let specs: Vec<_> = row.specs.iter().filter_map(spec).collect();
        let has_all = specs.len() == row.specs.len();
        let Row { id, job, capabilities, .. } = row;
        has_all.then_some(Record { id, job, specs, capabilities })
    };
    let records = content.jobs.into_iter().map(record).collect::<Option<_>>();
    records.ok_or_else(|| "a job's spec is missing".to_owned())
}

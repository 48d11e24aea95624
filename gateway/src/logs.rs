//! Reading job output as CloudWatch Logs gives it: one group, `/aws/batch/job`, with a stream for each attempt
//! of a job. Called by `router`, once the caller is known and allowed to ask.

mod jobs;
mod list;
mod name;
mod page;
mod pattern;
mod request;
mod source;

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::consumer::DeliverPolicy;
use serde_json::{Value, json};
use tokio::time::Instant;
use windrow_common::ids::JobId;
use windrow_common::subjects::Subjects;

use crate::auth::LOGS_ARN;
use crate::coordinator::Coordinator;
use crate::error::AwsError;
use jobs::Jobs;
use list::{Listed, Order, Wanted};
use name::{Job, Kind};
use page::{Attempt, Cutter, Event, From, Page, Position, bad_token};
use pattern::Pattern;
use request::{Request, group_name};
use source::{Scan, Source, milliseconds, start_at};

/// The only group.
const GROUP: &str = "/aws/batch/job";
/// CloudWatch's limit of streams or groups on a page.
const LISTED_MAX: usize = 50;
/// CloudWatch's limit of streams named in a filter.
const NAMES_MAX: usize = 100;
/// What one FilterLogEvents reads at most, in bytes and time; then it gives what it has found and a token.
const FILTER_BYTES_MAX: usize = 64 << 20;
const FILTER_TIME_MAX: Duration = Duration::from_secs(5);

/// Reads job output.
#[derive(Debug)]
pub(crate) struct Logs {
    source: Source,
    jobs: Jobs,
}

impl Logs {
    /// Of the cluster with these subjects.
    pub(crate) fn new(nats: Client, subjects: Subjects, coordinator: Coordinator) -> Self {
        Self { source: Source::new(nats, subjects), jobs: Jobs::new(coordinator) }
    }

    /// Answers a request; `operation` is what follows the dot of its target header.
    ///
    /// # Errors
    /// As CloudWatch Logs gives them.
    pub(crate) async fn answer(&self, operation: &str, body: &[u8]) -> Result<Value, AwsError> {
        let request = Request::parse(body)?;
        match operation {
            "GetLogEvents" => self.get_log_events(&request).await,
            "FilterLogEvents" => self.filter_log_events(&request).await,
            "DescribeLogStreams" => self.describe_log_streams(&request).await,
            "DescribeLogGroups" => self.describe_log_groups(&request).await,
            "StartLiveTail" => {
                let message = "StartLiveTail is not supported: follow output with FilterLogEvents, as \
                               `aws logs tail --follow` does";
                Err(AwsError::new(400, "InvalidOperationException", message))
            }
            _ => {
                let message = format!("CloudWatch Logs' operation {operation} is not supported");
                Err(AwsError::new(400, "UnknownOperationException", message))
            }
        }
    }

    async fn get_log_events(&self, request: &Request) -> Result<Value, AwsError> {
        request.check_group()?;
        let name = request.required("logStreamName")?;
        let (times, limit) = (request.times()?, request.events_limit()?);
        let from_head = request.flag("startFromHead")?;
        let from = match request.text("nextToken")? {
            Some(token) => From::parse(token)?,
            None if from_head => From::Forward(Position::default()),
            None => From::Backward(Position::END),
        };
        let of = self.stream(name).await?;
        let mut page = Page::new(from, limit);
        let mut cutter = Cutter::default();
        let start = match from {
            From::Forward(Position { sequence: start_sequence @ 1.., .. }) => {
                DeliverPolicy::ByStartSequence { start_sequence }
            }
            From::Forward(_) | From::Backward(_) => start_at(times),
        };
        let mut scan = self.source.scan(vec![self.source.subject(of)], start).await?;
        'all: loop {
            let chunks = scan.next().await?;
            if chunks.is_empty() {
                break;
            }
            for chunk in chunks {
                if times.is_over(chunk.timestamp) {
                    break 'all;
                }
                let wanted = times.has(chunk.timestamp);
                for event in cutter.cut(&chunk).into_iter().filter(|_| wanted) {
                    if !page.add(event) {
                        break 'all;
                    }
                }
            }
        }
        scan.close();
        let (backward, forward) = page.tokens();
        let events: Vec<Value> = page.into_events().map(|event| shown(&event)).collect();
        Ok(json!({
            "events": events,
            "nextBackwardToken": backward,
            "nextForwardToken": forward,
        }))
    }

    async fn filter_log_events(&self, request: &Request) -> Result<Value, AwsError> {
        request.check_group()?;
        let (times, limit) = (request.times()?, request.events_limit()?);
        let pattern = Pattern::parse(request.any_text("filterPattern")?)?;
        let prefix = request.text("logStreamNamePrefix")?;
        let names = request.texts("logStreamNames", NAMES_MAX)?;
        let subjects = self.searched(names, prefix).await?;
        let from = match request.text("nextToken")? {
            Some(token) => Position::parse(token).ok_or_else(bad_token)?,
            None => Position::default(),
        };
        let start = match from.sequence {
            0 => start_at(times),
            start_sequence => DeliverPolicy::ByStartSequence { start_sequence },
        };
        let mut scan = self.source.scan(subjects, start).await?;
        let mut search = Search {
            pattern,
            prefix: prefix.unwrap_or_default(),
            page: Page::new(From::Forward(from), limit),
            cutter: Cutter::default(),
            names: HashMap::new(),
        };
        let (deadline, mut bytes) = (Instant::now() + FILTER_TIME_MAX, 0);
        let mut next = None;
        loop {
            let chunks = scan.next().await?;
            let Some(last) = chunks.last() else { break };
            let behind = Position { sequence: last.sequence + 1, offset: 0 };
            let mut events = Vec::new();
            for chunk in &chunks {
                bytes += chunk.data.len();
                let cut = search.cutter.cut(chunk);
                let wanted = |event: &Event| {
                    times.has(event.timestamp) && search.pattern.matches(&event.message)
                };
                events.extend(cut.into_iter().filter(wanted));
            }
            let jobs = self.jobs.find(events.iter().map(|event| event.of.job)).await?;
            if !search.add(events, &jobs) {
                break;
            }
            if chunks.iter().any(|chunk| times.is_over(chunk.timestamp)) {
                break;
            }
            if bytes >= FILTER_BYTES_MAX || Instant::now() >= deadline {
                next = Some(behind);
                break;
            }
        }
        let is_all = scan.is_over();
        scan.close();
        if search.page.is_full() {
            next = Some(search.page.bounds().1);
        } else if is_all {
            next = None;
        }
        Ok(search.answer(next))
    }

    /// Subjects of the streams that are searched.
    async fn searched(
        &self,
        names: Option<Vec<&str>>,
        prefix: Option<&str>,
    ) -> Result<Vec<String>, AwsError> {
        let Some(names) = names else {
            return Ok(vec![self.source.subjects_of(prefix.and_then(name::job))]);
        };
        if prefix.is_some() {
            return Err(invalid("give logStreamNames or logStreamNamePrefix, not both"));
        }
        // The server refuses a reader that names a subject twice.
        let mut subjects = BTreeSet::new();
        for name in names {
            subjects.insert(self.source.subject(self.stream(name).await?));
        }
        Ok(subjects.into_iter().collect())
    }

    async fn describe_log_streams(&self, request: &Request) -> Result<Value, AwsError> {
        request.check_group()?;
        let prefix = request.text("logStreamNamePrefix")?;
        let order = match request.text("orderBy")? {
            None | Some("LogStreamName") => Order::Name,
            Some("LastEventTime") if prefix.is_some() => {
                return Err(invalid("Cannot order by LastEventTime with a logStreamNamePrefix."));
            }
            Some("LastEventTime") => Order::Last,
            Some(other) => {
                return Err(invalid(format!(
                    "1 validation error detected: Value '{other}' at 'orderBy' failed to satisfy constraint: \
                     Member must satisfy enum value set: [LogStreamName, LastEventTime]"
                )));
            }
        };
        let wanted = Wanted {
            prefix: prefix.unwrap_or_default(),
            order,
            descending: request.flag("descending")?,
            limit: request.limit(LISTED_MAX)?,
            token: request.text("nextToken")?,
        };
        let (streams, token) = wanted.page(self.streams(prefix).await?)?;
        let mut shown = Vec::with_capacity(streams.len());
        for Listed { name, of, last } in streams {
            let first = self.source.first(of).await?.unwrap_or(last);
            shown.push(json!({
                "arn": format!("{LOGS_ARN}log-group:{GROUP}:log-stream:{name}"),
                "logStreamName": name,
                "creationTime": first,
                "firstEventTimestamp": first,
                "lastEventTimestamp": last,
                "lastIngestionTime": last,
                "storedBytes": 0,
            }));
        }
        Ok(with_token(json!({ "logStreams": shown }), token))
    }

    async fn describe_log_groups(&self, request: &Request) -> Result<Value, AwsError> {
        request.limit(LISTED_MAX)?;
        let prefix = request.text("logGroupNamePrefix")?;
        let part = request.text("logGroupNamePattern")?;
        let identifiers = request.texts("logGroupIdentifiers", LISTED_MAX)?;
        if prefix.is_some() && part.is_some() {
            return Err(invalid("give logGroupNamePrefix or logGroupNamePattern, not both"));
        }
        if request.text("nextToken")?.is_some() {
            return Err(bad_token());
        }
        let is_wanted = GROUP.starts_with(prefix.unwrap_or_default())
            && GROUP.to_lowercase().contains(&part.unwrap_or_default().to_lowercase())
            && identifiers.is_none_or(|all| all.iter().any(|one| group_name(one) == GROUP));
        if !is_wanted {
            return Ok(json!({ "logGroups": [] }));
        }
        let info = self.source.info().await?;
        let arn = format!("{LOGS_ARN}log-group:{GROUP}");
        let mut group = json!({
            "logGroupName": GROUP,
            "arn": format!("{arn}:*"),
            "logGroupArn": arn,
            "logGroupClass": "STANDARD",
            "creationTime": milliseconds(info.created),
            "metricFilterCount": 0,
            "storedBytes": info.state.bytes,
        });
        let days = info.config.max_age.as_secs() / (24 * 3600);
        if days > 0 {
            group["retentionInDays"] = days.into();
        }
        Ok(json!({ "logGroups": [group] }))
    }

    /// The attempt whose stream has this name. The whole name is compared, as callers may be allowed to
    /// read the streams of some definitions only.
    async fn stream(&self, name: &str) -> Result<Attempt, AwsError> {
        let of = name::attempt(name).ok_or_else(|| not_found("stream"))?;
        let jobs = self.jobs.find([of.job]).await?;
        let job = jobs.get(&of.job).filter(|job| job.stream(of) == name);
        let job = job.ok_or_else(|| not_found("stream"))?;
        let is_there =
            self.source.first(of).await?.is_some() || self.jobs.has_started(job, of).await?;
        if is_there { Ok(of) } else { Err(not_found("stream")) }
    }

    /// The streams that have output and may have this prefix.
    async fn streams(&self, prefix: Option<&str>) -> Result<Vec<Listed>, AwsError> {
        let subjects = self.source.subjects_of(prefix.and_then(name::job));
        let mut scan: Scan = self.source.scan_last(subjects).await?;
        let mut found = Vec::new();
        loop {
            let chunks = scan.next().await?;
            if chunks.is_empty() {
                break;
            }
            let jobs = self.jobs.find(chunks.iter().map(|chunk| chunk.of.job)).await?;
            found.extend(chunks.iter().filter_map(|chunk| {
                let name = stream_name(&jobs, chunk.of)?;
                Some(Listed { name, of: chunk.of, last: chunk.timestamp })
            }));
        }
        scan.close();
        Ok(found)
    }
}

/// A search through several streams.
struct Search<'a> {
    pattern: Pattern,
    prefix: &'a str,
    page: Page,
    cutter: Cutter,
    /// Names of the streams on the page.
    names: HashMap<Attempt, String>,
}

impl Search<'_> {
    /// Takes events whose messages are wanted; false: the page is full.
    fn add(&mut self, events: Vec<Event>, jobs: &HashMap<JobId, Job>) -> bool {
        for event in events {
            let name = match self.names.entry(event.of) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => match stream_name(jobs, event.of) {
                    Some(name) => new.insert(name),
                    // The job is no longer known, so nobody can ask for its stream.
                    None => continue,
                },
            };
            let is_wanted = name.starts_with(self.prefix);
            if is_wanted && !self.page.add(event) {
                return false;
            }
        }
        true
    }

    fn answer(self, next: Option<Position>) -> Value {
        let show = |event: Event| {
            let mut value = shown(&event);
            value["logStreamName"] = self.names.get(&event.of).map(String::as_str).into();
            value["eventId"] = event.position.to_string().into();
            value
        };
        let events: Vec<Value> = self.page.into_events().map(show).collect();
        let next = next.map(|next| next.to_string());
        with_token(json!({ "events": events, "searchedLogStreams": [] }), next)
    }
}

/// Name of an attempt's stream, if its job is one of these.
fn stream_name(jobs: &HashMap<JobId, Job>, of: Attempt) -> Option<String> {
    let job = jobs.get(&of.job)?;
    // Single jobs have no children, whatever a message says.
    (job.kind != Kind::Single || of.child == 0).then(|| job.stream(of))
}

fn shown(event: &Event) -> Value {
    json!({
        "timestamp": event.timestamp,
        "ingestionTime": event.timestamp,
        "message": event.message,
    })
}

fn with_token(mut answer: Value, token: Option<String>) -> Value {
    if let Some(token) = token {
        answer["nextToken"] = token.into();
    }
    answer
}

/// A member that is not as it should be.
fn invalid(message: impl Into<String>) -> AwsError {
    AwsError::new(400, "InvalidParameterException", message)
}

/// There is no such `group` or `stream`.
fn not_found(what: &str) -> AwsError {
    let message = format!("The specified log {what} does not exist.");
    AwsError::new(400, "ResourceNotFoundException", message)
}

//! Progress of waited jobs on standard error: a bar on a terminal, else a line now and then.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;
use windrow_common::api::jobs::{JobDetail, JobStatus};

/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Shows how far jobs are.
pub(crate) struct Progress {
    form: Form,
}

enum Form {
    Bar(ProgressBar),
    Lines { next: Instant },
}

/// Children by what they are doing; a single job counts as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    total: u64,
    succeeded: u64,
    failed: u64,
    running: u64,
}

impl Counts {
    fn of(jobs: &[JobDetail]) -> Self {
        let mut counts = Self::default();
        for job in jobs {
            let summary = job.array_properties.as_ref().filter(|array| array.size.is_some());
            match summary {
                Some(array) => array.status_summary.iter().for_each(|(s, n)| counts.add(*s, *n)),
                None => counts.add(job.status, 1),
            }
        }
        counts
    }

    fn add(&mut self, status: JobStatus, number: u32) {
        let number = u64::from(number);
        self.total += number;
        match status {
            JobStatus::Succeeded => self.succeeded += number,
            JobStatus::Failed => self.failed += number,
            JobStatus::Starting | JobStatus::Running => self.running += number,
            JobStatus::Submitted | JobStatus::Pending | JobStatus::Runnable => {}
        }
    }

    fn done(self) -> u64 {
        self.succeeded + self.failed
    }

    fn text(self) -> String {
        format!("{} running, {} failed", self.running, self.failed)
    }
}

impl Progress {
    pub(crate) fn new() -> Self {
        let is_dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
        if !std::io::stderr().is_terminal() || is_dumb {
            return Self { form: Form::Lines { next: Instant::now() + LINE_EVERY } };
        }
        let style =
            ProgressStyle::with_template("{bar:30} {pos}/{len} done, {msg}, {elapsed}, eta {eta}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        Self { form: Form::Bar(bar.with_style(style)) }
    }

    /// Shows the state of these jobs.
    pub(crate) fn show(&mut self, jobs: &[JobDetail]) {
        let counts = Counts::of(jobs);
        match &mut self.form {
            Form::Bar(bar) => {
                bar.set_length(counts.total);
                bar.set_position(counts.done());
                bar.set_message(counts.text());
            }
            Form::Lines { next } if Instant::now() >= *next => {
                *next = Instant::now() + LINE_EVERY;
                let line = format!("{}/{} done, {}", counts.done(), counts.total, counts.text());
                // Progress that nobody can read is not worth failing for.
                let _ = writeln!(std::io::stderr(), "{line}");
            }
            Form::Lines { .. } => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Form::Bar(bar) = &self.form {
            bar.finish();
            // What is said next gets a line of its own.
            let _ = writeln!(std::io::stderr());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arrays_count_by_child_and_single_jobs_as_one() {
        let job = |status: &str, array: serde_json::Value| -> JobDetail {
            serde_json::from_value(json!({"jobArn": "", "jobId": "", "jobName": "", "jobQueue": "",
                "jobDefinition": "", "createdAt": 0, "status": status, "arrayProperties": array}))
            .unwrap()
        };
        let array = json!({"size": 10, "statusSummary": {"SUCCEEDED": 4, "FAILED": 1, "RUNNING": 2, "RUNNABLE": 3}});
        let jobs = [
            job("PENDING", array),
            job("SUCCEEDED", json!(null)),
            job("RUNNABLE", json!({"index": 3})),
        ];
        let counts = Counts::of(&jobs);
        assert_eq!(counts, Counts { total: 12, succeeded: 5, failed: 1, running: 2 });
        assert_eq!((counts.done(), counts.text()), (6, "2 running, 1 failed".to_owned()));
    }
}

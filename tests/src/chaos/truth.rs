//! What attempts write about themselves, outside the product: a line when one starts and a line when it
//! ends, each on disk before the attempt goes on, and lines in between that say that it lives.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use windrow_common::time::wall_clock;

/// How often an attempt says that it lives.
const BEAT: Duration = Duration::from_millis(500);
/// The first word of such a line.
pub const ALIVE: &str = "alive";

/// One attempt that really ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The job, without index.
    pub job: String,
    /// Its child; 0 of a single job.
    pub child: u32,
    /// As the attempt was told, from 1.
    pub attempt: u32,
    /// Where: as [`super::net::Host::mark`] has it, or the host's name once that is known.
    pub host: String,
    /// When, in milliseconds since the epoch.
    pub started: u64,
    /// When it ended by itself and with which exit code; absent when it was killed or still runs.
    pub ended: Option<(u64, i32)>,
    /// When it was last known to live, if that is later than its start.
    pub alive: u64,
}

/// What an attempt is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// How long it runs, in milliseconds.
    pub run: u64,
    /// Attempts up to this number fail with exit code 1.
    pub fails: u32,
}

impl Task {
    /// The task as arguments of `windrow-chaos`, with the file to write to.
    pub fn command(&self, program: &Path, file: &Path) -> Vec<String> {
        let shown = |path: &Path| path.to_string_lossy().into_owned();
        let [run, fails] = [self.run.to_string(), self.fails.to_string()];
        vec![shown(program), "attempt".to_owned(), shown(file), run, fails]
    }

    /// Reads what follows `attempt` on the command line: the file and the task.
    ///
    /// # Errors
    /// Something else stands there.
    pub fn parse(arguments: &[String]) -> anyhow::Result<(&Path, Self)> {
        let [file, run, fails] = arguments else {
            anyhow::bail!("`attempt` takes FILE MILLISECONDS FAILS");
        };
        let task = Self { run: run.parse()?, fails: fails.parse()? };
        Ok((Path::new(file), task))
    }

    /// Is the attempt: runs it in this process and gives its exit code.
    ///
    /// # Errors
    /// No job's environment, or the file cannot be written.
    pub fn run(&self, file: &Path) -> anyhow::Result<i32> {
        let variable = |name: &str| std::env::var(name).with_context(|| format!("read ${name}"));
        let job = variable("AWS_BATCH_JOB_ID")?;
        let job = job.split(':').next().unwrap_or_default();
        let child = variable("AWS_BATCH_JOB_ARRAY_INDEX").unwrap_or_else(|_| "0".to_owned());
        let attempt = variable("AWS_BATCH_JOB_ATTEMPT")?;
        let host = std::fs::read_link("/proc/self/ns/net")?;
        let who = format!("{job} {child} {attempt} {}", host.display());
        let number: u32 = attempt.parse()?;
        let mut file = File::options().create(true).append(true).open(file)?;
        let mut note = |line: String| -> anyhow::Result<()> {
            // One write, so that lines of several attempts do not mix.
            file.write_all(line.as_bytes())?;
            Ok(file.sync_data()?)
        };
        note(format!("start {who} {}\n", wall_clock().0))?;
        let mut left = Duration::from_millis(self.run);
        while left > BEAT {
            std::thread::sleep(BEAT);
            left -= BEAT;
            note(format!("{ALIVE} {who} {}\n", wall_clock().0))?;
        }
        std::thread::sleep(left);
        let exit = i32::from(number <= self.fails);
        note(format!("end {who} {} {exit}\n", wall_clock().0))?;
        Ok(exit)
    }
}

/// Reads what attempts wrote, in the order of their starts.
///
/// # Errors
/// A line that no attempt writes, or an end without its start.
pub fn read(text: &str) -> anyhow::Result<Vec<Run>> {
    let mut runs: Vec<Run> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let of = |run: &Run, job: &str, child: u32, attempt: u32, host: &str| {
            (&*run.job, run.child, run.attempt, &*run.host) == (job, child, attempt, host)
        };
        match words[..] {
            ["start", job, child, attempt, host, at] => runs.push(Run {
                job: job.to_owned(),
                child: child.parse()?,
                attempt: attempt.parse()?,
                host: host.to_owned(),
                started: at.parse()?,
                ended: None,
                alive: at.parse()?,
            }),
            [ALIVE, job, child, attempt, host, at] => {
                let (child, attempt) = (child.parse()?, attempt.parse()?);
                let mut open = runs.iter_mut().rev().filter(|run| run.ended.is_none());
                let run = open
                    .find(|run| of(run, job, child, attempt, host))
                    .with_context(|| format!("a life without a start: `{line}`"))?;
                run.alive = at.parse()?;
            }
            ["end", job, child, attempt, host, at, exit] => {
                let (child, attempt) = (child.parse()?, attempt.parse()?);
                let mut open = runs.iter_mut().rev().filter(|run| run.ended.is_none());
                let run = open
                    .find(|run| of(run, job, child, attempt, host))
                    .with_context(|| format!("an end without a start: `{line}`"))?;
                run.ended = Some((at.parse()?, exit.parse()?));
                run.alive = at.parse()?;
            }
            _ => anyhow::bail!("no line of an attempt: `{line}`"),
        }
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_and_ends_make_runs() {
        let text = "start j 0 1 net:[1] 10\nstart j 1 1 net:[2] 11\nend j 0 1 net:[1] 20 1\n\
                    start j 0 2 net:[1] 21\nalive j 1 1 net:[2] 25\nend j 0 2 net:[1] 30 0\n";
        let runs = read(text).unwrap();
        let brief: Vec<_> =
            runs.iter().map(|r| (r.child, r.attempt, r.started, r.alive, r.ended)).collect();
        let expected =
            [(0, 1, 10, 20, Some((20, 1))), (1, 1, 11, 25, None), (0, 2, 21, 30, Some((30, 0)))];
        assert_eq!(brief, expected);
        assert!(read("end j 0 1 net:[1] 20 0\n").is_err());
        assert!(read("nonsense\n").is_err());
    }

    #[test]
    fn a_task_is_read_as_it_is_written() {
        let task = Task { run: 250, fails: 1 };
        let words = task.command(Path::new("/x/windrow-chaos"), Path::new("/y/truth"));
        assert_eq!(Task::parse(&words[2..]).unwrap(), (Path::new("/y/truth"), task));
        assert!(Task::parse(&words[1..]).is_err());
    }
}

//! What the machine can do without Windrow: start processes, write to disk.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};

use super::options::SPAWN;

/// The program that the array bench runs, on both sides.
pub(crate) const PROGRAM: &str = "/bin/true";
/// As many as the agent runs at a time.
pub(crate) const THREADS: u32 = 2;

/// The floor's process: starts [`PROGRAM`] `count` times in all from `threads` threads, each waiting
/// for one before it starts the next. Prints the seconds that took.
pub(crate) fn spawn_all(count: u32, threads: u32) -> anyhow::Result<()> {
    let start = Instant::now();
    let workers: Vec<_> = (0..threads)
        .map(|thread| {
            let share = count / threads + u32::from(thread < count % threads);
            std::thread::spawn(move || (0..share).try_for_each(|_| spawn_one()))
        })
        .collect();
    for worker in workers {
        worker.join().map_err(|_| anyhow::anyhow!("a thread of the floor panicked"))??;
    }
    println!("{}", start.elapsed().as_secs_f64());
    Ok(())
}

/// By an absolute path and without anything to do in the child: `posix_spawn`.
fn spawn_one() -> anyhow::Result<()> {
    let status = Command::new(PROGRAM).status().with_context(|| format!("start `{PROGRAM}`"))?;
    if !status.success() {
        bail!("`{PROGRAM}` ended with {status}");
    }
    Ok(())
}

/// Runs the floor in a process of its own: seconds and CPU seconds it took.
pub(crate) fn run(count: u32) -> anyhow::Result<(f64, f64)> {
    let before = super::cpu::of_children()?;
    let own = std::env::current_exe().context("find this program")?;
    let output = Command::new(own)
        .args([SPAWN, &count.to_string(), &THREADS.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .context("start the floor")?;
    anyhow::ensure!(output.status.success(), "the floor ended with {}", output.status);
    let seconds = String::from_utf8_lossy(&output.stdout).trim().parse().context("its seconds")?;
    Ok((seconds, super::cpu::of_children()? - before))
}

/// Appends 512 bytes to `path` and has them written to disk: milliseconds that took.
pub(crate) fn sync_once(path: &Path) -> anyhow::Result<f64> {
    let what = || format!("write to `{}`", path.display());
    let mut file = File::options().create(true).append(true).open(path).with_context(what)?;
    let start = Instant::now();
    file.write_all(&[0x5a; 512]).with_context(what)?;
    file.sync_data().with_context(what)?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

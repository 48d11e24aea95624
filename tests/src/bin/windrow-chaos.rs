//! `windrow-chaos`: faults done to a real cluster, for as long as one likes; and the attempt that the
//! jobs of chaos tests run.

use std::time::Duration;

use anyhow::bail;
use windrow_tests::chaos::random;
use windrow_tests::chaos::truth::Task;

const USAGE: &str = "usage: windrow-chaos [--minutes N] [--seed S]
Does random faults to a cluster of real processes under load, for N minutes (10), and checks
afterwards that nothing was lost, doubled or stuck. Needs root.";

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("attempt", rest)) = arguments.split_first().map(|(first, rest)| (&**first, rest)) {
        let (file, task) = Task::parse(rest)?;
        std::process::exit(task.run(file)?);
    }
    let (mut minutes, mut seed) = (10, 1);
    for pair in arguments.chunks(2) {
        match pair {
            [name, value] if name == "--minutes" => minutes = value.parse()?,
            [name, value] if name == "--seed" => seed = value.parse()?,
            _ => bail!("{USAGE}"),
        }
    }
    let time = Duration::from_secs(60 * minutes);
    if random::run(seed, time, &random::options()).is_none() {
        bail!("nothing was tried");
    }
    Ok(())
}

//! Which GPUs this host has, by NVIDIA's own tool.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::process::Command;
use tracing::{info, warn};
use windrow_common::wire::agent::Gpu;

use crate::config::ResourcesConfig;

/// What is asked of the tool, and how it is to answer.
const ARGUMENTS: [&str; 2] =
    ["--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader,nounits"];
/// The tool takes seconds where the driver is loaded for it.
const LIMIT: Duration = Duration::from_secs(60);

/// A line of the tool's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listed {
    index: String,
    gpu: Gpu,
}

/// The GPUs that jobs may use. Without the tool there are none.
///
/// # Errors
/// When the configuration names one that this host does not have.
pub async fn find(config: &ResourcesConfig) -> anyhow::Result<Vec<Gpu>> {
    if config.gpus.as_ref().is_some_and(Vec::is_empty) {
        return Ok(Vec::new());
    }
    let listed = match list(&config.gpu_program).await {
        Ok(listed) => listed,
        Err(error) if config.gpus.is_some() => return Err(error),
        Err(error) => {
            warn!(error = format!("{error:#}"), "the host's GPUs cannot be listed; jobs get none");
            Vec::new()
        }
    };
    let found = choose(listed, config.gpus.as_deref())?;
    if let Some(first) = found.first() {
        info!(count = found.len(), model = first.model, "this host has GPUs");
    }
    Ok(found)
}

async fn list(program: &Path) -> anyhow::Result<Vec<Listed>> {
    let mut command = Command::new(program);
    command.args(ARGUMENTS).stdin(Stdio::null()).kill_on_drop(true);
    let shown = program.display();
    let answer = match tokio::time::timeout(LIMIT, command.output()).await {
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Ok(answer) => answer.with_context(|| format!("run `{shown}`"))?,
        Err(_) => bail!("`{shown}` did not answer within {} s", LIMIT.as_secs()),
    };
    let text = String::from_utf8_lossy(&answer.stdout);
    if !answer.status.success() {
        // It tells its errors on standard output.
        let why = format!("{}{}", text.trim(), String::from_utf8_lossy(&answer.stderr).trim());
        bail!("`{shown}` failed: {why}");
    }
    parse(&text).with_context(|| format!("read the answer of `{shown}`"))
}

fn parse(text: &str) -> anyhow::Result<Vec<Listed>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(|line| parse_line(line).with_context(|| format!("`{line}`"))).collect()
}

fn parse_line(line: &str) -> anyhow::Result<Listed> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let [index, id, model @ .., memory] = &*fields else { bail!("too few fields") };
    if model.is_empty() || id.is_empty() {
        bail!("too few fields");
    }
    // Unified memory is told as `[N/A]`.
    let memory_mib = memory.parse().unwrap_or(0);
    let gpu = Gpu { id: (*id).to_owned(), model: model.join(", "), memory_mib };
    Ok(Listed { index: (*index).to_owned(), gpu })
}

/// Those that are wanted by index or id, in the order of the list; all, if nothing is said.
fn choose(listed: Vec<Listed>, wanted: Option<&[String]>) -> anyhow::Result<Vec<Gpu>> {
    let is = |one: &Listed, name: &String| one.index == *name || one.gpu.id == *name;
    let is_missing = |name: &&String| !listed.iter().any(|one| is(one, name));
    if let Some(missing) = wanted.into_iter().flatten().find(is_missing) {
        let known = listed.iter().map(|one| format!("{} ({})", one.index, one.gpu.id));
        let known = known.collect::<Vec<_>>().join(", ");
        let known = if known.is_empty() { "none" } else { &known };
        bail!("`resources.gpus` names `{missing}`; this host has {known}");
    }
    let is_wanted =
        |one: &Listed| wanted.is_none_or(|names| names.iter().any(|name| is(one, name)));
    Ok(listed.into_iter().filter(is_wanted).map(|one| one.gpu).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the tool writes it.
    const TWO: &str = "0, GPU-5c1bd2a5-1f0c-5c0f-9d3f-0d7b2b1f6a11, NVIDIA A100-SXM4-40GB, 40960\n\
        1, GPU-91a3ef52-77c8-2d1e-8f0c-3b6c1c0a4e22, NVIDIA A100-SXM4-40GB, 40960\n";

    #[test]
    fn the_tools_answer_is_read() {
        let listed = parse(TWO).unwrap();
        assert_eq!((listed.len(), &*listed[1].index), (2, "1"));
        assert_eq!(listed[0].gpu.model, "NVIDIA A100-SXM4-40GB");
        assert_eq!(listed[0].gpu.memory_mib, 40_960);
        assert_eq!(parse("0, GPU-1, NVIDIA GB10, [N/A]\n").unwrap()[0].gpu.memory_mib, 0);
        assert_eq!(parse("\n").unwrap(), []);
        for bad in ["No devices were found", "0, GPU-1", "0, GPU-1, 3"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_configuration_chooses() {
        let choose = |wanted: &[&str]| {
            let wanted: Vec<_> = wanted.iter().map(|name| (*name).to_owned()).collect();
            choose(parse(TWO).unwrap(), Some(&wanted))
        };
        assert_eq!(choose(&["1"]).unwrap()[0].id, "GPU-91a3ef52-77c8-2d1e-8f0c-3b6c1c0a4e22");
        assert_eq!(choose(&["GPU-5c1bd2a5-1f0c-5c0f-9d3f-0d7b2b1f6a11", "1"]).unwrap().len(), 2);
        assert!(choose(&["7"]).unwrap_err().to_string().contains("`7`; this host has 0 (GPU-"));
        assert_eq!(super::choose(parse(TWO).unwrap(), None).unwrap().len(), 2);
    }
}

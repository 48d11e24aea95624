//! The data directory of `windrow up`: where its files are, and what `cluster.json` says.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::failure::{Attempt, Failure, Result};

/// Files of one data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    root: PathBuf,
}

/// What `windrow up` tells other commands: `cluster.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClusterFile {
    pub(crate) nats_url: String,
    pub(crate) cluster: String,
    /// Process id of `windrow up`; absent once it has stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) supervisor: Option<ProcessId>,
    /// Address of the AWS Batch API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gateway_url: Option<String>,
    /// Running parts.
    #[serde(default)]
    pub(crate) parts: Vec<Part>,
}

/// A running part of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Part {
    /// `nats-server`, `coordinator`, `agent-1`, ...
    pub(crate) name: String,
    #[serde(flatten)]
    pub(crate) process: ProcessId,
}

/// A process, told apart from a later one that was given the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProcessId {
    pub(crate) pid: u32,
    /// Start time in clock ticks since the machine started, from `/proc/PID/stat`.
    pub(crate) start_ticks: u64,
}

impl ProcessId {
    /// The process with this number, if it is there and not a zombie.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The program's name comes in parentheses and may itself hold some: read behind the last.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?;
        let start_ticks = fields.nth(18)?.parse().ok()?;
        (state != "Z").then_some(Self { pid, start_ticks })
    }

    pub(crate) fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}

impl Layout {
    /// The directory given, else the user's own.
    ///
    /// Errors: neither `XDG_DATA_HOME` nor `HOME` is set, or the path cannot be made absolute.
    pub(crate) fn find(given: Option<&Path>) -> Result<Self> {
        let root = match given {
            Some(path) => path.to_owned(),
            None => {
                default_root(|key| std::env::var_os(key).map(PathBuf::from)).ok_or_else(|| {
                    Failure::error("find the data directory: neither XDG_DATA_HOME nor HOME is set")
                        .hint("give `--data-directory`")
                })?
            }
        };
        let root = std::path::absolute(&root)
            .attempt(|| format!("make `{}` an absolute path", root.display()))?;
        Ok(Self { root })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn nats_store(&self) -> PathBuf {
        self.root.join("nats")
    }

    pub(crate) fn nats_config(&self) -> PathBuf {
        self.root.join("nats-server.conf")
    }

    pub(crate) fn agent_state(&self, agent: &str) -> PathBuf {
        self.root.join("agents").join(agent)
    }

    pub(crate) fn log(&self, part: &str) -> PathBuf {
        self.root.join("logs").join(format!("{part}.log"))
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// The file of which secrets of access keys are made.
    pub(crate) fn cluster_key(&self) -> PathBuf {
        self.root.join("cluster.key")
    }

    fn cluster_file(&self) -> PathBuf {
        self.root.join("cluster.json")
    }

    /// Makes the directories.
    pub(crate) fn create(&self) -> Result<()> {
        for directory in ["nats", "agents", "logs"].map(|name| self.root.join(name)) {
            std::fs::create_dir_all(&directory)
                .attempt(|| format!("create `{}`", directory.display()))?;
        }
        Ok(())
    }

    /// What the last or running `windrow up` wrote; none if there was none.
    pub(crate) fn read_cluster(&self) -> Option<ClusterFile> {
        let text = std::fs::read(self.cluster_file()).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Replaces `cluster.json` as a whole.
    pub(crate) fn write_cluster(&self, cluster: &ClusterFile) -> Result<()> {
        let path = self.cluster_file();
        let next = path.with_extension("json.new");
        let text = serde_json::to_string_pretty(cluster).expect("text and numbers have JSON");
        let written =
            std::fs::write(&next, text + "\n").and_then(|()| std::fs::rename(&next, &path));
        written.attempt(|| format!("write `{}`", path.display()))
    }
}

fn default_root(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let set = |key| variable(key).filter(|value| value.is_absolute());
    let data = set("XDG_DATA_HOME").or_else(|| Some(set("HOME")?.join(".local/share")))?;
    Some(data.join("windrow"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_directory_follows_xdg() {
        let with = |pairs: &'static [(&str, &str)]| {
            move |key: &str| pairs.iter().find(|(k, _)| *k == key).map(|(_, v)| PathBuf::from(v))
        };
        let both = default_root(with(&[("XDG_DATA_HOME", "/x"), ("HOME", "/h")]));
        assert_eq!(both.unwrap(), Path::new("/x/windrow"));
        let home = default_root(with(&[("XDG_DATA_HOME", "relative"), ("HOME", "/h")]));
        assert_eq!(home.unwrap(), Path::new("/h/.local/share/windrow"));
        assert_eq!(default_root(with(&[])), None);
    }

    #[test]
    fn the_cluster_file_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::find(Some(directory.path())).unwrap();
        assert_eq!(layout.read_cluster(), None);
        let me = ProcessId::of(std::process::id()).unwrap();
        let cluster = ClusterFile {
            nats_url: "nats://127.0.0.1:4222".to_owned(),
            cluster: "windrow".to_owned(),
            supervisor: Some(me),
            gateway_url: Some("http://127.0.0.1:8642".to_owned()),
            parts: vec![Part { name: "agent-1".to_owned(), process: me }],
        };
        layout.write_cluster(&cluster).unwrap();
        assert_eq!(layout.read_cluster(), Some(cluster));
    }

    #[test]
    fn another_process_under_the_same_number_is_not_the_same() {
        let me = ProcessId::of(std::process::id()).unwrap();
        assert!(me.is_alive());
        assert!(!ProcessId { start_ticks: me.start_ticks + 1, ..me }.is_alive());
        assert_eq!(ProcessId::of(u32::MAX), None);
    }
}

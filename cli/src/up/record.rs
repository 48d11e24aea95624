//! Keeps `cluster.json` true, and notices a part that cannot start.

use std::collections::BTreeMap;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::part::Notice;
use crate::layout::{ClusterFile, Layout, Part};
use crate::output::Printer;

/// A part that ended this often before the cluster was ready will not become ready.
const ENDS_MAX: u32 = 3;
/// Notices that may wait; parts wait when it is full.
const MAILBOX: usize = 64;

/// The task that listens to notices.
pub(super) struct Record {
    pub(super) notices: mpsc::Sender<Notice>,
    /// Name of a part that keeps ending.
    pub(super) broken: watch::Receiver<Option<String>>,
    task: JoinHandle<()>,
}

impl Record {
    /// Starts to record; `cluster` is what is known so far.
    pub(super) fn start(layout: Layout, cluster: ClusterFile, printer: Printer) -> Self {
        let (notices, inbox) = mpsc::channel(MAILBOX);
        let (outbox, broken) = watch::channel(None);
        let task = tokio::spawn(listen(layout, cluster, printer, inbox, outbox));
        Self { notices, broken, task }
    }

    /// Ends when every part has: writes that nothing runs any more.
    pub(super) async fn finish(self) {
        drop(self.notices);
        // An error would be a panic of the task, which has been printed.
        let _ = self.task.await;
    }
}

async fn listen(
    layout: Layout,
    mut cluster: ClusterFile,
    printer: Printer,
    mut inbox: mpsc::Receiver<Notice>,
    broken: watch::Sender<Option<String>>,
) {
    let mut ends: BTreeMap<String, u32> = BTreeMap::new();
    write(&layout, &cluster, &printer);
    while let Some(notice) = inbox.recv().await {
        match notice {
            Notice::Started { name, process } => {
                if ends.contains_key(&name) {
                    printer.say(&format!("{name} was started again as process {}", process.pid));
                }
                // A part keeps its place, which is the order of the first starts.
                match cluster.parts.iter_mut().find(|part| part.name == name) {
                    Some(part) => part.process = process,
                    None => cluster.parts.push(Part { name, process }),
                }
            }
            Notice::Ended { name, how } => {
                printer.say(&format!("{name} ended: {how}"));
                let count = ends.entry(name.clone()).or_default();
                *count += 1;
                if *count >= ENDS_MAX {
                    broken.send_replace(Some(name));
                }
            }
        }
        write(&layout, &cluster, &printer);
    }
    cluster.supervisor = None;
    cluster.parts.clear();
    write(&layout, &cluster, &printer);
}

fn write(layout: &Layout, cluster: &ClusterFile, printer: &Printer) {
    if let Err(failure) = layout.write_cluster(cluster) {
        printer.fail(&failure);
    }
}

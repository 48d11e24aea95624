//! What every command gets: the global flags, resolved, and the way to print.

use std::time::Duration;

use windrow_common::subjects::Subjects;

use crate::args::Global;
use crate::client::Client;
use crate::failure::Result;
use crate::layout::Layout;
use crate::output::Printer;

/// Address when nothing else says one: NATS' own default.
const URL_DEFAULT: &str = "nats://127.0.0.1:4222";

/// Global flags and printer.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) global: Global,
    pub(crate) printer: Printer,
}

impl Context {
    pub(crate) fn new(global: Global) -> Self {
        let printer = Printer::new(&global);
        Self { global, printer }
    }

    pub(crate) fn layout(&self) -> Result<Layout> {
        Layout::find(self.global.data_directory.as_deref())
    }

    pub(crate) fn subjects(&self) -> Subjects {
        Subjects::new(self.global.cluster.clone())
    }

    /// Time limit the user gave.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.global.timeout
    }

    /// Connects, with the user's time limit for each request.
    pub(crate) async fn client(&self) -> Result<Client> {
        Client::connect(&self.url(), self.subjects(), self.global.timeout).await
    }

    /// Connects for requests that take long, with the user's time limit or this one for each.
    pub(crate) async fn patient_client(&self, limit: Duration) -> Result<Client> {
        let limit = self.global.timeout.unwrap_or(limit);
        Client::connect(&self.url(), self.subjects(), Some(limit)).await
    }

    /// Connects for a command whose time limit is that of a wait, not of a request.
    pub(crate) async fn waiting_client(&self) -> Result<Client> {
        Client::connect(&self.url(), self.subjects(), None).await
    }

    /// Flag or environment, else what `windrow up` wrote, else the default.
    fn url(&self) -> String {
        if let Some(url) = &self.global.nats_url {
            return url.clone();
        }
        let written = self.layout().ok().and_then(|layout| layout.read_cluster());
        written.map_or_else(|| URL_DEFAULT.to_owned(), |cluster| cluster.nats_url)
    }
}

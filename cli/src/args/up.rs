//! `up`.

use std::path::PathBuf;

use clap::Args;

use super::{parse_memory, parse_vcpus};

#[derive(Clone, Debug, Args)]
pub(crate) struct UpArgs {
    /// Return as soon as the cluster is ready and leave it running in the background.
    #[arg(long)]
    pub(crate) detach: bool,
    /// Agents to run on this machine.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=64))]
    pub(crate) agents: u32,
    /// Coordinators to run: one leads, the others stand by to take over.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=9))]
    pub(crate) coordinators: u32,
    /// vCPUs each agent offers. Default: what the machine has, divided by the agents.
    #[arg(long, value_parser = parse_vcpus)]
    pub(crate) vcpus_per_agent: Option<String>,
    /// Memory each agent offers: MiB, or such as `2GiB`. Default: what the machine has less a
    /// reserve, divided by the agents.
    #[arg(long, value_parser = parse_memory)]
    pub(crate) memory_per_agent: Option<u32>,
    /// The nats-server program to run. Default: beside this program, else on PATH.
    #[arg(long, env = "WINDROW_NATS_SERVER", value_name = "FILE")]
    pub(crate) nats_server: Option<PathBuf>,
    /// Port of the NATS server, on 127.0.0.1. Default: the one used last, else 4222, else a free one.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// Port of the AWS Batch API, on 127.0.0.1. Default: the one used last, else 8642, else a free one.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) gateway_port: Option<u16>,
    /// Setting of the coordinator, such as `log=debug`. May be given more than once.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) coordinator_set: Vec<String>,
    /// Setting of the gateway, such as `log=debug`. May be given more than once.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) gateway_set: Vec<String>,
    /// Setting of the agents, such as `log=debug`. May be given more than once.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) agent_set: Vec<String>,
    /// Set by `--detach` on its own child: say on standard output, in one line, when all is ready.
    #[arg(long, hide = true)]
    pub(crate) background: bool,
}

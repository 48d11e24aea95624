//! `windrow-gateway`: reads the configuration, answers HTTP requests, stops in order.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;
use windrow_common::config::Sources;
use windrow_gateway::config::Config;
use windrow_gateway::server::Server;

/// AWS Batch's API over HTTP, for `aws batch` and AWS SDKs. Holds no state: any number may run.
///
/// Settings come from the file, the environment (WINDROW_GATEWAY_KEY, with `__` between section
/// and key) and flags; later ones win.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Configuration file, TOML.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address and port to take requests on.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// NATS servers, separated by commas.
    #[arg(long, value_name = "URL")]
    nats_url: Option<String>,
    /// The cluster's name: the first token of all its subjects.
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// Any setting, such as `log=debug` or `limits.connections=100`.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
    /// Check the configuration, print it as it takes effect, and exit.
    #[arg(long)]
    check: bool,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn sources(arguments: &Arguments) -> Sources {
    let mut flags = arguments.set.clone();
    let named = [
        ("listen", &arguments.listen),
        ("nats.url", &arguments.nats_url),
        ("cluster", &arguments.cluster),
    ];
    for (key, value) in named {
        flags.extend(value.clone().map(|value| (key.to_owned(), value)));
    }
    Sources { file: arguments.config.clone(), environment_prefix: "WINDROW_GATEWAY", flags }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let config = Config::load(&sources(arguments))?;
    if arguments.check {
        print!("{}", toml::to_string(&config)?);
        return Ok(());
    }
    windrow_common::telemetry::start(&config.log, config.log_json).map_err(anyhow::Error::msg)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::spawn({
            let stop = stop.clone();
            async move {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                stop.cancel();
            }
        });
        let server = Server::start(&config).await?;
        info!(address = %server.address()?, "listening");
        server.run(stop).await;
        Ok(())
    })
}

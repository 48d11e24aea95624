//! Configuration: file, then environment, then flags; later ones win. Checked as a whole at start,
//! with every problem named at once.

use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What is wrong with the configuration: one line a problem.
#[derive(Debug, thiserror::Error)]
#[error("configuration: {}", .0.join("\nconfiguration: "))]
pub struct Error(pub Vec<String>);

/// Where the configuration of one service comes from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// A TOML file; it must exist when given.
    pub file: Option<PathBuf>,
    /// Prefix of environment variables, such as `WINDROW_AGENT`; `__` separates sections, as in
    /// `WINDROW_AGENT_NATS__URL`.
    pub environment_prefix: &'static str,
    /// Values of flags, as (key, value), such as `("nats.url", "nats://…")`.
    pub flags: Vec<(String, String)>,
}

/// Reads `T` over the given defaults (TOML texts, later ones win).
///
/// # Errors
/// Every setting that is unknown or cannot be read.
pub fn load<T: DeserializeOwned>(defaults: &[&str], sources: &Sources) -> Result<T, Error> {
    let one = |e: config::ConfigError| Error(vec![e.to_string()]);
    let mut builder = over(defaults);
    if let Some(file) = &sources.file {
        builder = builder.add_source(
            config::File::from(file.as_path()).format(config::FileFormat::Toml).required(true),
        );
    }
    let environment = config::Environment::with_prefix(sources.environment_prefix)
        .prefix_separator("_")
        .separator("__")
        .ignore_empty(true);
    builder = builder.add_source(environment);
    for (key, value) in &sources.flags {
        builder = builder.set_override(key, value.as_str()).map_err(one)?;
    }
    let merged = builder.build().map_err(one)?;
    merged.clone().try_deserialize().map_err(|first| {
        let problems = each_problem::<T>(defaults, &merged);
        Error(if problems.is_empty() { vec![first.to_string()] } else { problems })
    })
}

fn over(defaults: &[&str]) -> config::ConfigBuilder<config::builder::DefaultState> {
    let layer = |text: &&str| config::File::from_str(text, config::FileFormat::Toml);
    config::Config::builder().add_source(defaults.iter().map(layer).collect::<Vec<_>>())
}

/// Reading stops at the first problem; so every setting is tried alone, over the defaults.
fn each_problem<T: DeserializeOwned>(defaults: &[&str], merged: &config::Config) -> Vec<String> {
    let mut settings = Vec::new();
    if let Ok(tree) = merged.clone().try_deserialize::<serde_json::Value>() {
        flatten(String::new(), &tree, &mut settings);
    }
    let alone = |(key, value): (String, config::Value)| {
        let config = over(defaults).set_override(key, value).and_then(|builder| builder.build());
        config.and_then(config::Config::try_deserialize::<T>).err().map(|e| e.to_string())
    };
    settings.into_iter().filter_map(alone).collect()
}

/// The settings in a tree, each with its path and its value: a text, or a list of texts.
fn flatten(path: String, tree: &serde_json::Value, settings: &mut Vec<(String, config::Value)>) {
    let text =
        |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match tree {
        serde_json::Value::Object(table) => {
            for (key, value) in table {
                let dot = if path.is_empty() { "" } else { "." };
                flatten(format!("{path}{dot}{key}"), value, settings);
            }
        }
        serde_json::Value::Array(items) => {
            settings.push((path, items.iter().map(text).collect::<Vec<_>>().into()));
        }
        serde_json::Value::String(_)
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_) => settings.push((path, text(tree).into())),
        // TOML has no such value.
        serde_json::Value::Null => {}
    }
}

/// How long one server has to take a connection, before the next one is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A connection without answer to two of these is given up: a server that is cut off says nothing.
const PING_INTERVAL: Duration = Duration::from_secs(2);

/// How to reach NATS.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nats {
    /// Server addresses, separated by commas.
    pub url: String,
    /// Credentials file (JWT and seed); empty: none.
    #[serde(default)]
    pub credentials: String,
}

impl Nats {
    /// Connects, trying again for ever when the server goes away later. `name` is shown by the
    /// server's monitoring.
    ///
    /// # Errors
    /// When the connection is refused, no server answers within some seconds, or the credentials file
    /// cannot be read.
    pub async fn connect(&self, name: &str) -> Result<async_nats::Client, String> {
        self.connect_with(self.options(name).await?).await
    }

    /// The settings that [`Nats::connect`] connects with, for a caller that adds its own.
    ///
    /// # Errors
    /// When the credentials file cannot be read.
    pub async fn options(&self, name: &str) -> Result<async_nats::ConnectOptions, String> {
        let options = async_nats::ConnectOptions::new()
            .name(name)
            .connection_timeout(CONNECT_TIMEOUT)
            .ping_interval(PING_INTERVAL)
            .reconnect_delay_callback(|attempts| {
                Duration::from_millis((20 << attempts.min(7)).min(2_000))
            });
        if self.credentials.is_empty() {
            return Ok(options);
        }
        options
            .credentials_file(&self.credentials)
            .await
            .map_err(|e| format!("read credentials file `{}`: {e}", self.credentials))
    }

    /// Connects with settings made from [`Nats::options`].
    ///
    /// # Errors
    /// When no server answers in time, unless the settings say to keep trying.
    pub async fn connect_with(
        &self,
        options: async_nats::ConnectOptions,
    ) -> Result<async_nats::Client, String> {
        let urls: Vec<&str> = self.url.split(',').map(str::trim).collect();
        options
            .connect(urls.as_slice())
            .await
            .map_err(|e| format!("connect to NATS at `{}`: {e}", self.url))
    }
}

/// A duration written as `30s`, `5m`, `1h 30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HumanDuration(pub Duration);

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map(Self).map_err(|e| {
            serde::de::Error::custom(format!("`{text}` is not a duration such as `30s` ({e})"))
        })
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Example {
        nats: Nats,
        wait: HumanDuration,
        #[serde(default)]
        hosts: Vec<String>,
    }

    const DEFAULTS: &str = "wait = '30s'\n[nats]\nurl = 'nats://default'\n";

    #[test]
    fn flags_win_over_file_over_defaults() {
        let sources = Sources {
            environment_prefix: "WINDROW_TEST_NONE",
            flags: vec![("nats.url".into(), "nats://flag".into())],
            file: None,
        };
        let example: Example = load(&[DEFAULTS], &sources).unwrap();
        assert!(example.hosts.is_empty());
        assert_eq!(example.nats.url, "nats://flag");
        assert_eq!(example.wait.0, Duration::from_secs(30));
    }

    #[test]
    fn unknown_keys_and_wrong_values_are_named() {
        let with = |key: &str, value: &str| Sources {
            flags: vec![(key.into(), value.into())],
            environment_prefix: "WINDROW_TEST_NONE",
            file: None,
        };
        let error = load::<Example>(&[DEFAULTS], &with("nats.uri", "x")).unwrap_err().to_string();
        assert!(error.contains("uri"), "{error}");
        let error = load::<Example>(&[DEFAULTS], &with("wait", "soon")).unwrap_err().to_string();
        assert!(error.contains("soon"), "{error}");
        let mut both = with("wait", "soon");
        both.flags.push(("nats.uri".into(), "x".into()));
        let Error(problems) = load::<Example>(&[DEFAULTS], &both).unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:?}");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("x.toml");
        std::fs::write(&file, "wait = 'soon'\nhosts = ['a']\ngpus = ['0']\n").unwrap();
        let sources = Sources { file: Some(file), ..with("nats.url", "x") };
        let Error(problems) = load::<Example>(&[DEFAULTS], &sources).unwrap_err();
        assert_eq!(problems.len(), 2, "a list is a setting too: {problems:?}");
        assert!(problems.iter().any(|problem| problem.contains("gpus")), "{problems:?}");
    }
}

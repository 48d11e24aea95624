//! Values of secrets, looked up on the host when a container or process starts. They go into its
//! environment and nowhere else: not into the journal, a log, an event or an error.

use windrow_common::wire::container::Secret;

use super::Environment;

/// Largest value in bytes; the system limits a single variable to 128 KiB.
const BYTES_MAX: u64 = 64 * 1024;

/// Adds the secrets to the environment. The error is for the user, in AWS's words, without values.
pub(super) async fn add(secrets: &[Secret], environment: &mut Environment) -> Result<(), String> {
    for Secret { name, from } in secrets {
        let value = look_up(from).await.map_err(|why| {
            format!(
                "ResourceInitializationError: unable to pull secrets: `{name}` from `{from}`: {why}"
            )
        })?;
        environment.set(name, &value);
    }
    Ok(())
}

async fn look_up(from: &str) -> Result<String, String> {
    match from.split_once(':') {
        Some(("env", variable)) => match std::env::var(variable) {
            Ok(value) => Ok(value),
            Err(std::env::VarError::NotPresent) => Err("the agent has no such variable".to_owned()),
            Err(std::env::VarError::NotUnicode(_)) => Err("it is not UTF-8 text".to_owned()),
        },
        Some(("file", path)) => read(path).await,
        Some(_) | None => Err("this agent knows `env:NAME` and `file:PATH` only".to_owned()),
    }
}

/// A file's text, without the newline that editors put at the end.
async fn read(path: &str) -> Result<String, String> {
    let metadata = tokio::fs::metadata(path).await.map_err(|e| e.to_string())?;
    if !metadata.is_file() || metadata.len() > BYTES_MAX {
        return Err(format!("it is not a file of at most {} KiB", BYTES_MAX / 1024));
    }
    let mut text = tokio::fs::read_to_string(path).await.map_err(|e| e.to_string())?;
    if text.ends_with('\n') {
        text.pop();
    }
    if text.contains('\0') { Err("it contains a zero byte".to_owned()) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(from: &str) -> Vec<Secret> {
        vec![Secret { name: "KEY".to_owned(), from: from.to_owned() }]
    }

    #[tokio::test]
    async fn files_and_variables_are_read_and_never_shown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        std::fs::write(&path, "s3cret\n").unwrap();
        let mut environment = Environment::default();
        let file = format!("file:{}", path.display());
        add(&secret(&file), &mut environment).await.unwrap();
        assert_eq!(environment.0, [("KEY".to_owned(), "s3cret".to_owned())]);
        assert!(!format!("{environment:?}").contains("s3cret"));
        add(&secret("env:PATH"), &mut environment).await.unwrap();
        assert_eq!(environment.0[0].1, std::env::var("PATH").unwrap());
    }

    #[tokio::test]
    async fn what_is_missing_is_named() {
        let mut environment = Environment::default();
        for (from, why) in [
            ("file:/no/such", "No such file"),
            ("file:/dev/zero", "not a file"),
            ("env:NO_SUCH_VARIABLE_HERE", "no such variable"),
            ("arn:aws:ssm:x", "env:NAME"),
        ] {
            let error = add(&secret(from), &mut environment).await.unwrap_err();
            assert!(error.starts_with("ResourceInitializationError: "), "{error}");
            assert!(error.contains(why) && error.contains(from), "{error}");
        }
    }
}

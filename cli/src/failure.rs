//! How commands fail, and the exit codes, which are a contract with scripts.

use std::process::ExitCode;

use serde::Serialize;
use windrow_common::api::{ApiError, ErrorKind};

/// The program's exit codes. Tested, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done; every waited job SUCCEEDED.
    Done,
    /// Any error without a code of its own.
    Error,
    /// A planned job could not start as things are.
    Unplaced,
    /// Something named is not there.
    NotFound,
    /// It contradicts what is there.
    Conflict,
    /// NATS or the coordinator cannot be reached, or the outcome is unknown.
    Unreachable,
    /// A waited job FAILED.
    JobFailed,
    /// A waited job was terminated or cancelled.
    JobTerminated,
    /// The time limit of a wait ran out.
    TimedOut,
    /// Interrupted; the job goes on.
    Interrupted,
    /// `run`: the job's own exit code.
    Job(u8),
}

impl Exit {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Error => 1,
            Self::Unplaced => 3,
            Self::NotFound => 4,
            Self::Conflict => 6,
            Self::Unreachable => 7,
            Self::JobFailed => 10,
            Self::JobTerminated => 11,
            Self::TimedOut => 124,
            Self::Interrupted => 130,
            Self::Job(code) => code,
        }
    }

    /// The meaning of another `windrow`'s exit code.
    pub(crate) fn from_code(code: u8) -> Self {
        let all = [
            Self::Unplaced,
            Self::NotFound,
            Self::Conflict,
            Self::Unreachable,
            Self::JobFailed,
            Self::JobTerminated,
            Self::TimedOut,
            Self::Interrupted,
        ];
        all.into_iter().find(|exit| exit.code() == code).unwrap_or(Self::Error)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// A failed command. Printed once, by `main`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// AWS Batch's error type, or ours when the API was not reached.
    code: String,
    kind: String,
    /// Whether the same command may work later, unchanged and without harm.
    retryable: bool,
}

/// What a command answers, or why it cannot.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        let kind = match exit {
            Exit::NotFound => "NotFound",
            Exit::Conflict => "Conflict",
            Exit::Unreachable => "Unavailable",
            Exit::TimedOut => "TimedOut",
            Exit::Interrupted => "Interrupted",
            Exit::JobFailed | Exit::JobTerminated | Exit::Job(_) => "JobFailed",
            Exit::Unplaced => "Unplaced",
            Exit::Done | Exit::Error => "Error",
        };
        Self {
            exit,
            message: message.into(),
            hint: None,
            code: "WindrowCli".to_owned(),
            kind: kind.to_owned(),
            retryable: matches!(exit, Exit::Unreachable | Exit::TimedOut),
        }
    }

    pub(crate) fn error(message: impl Into<String>) -> Self {
        Self::new(Exit::Error, message)
    }

    pub(crate) fn unreachable(message: impl Into<String>) -> Self {
        Self::new(Exit::Unreachable, message)
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The request may have had its effect, and to repeat it might have another one.
    #[must_use]
    pub(crate) fn not_retryable(mut self) -> Self {
        self.retryable = false;
        self
    }

    /// The failure as one JSON object.
    pub(crate) fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Shape<'a> {
            code: &'a str,
            kind: &'a str,
            message: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            hint: Option<&'a str>,
            retryable: bool,
        }
        let shape = Shape {
            code: &self.code,
            kind: &self.kind,
            message: &self.message,
            hint: self.hint.as_deref(),
            retryable: self.retryable,
        };
        serde_json::to_string(&shape).expect("text and a flag have a JSON form")
    }

    /// The failure for people: `error: ...` and, when there is one, `hint: ...`.
    pub(crate) fn to_text(&self, colour: bool) -> String {
        let (red, blue, off) =
            if colour { ("\x1b[1;31m", "\x1b[1;34m", "\x1b[0m") } else { ("", "", "") };
        let mut text = format!("{red}error:{off} {}\n", self.message);
        if let Some(hint) = &self.hint {
            text.push_str(&format!("{blue}hint:{off} {hint}\n"));
        }
        text
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        let exit = match error.kind {
            ErrorKind::Invalid | ErrorKind::TooLarge => Exit::Error,
            ErrorKind::NotFound => Exit::NotFound,
            ErrorKind::Conflict => Exit::Conflict,
            ErrorKind::Unavailable => Exit::Unreachable,
        };
        Self {
            exit,
            message: error.message,
            hint: error.hint,
            code: error.code,
            kind: format!("{:?}", error.kind),
            retryable: error.kind == ErrorKind::Unavailable,
        }
    }
}

/// Turns any error into a failure that says what was attempted, with the chain of causes.
pub(crate) trait Attempt<T> {
    fn attempt(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: std::error::Error> Attempt<T> for std::result::Result<T, E> {
    fn attempt(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| {
            let mut message = format!("{}: {error}", what());
            let mut cause = error.source();
            while let Some(error) = cause {
                message.push_str(&format!(": {error}"));
                cause = error.source();
            }
            Failure::error(message)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_the_documented_ones() {
        let api = |kind| Failure::from(ApiError::new(kind, "x")).exit.code();
        assert_eq!(api(ErrorKind::Invalid), 1);
        assert_eq!(api(ErrorKind::TooLarge), 1);
        assert_eq!(api(ErrorKind::NotFound), 4);
        assert_eq!(api(ErrorKind::Conflict), 6);
        assert_eq!(api(ErrorKind::Unavailable), 7);
        let rest = [Exit::Done, Exit::JobFailed, Exit::JobTerminated, Exit::TimedOut];
        assert_eq!(rest.map(Exit::code), [0, 10, 11, 124]);
        assert_eq!(rest.map(Exit::code).map(Exit::from_code)[1..], rest[1..]);
        assert_eq!((Exit::Interrupted.code(), Exit::Job(3).code()), (130, 3));
    }

    #[test]
    fn both_forms_of_an_error_hold_message_and_hint() {
        let failure = Failure::from(ApiError::not_found("queue `x` does not exist").hint("list"));
        assert_eq!(failure.to_text(false), "error: queue `x` does not exist\nhint: list\n");
        assert!(failure.to_text(true).starts_with("\x1b[1;31merror:"));
        let json: serde_json::Value = serde_json::from_str(&failure.to_json()).unwrap();
        let expected = serde_json::json!({"code": "ClientException", "kind": "NotFound",
            "message": "queue `x` does not exist", "hint": "list", "retryable": false});
        assert_eq!(json, expected);
    }
}

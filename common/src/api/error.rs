//! Errors as the API gives them.

use serde::{Deserialize, Serialize};

/// What kind of refusal it is; decides the CLI's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorKind {
    /// The request is wrong: change it.
    Invalid,
    /// It names something that is not there.
    NotFound,
    /// It contradicts what is there, such as a second job under the same idempotency key.
    Conflict,
    /// It is larger than a limit.
    TooLarge,
    /// Our fault, or a part is not reachable: try again.
    Unavailable,
}

/// A refused request. On the wire `{"code", "kind", "message", "hint"}`; `code` is AWS Batch's
/// error type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// `ClientException` (the caller's mistake) or `ServerException`.
    pub code: String,
    /// Our finer distinction.
    pub kind: ErrorKind,
    /// What was attempted, on what, and what the limit is.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl ApiError {
    /// A refusal of this kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let code = match kind {
            ErrorKind::Unavailable => "ServerException",
            ErrorKind::Invalid
            | ErrorKind::NotFound
            | ErrorKind::Conflict
            | ErrorKind::TooLarge => "ClientException",
        };
        Self { code: code.to_owned(), kind, message: message.into(), hint: None }
    }

    /// The request is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// Something named is not there.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// Contradicts what is there.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, message)
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

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
        Self { code: code.to_owned(), kind, message: shorten(message.into()), hint: None }
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
        self.hint = Some(shorten(hint.into()));
        self
    }
}

/// Longest message, in bytes. It may quote the request, which may be large.
const MESSAGE_LENGTH_MAX: usize = 2048;

/// Both ends of a text that is too long: the first names what is wrong, the last where.
fn shorten(text: String) -> String {
    if text.len() <= MESSAGE_LENGTH_MAX {
        return text;
    }
    let first = text.floor_char_boundary(MESSAGE_LENGTH_MAX / 2);
    let last = text.ceil_char_boundary(text.len() - MESSAGE_LENGTH_MAX / 2 + 8);
    format!("{} … {}", &text[..first], &text[last..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_quotes_a_large_request_is_short() {
        let long = format!("unknown field `{}` at line 1", "é".repeat(100_000));
        let error = ApiError::invalid(long).hint("h".repeat(100_000));
        assert!(error.message.len() <= MESSAGE_LENGTH_MAX, "{}", error.message.len());
        assert!(error.message.starts_with("unknown field `é") && error.message.ends_with("line 1"));
        assert!(error.hint.unwrap().len() <= MESSAGE_LENGTH_MAX);
        assert_eq!(ApiError::invalid("short").message, "short");
    }
}

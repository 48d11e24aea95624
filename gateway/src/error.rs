//! Errors as AWS gives them, in the two forms that clients read.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::json;
use windrow_common::api::{ApiError, ErrorKind};

/// How a service writes its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// AWS Batch: the code is in a header.
    RestJson,
    /// CloudWatch Logs: the code is in the body.
    Json11,
}

impl Protocol {
    pub(crate) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::RestJson => "application/json",
            Self::Json11 => "application/x-amz-json-1.1",
        })
    }
}

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AwsError {
    /// HTTP status.
    pub(crate) status: u16,
    /// AWS's error type, which SDKs make classes of.
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// What to do about it, where there is something to say.
    pub(crate) hint: Option<String>,
    /// How long the client should wait before it tries again, in milliseconds.
    pub(crate) retry_after: Option<u32>,
}

impl AwsError {
    pub(crate) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), hint: None, retry_after: None }
    }

    /// The caller's mistake.
    pub(crate) fn client(message: impl Into<String>) -> Self {
        Self::new(400, "ClientException", message)
    }

    /// Not the caller's mistake; nothing has happened, or it may safely be asked for again.
    pub(crate) fn server(status: u16, message: impl Into<String>) -> Self {
        Self::new(status, "ServerException", message)
    }

    /// The body is not what it should be.
    pub(crate) fn serialization(message: impl Into<String>) -> Self {
        Self::new(400, "SerializationException", message)
    }

    /// There is no such operation.
    pub(crate) fn unknown_operation() -> Self {
        Self::new(404, "UnknownOperationException", "no operation has this method and path")
    }

    /// Adds what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Asks the client to wait so many milliseconds before it tries again.
    pub(crate) fn retry_after(mut self, milliseconds: u32) -> Self {
        self.retry_after = Some(milliseconds);
        self
    }

    /// The answer that says so.
    pub(crate) fn response(&self, protocol: Protocol) -> Response<Full<Bytes>> {
        let mut body = json!({ "message": self.message });
        if protocol == Protocol::Json11 {
            body["__type"] = self.code.into();
        }
        let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
        *response.status_mut() =
            StatusCode::from_u16(self.status).expect("statuses are constants of ours");
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, protocol.content_type());
        headers.insert("x-amzn-errortype", HeaderValue::from_static(self.code));
        if let Some(hint) = self.hint.as_ref().and_then(|hint| HeaderValue::from_str(hint).ok()) {
            headers.insert("x-windrow-hint", hint);
        }
        if let Some(milliseconds) = self.retry_after {
            headers.insert("x-amz-retry-after", milliseconds.into());
        }
        response
    }
}

impl From<ApiError> for AwsError {
    fn from(error: ApiError) -> Self {
        let mut answer = match error.kind {
            ErrorKind::Unavailable => Self::server(503, error.message).retry_after(1_000),
            ErrorKind::Invalid
            | ErrorKind::NotFound
            | ErrorKind::Conflict
            | ErrorKind::TooLarge => Self::client(error.message),
        };
        answer.hint = error.hint;
        answer
    }
}

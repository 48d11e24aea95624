//! One request in, one answer out.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Request, Response};
use tokio::time::timeout;
use tracing::{debug, warn};
use windrow_common::ids::JobId;
use windrow_common::time::wall_clock;

use crate::auth::Auth;
use crate::coordinator::Coordinator;
use crate::error::{AwsError, Protocol};
use crate::logs::Logs;
use crate::{routes, translate};

/// What the target header of a request for CloudWatch Logs begins with.
const LOGS_TARGET: &str = "Logs_20140328.";

/// Answers requests.
#[derive(Debug)]
pub(crate) struct Router {
    pub(crate) coordinator: Coordinator,
    pub(crate) auth: Auth,
    pub(crate) logs: Logs,
    pub(crate) body_bytes_max: usize,
    pub(crate) body_timeout: Duration,
}

impl Router {
    /// Answers one request. Every answer has a request id.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        // As good as any other UUID.
        let id = JobId::generate().to_string();
        let (parts, body) = request.into_parts();
        let logs = target(&parts).map(str::to_owned);
        let protocol = if logs.is_some() { Protocol::Json11 } else { Protocol::RestJson };
        let mut response = match self.read(body).await {
            Ok(body) => self.dispatch(&parts, &body, logs.as_deref(), &id).await.map_or_else(
                |error| {
                    let path = parts.uri.path();
                    match error.status >= 500 {
                        true => warn!(id, path, status = error.status, error.message, "failed"),
                        false => debug!(id, path, status = error.status, error.message, "refused"),
                    }
                    error.response(protocol)
                },
                |answer| success(answer, protocol),
            ),
            Err(error) => {
                // What is left of the body is not read, so nothing can follow it.
                let mut response = error.response(protocol);
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                response
            }
        };
        let id = HeaderValue::from_str(&id).expect("a UUID is ASCII");
        response.headers_mut().insert("x-amzn-requestid", id);
        response
    }

    /// The body, if it is small and comes soon. Before authentication, which is over the body.
    async fn read(&self, body: Incoming) -> Result<Bytes, AwsError> {
        let max = self.body_bytes_max;
        match timeout(self.body_timeout, Limited::new(body, max).collect()).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                let message = format!("a request holds at most {max} bytes");
                Err(AwsError::new(413, "RequestEntityTooLargeException", message))
            }
            Ok(Err(error)) => Err(AwsError::serialization(format!("read the body: {error}"))),
            Err(_) => {
                let message = format!("the body did not come within {:?}", self.body_timeout);
                Err(AwsError::new(408, "RequestTimeoutException", message))
            }
        }
    }

    async fn dispatch(
        &self,
        parts: &Parts,
        body: &Bytes,
        logs: Option<&str>,
        id: &str,
    ) -> Result<Bytes, AwsError> {
        let service = if logs.is_some() { "logs" } else { "batch" };
        let principal = self.auth.authenticate(parts, body, service, wall_clock()).await?;
        if let Some(operation) = logs {
            let request = serde_json::from_slice(body).unwrap_or_default();
            self.auth.authorise(&principal, &format!("logs:{operation}"), &request)?;
            return Ok(self.logs.answer(operation, body).await?.to_string().into());
        }
        let route = routes::find(&parts.method, parts.uri.path(), parts.uri.query())?;
        let operation = route.operation;
        let request = translate::request(&route, &parts.headers, body, &principal.name, id)?;
        self.auth.authorise(&principal, &format!("batch:{}", operation.name), &request.content)?;
        let payload = Bytes::from(request.content.to_string());
        let answer = self.coordinator.call(operation, payload, request.is_repeatable).await?;
        Ok(translate::response(operation, answer))
    }
}

/// The operation of CloudWatch Logs that is asked for.
fn target(parts: &Parts) -> Option<&str> {
    parts.headers.get("x-amz-target")?.to_str().ok()?.strip_prefix(LOGS_TARGET)
}

fn success(answer: Bytes, protocol: Protocol) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(answer));
    response.headers_mut().insert(CONTENT_TYPE, protocol.content_type());
    response
}

//! Reading job output as CloudWatch Logs gives it.

use serde_json::Value;

use crate::error::AwsError;

/// Reads job output.
#[derive(Clone, Debug)]
pub(crate) struct Logs;

impl Logs {
    /// Answers a request; `operation` is what follows the dot of its target header.
    ///
    /// # Errors
    /// As CloudWatch Logs gives them.
    #[allow(clippy::unused_async, reason = "reading is")]
    pub(crate) async fn answer(&self, operation: &str, _body: &[u8]) -> Result<Value, AwsError> {
        let message = format!("CloudWatch Logs' operation {operation} is not supported");
        Err(AwsError::new(400, "UnknownOperationException", message))
    }
}

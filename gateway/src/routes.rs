//! Methods and paths. `POST /v1/OPERATION` with the name in lower case; tags have their own, with the
//! resource's ARN as one percent-encoded segment.

use hyper::Method;
use percent_encoding::percent_decode_str;

use crate::error::AwsError;
use crate::operations::Operation;

/// What a method and a path ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) operation: Operation,
    /// From the path, of the operations on tags.
    pub(crate) resource_arn: Option<String>,
    /// From the query, of UntagResource.
    pub(crate) tag_keys: Vec<String>,
}

/// Finds it.
///
/// # Errors
/// There is nothing there; or what is encoded is not text.
pub(crate) fn find(method: &Method, path: &str, query: Option<&str>) -> Result<Route, AwsError> {
    let rest = path.strip_prefix("/v1/").ok_or_else(AwsError::unknown_operation)?;
    if let Some(arn) = rest.strip_prefix("tags/") {
        return tags(method, arn, query.unwrap_or_default());
    }
    // A name is in lower case, as everywhere in the model.
    let is_plain = rest.bytes().all(|byte| byte.is_ascii_lowercase());
    let is_tags = ["tagresource", "untagresource", "listtagsforresource"].contains(&rest);
    let operation = Operation::find(rest).filter(|_| is_plain && !is_tags);
    match operation {
        Some(operation) if method == Method::POST => {
            Ok(Route { operation, resource_arn: None, tag_keys: Vec::new() })
        }
        Some(_) | None => Err(AwsError::unknown_operation()),
    }
}

/// Slashes and colons of the ARN may be encoded or not: SDKs encode them.
fn tags(method: &Method, arn: &str, query: &str) -> Result<Route, AwsError> {
    let name = match method.as_str() {
        "GET" => "ListTagsForResource",
        "POST" => "TagResource",
        "DELETE" => "UntagResource",
        _ => return Err(AwsError::unknown_operation()),
    };
    let operation = Operation::find(name).expect("it is in the table");
    let mut tag_keys = Vec::new();
    if name == "UntagResource" {
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match key {
                "tagKeys" => tag_keys.push(decode(&value.replace('+', " "))?),
                // Signatures may come in the query.
                _ if key.starts_with("X-Amz-") => {}
                _ => {
                    let key = decode(key)?;
                    return Err(AwsError::client(format!("unknown query parameter `{key}`")));
                }
            }
        }
    }
    Ok(Route { operation, resource_arn: Some(decode(arn)?), tag_keys })
}

fn decode(text: &str) -> Result<String, AwsError> {
    let text = percent_decode_str(text).decode_utf8();
    text.map(std::borrow::Cow::into_owned)
        .map_err(|_| AwsError::client("the path or query holds bytes that are not UTF-8"))
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::*;
    use crate::operations::OPERATIONS;

    const ARN: &str = "arn:aws:batch:local:000000000000:job-queue/a";

    #[test]
    fn every_operation_has_the_path_of_the_model() {
        for operation in OPERATIONS.iter().filter(|o| !o.name.to_lowercase().contains("tag")) {
            let path = format!("/v1/{}", operation.name.to_lowercase());
            assert_eq!(find(&Method::POST, &path, None).unwrap().operation, *operation);
            assert_eq!(find(&Method::GET, &path, None).unwrap_err().status, 404);
        }
    }

    #[test]
    fn what_the_model_does_not_have_is_not_found() {
        for path in ["/", "/v1/", "/v1/SubmitJob", "/v1/submitjob/", "/v1/explainjob", "/v2/x"] {
            let error = find(&Method::POST, path, None).unwrap_err();
            assert_eq!((error.status, error.code), (404, "UnknownOperationException"), "{path}");
        }
        assert!(find(&Method::POST, "/v1/tagresource", None).is_err());
        assert!(find(&Method::PUT, &format!("/v1/tags/{ARN}"), None).is_err());
    }

    #[test]
    fn an_arn_may_be_encoded_or_not() {
        let encoded = "/v1/tags/arn%3Aaws%3Abatch%3Alocal%3A000000000000%3Ajob-queue%2Fa";
        for path in [encoded.to_owned(), encoded.to_lowercase(), format!("/v1/tags/{ARN}")] {
            let route = find(&Method::GET, &path, None).unwrap();
            assert_eq!(route.resource_arn.as_deref(), Some(ARN));
            assert_eq!(route.operation.name, "ListTagsForResource");
        }
        assert!(find(&Method::GET, "/v1/tags/%ff", None).is_err());
    }

    #[test]
    fn keys_to_remove_come_in_the_query() {
        let query = "tagKeys=a%26b&tagKeys=c+d&X-Amz-Date=1";
        let path = format!("/v1/tags/{ARN}");
        let route = find(&Method::DELETE, &path, Some(query)).unwrap();
        assert_eq!(route.tag_keys, ["a&b", "c d"]);
        assert!(find(&Method::DELETE, &path, Some("tagkeys=a")).is_err());
    }
    proptest! {
        #[test]
        fn any_path_and_query_have_an_answer(
            method in "GET|POST|DELETE|PUT|[A-Z]{1,8}",
            path in "/v1/tags/([%/:0-9a-fA-F]|\\PC){0,40}|/v1/[a-z/%]{0,30}|\\PC{0,40}",
            query in "((tagKeys|[a-zA-Z%-]{0,8})=?[%0-9a-fA-F+=]{0,12}&){0,6}",
        ) {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            match find(&method, &path, Some(&query)) {
                Ok(route) => {
                    prop_assert!(path.starts_with("/v1/"));
                    prop_assert!(route.resource_arn.is_none_or(|arn| arn.len() <= path.len()));
                    prop_assert!(route.tag_keys.len() <= query.matches('&').count());
                }
                Err(error) => prop_assert!([400, 404].contains(&error.status)),
            }
        }

        #[test]
        fn what_a_client_encodes_is_found(arn in "\\PC{0,40}", keys in prop::collection::vec("\\PC{0,20}", 0..5)) {
            let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
            let query: Vec<String> = keys.iter().map(|key| format!("tagKeys={}", encode(key))).collect();
            let path = format!("/v1/tags/{}", encode(&arn));
            let route = find(&Method::DELETE, &path, Some(&query.join("&"))).unwrap();
            prop_assert_eq!((route.resource_arn, route.tag_keys), (Some(arn), keys));
        }
    }
}

//! The two encodings: MessagePack with field names between our own parts, and JSON or the same
//! MessagePack on the API, told apart by the `Content-Type` header.

use serde::{Serialize, de::DeserializeOwned};

/// `Content-Type` of MessagePack payloads; anything else, or none, is JSON.
pub const CONTENT_TYPE_MSGPACK: &str = "application/msgpack";
/// `Content-Type` of JSON payloads.
pub const CONTENT_TYPE_JSON: &str = "application/json";

/// A payload that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

/// How an API payload is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// JSON text.
    Json,
    /// MessagePack with field names.
    MessagePack,
}

impl Encoding {
    /// By the value of a `Content-Type` header.
    pub fn from_content_type(value: Option<&str>) -> Self {
        match value {
            Some(CONTENT_TYPE_MSGPACK | "application/x-msgpack" | "application/vnd.msgpack") => {
                Self::MessagePack
            }
            Some(_) | None => Self::Json,
        }
    }

    /// The value for a `Content-Type` header.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => CONTENT_TYPE_JSON,
            Self::MessagePack => CONTENT_TYPE_MSGPACK,
        }
    }

    /// Reads a payload. An empty one reads as an empty object.
    pub fn read<T: DeserializeOwned>(self, payload: &[u8]) -> Result<T, Error> {
        match self {
            Self::Json => {
                let text = if payload.is_empty() { b"{}".as_slice() } else { payload };
                serde_json::from_slice(text).map_err(|e| Error(with_member::<T>(text, &e)))
            }
            Self::MessagePack => from_msgpack(if payload.is_empty() { &[0x80] } else { payload }),
        }
    }

    /// Writes a payload.
    pub fn write<T: Serialize>(self, value: &T) -> Vec<u8> {
        match self {
            Self::Json => serde_json::to_vec(value).expect("API types have string keys"),
            Self::MessagePack => to_msgpack(value),
        }
    }
}

/// What is wrong with a JSON text, and with which member. Reads it again for that: errors are rare.
fn with_member<T: DeserializeOwned>(text: &[u8], error: &serde_json::Error) -> String {
    let mut again = serde_json::Deserializer::from_slice(text);
    match serde_path_to_error::deserialize::<_, T>(&mut again) {
        Err(found) if found.path().iter().next().is_some() => {
            format!("`{}`: {}", found.path(), found.inner())
        }
        // As a whole, or behind its end.
        Err(_) | Ok(_) => error.to_string(),
    }
}

/// Writes MessagePack with field names, so that fields can be added later.
pub fn to_msgpack<T: Serialize>(value: &T) -> Vec<u8> {
    rmp_serde::to_vec_named(value).expect("our types have a MessagePack form")
}

/// Reads MessagePack; trailing bytes are an error.
pub fn from_msgpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let mut reader = rmp_serde::Deserializer::new(bytes);
    // Payloads come from outside: bound the recursion a hostile one can cause.
    reader.set_max_depth(64);
    let value = T::deserialize(&mut reader).map_err(|e| Error(e.to_string()))?;
    match reader.get_ref().len() {
        0 => Ok(value),
        rest => Err(Error(format!("{rest} bytes follow the value"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_payloads_are_errors() {
        let deep = vec![0x91; 100_000];
        assert!(from_msgpack::<serde_json::Value>(&deep).is_err());
        let huge_length = [0xdd, 0xff, 0xff, 0xff, 0xff];
        assert!(from_msgpack::<Vec<u64>>(&huge_length).is_err());
        assert!(from_msgpack::<u8>(&[1, 2]).is_err());
        assert!(Encoding::Json.read::<u8>("[".repeat(100_000).as_bytes()).is_err());
    }
    #[test]
    fn what_is_wrong_is_named() {
        type Nested = std::collections::BTreeMap<String, Vec<u32>>;
        let wrong = |text: &str| Encoding::Json.read::<Nested>(text.as_bytes()).unwrap_err().0;
        let at_the_member = "`a[1]`: invalid value: integer `-1`, expected u32 at line 1 column 12";
        assert_eq!(wrong(r#"{"a": [1, -1]}"#), at_the_member);
        assert_eq!(wrong("{} x"), "trailing characters at line 1 column 4");
        assert_eq!(wrong("7"), "invalid type: integer `7`, expected a map at line 1 column 1");
    }
}

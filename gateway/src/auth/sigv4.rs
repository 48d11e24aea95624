//! What a request claims by AWS Signature Version 4, in its header or in its query, and whether it is so.
//!
//! Pure. Own code over `hmac` and `sha2`: the crates there are sign requests and choose for themselves which
//! headers they sign, where a verifier has to take those that the client chose.

use std::borrow::Cow;
use std::time::Duration;

use data_encoding::HEXLOWER;
use hmac::Mac;
use hyper::HeaderMap;
use hyper::http::request::Parts;
use sha2::{Digest, Sha256};
use windrow_common::time::Timestamp;

use super::canonical::{ALGORITHM, SIGNATURE_PARAMETER, Scope, Signed, TERMINATOR, decode};
use crate::error::AwsError;

/// How far a client's clock may be from ours, as AWS has it.
pub(super) const SKEW_MAX: Duration = Duration::from_secs(300);
/// Longest life of a presigned request, in seconds: replays are remembered for so long.
const EXPIRES_MAX: u64 = 900;
/// Most headers that are signed.
const HEADERS_MAX: usize = 64;
/// Headers whose value says something; where they are, they must be signed.
const MUST_BE_SIGNED: [&str; 2] = ["content-type", "host"];
/// Headers of AWS's that proxies and SDKs add after signing.
const MAY_BE_UNSIGNED: [&str; 2] = ["x-amz-user-agent", "x-amz-content-sha256"];

/// What a request says of its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// As it was given; it may be anything.
    pub(super) access_key_id: String,
    pub(super) scope: Scope,
    /// `YYYYMMDDTHHMMSSZ`.
    time: String,
    /// The same.
    at: Timestamp,
    /// Until when the signature is good.
    pub(super) until: Timestamp,
    /// In lower case, in order.
    signed_headers: Vec<String>,
    pub(super) signature: [u8; 32],
    /// A session token came with it.
    pub(super) has_token: bool,
}

fn incomplete(message: impl Into<String>) -> AwsError {
    AwsError::new(400, "IncompleteSignatureException", message)
}

fn invalid(message: impl Into<String>) -> AwsError {
    AwsError::new(403, "InvalidSignatureException", message)
}

impl Claim {
    /// Reads what the request claims.
    ///
    /// # Errors
    /// It is not signed, in two ways, or incompletely.
    pub(super) fn read(parts: &Parts) -> Result<Self, AwsError> {
        let query = parts.uri.query().unwrap_or_default();
        let header = one(&parts.headers, "authorization")?;
        let is_presigned = parameters(query).any(|(name, _)| name == "X-Amz-Algorithm");
        match (header, is_presigned) {
            (Some(header), false) => Self::of_header(parts, header),
            (None, true) => Self::of_query(parts, query),
            (Some(_), true) => {
                Err(incomplete("the request is signed twice, in its header and in its query"))
            }
            (None, false) => Err(AwsError::new(
                403,
                "MissingAuthenticationTokenException",
                "Missing Authentication Token",
            )
            .hint("sign it with an access key of `windrow key create`")),
        }
    }

    fn of_header(parts: &Parts, header: &str) -> Result<Self, AwsError> {
        let rest = header.strip_prefix(ALGORITHM).filter(|rest| rest.starts_with([' ', '\t']));
        let rest = rest.ok_or_else(|| {
            incomplete(format!("the Authorization header must begin with `{ALGORITHM}`"))
        })?;
        let [mut credential, mut headers, mut signature] = [None; 3];
        for part in rest.split(',') {
            let (name, value) = part.trim().split_once('=').unwrap_or_default();
            let place = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut headers,
                "Signature" => &mut signature,
                _ => return Err(incomplete("the Authorization header has an unknown part")),
            };
            if place.replace(value).is_some() {
                return Err(incomplete(format!("the Authorization header has `{name}` twice")));
            }
        }
        let missing =
            |name: &str| incomplete(format!("Authorization header requires '{name}' parameter."));
        let credential = credential.ok_or_else(|| missing("Credential"))?;
        let headers = headers.ok_or_else(|| missing("SignedHeaders"))?;
        let signature = signature.ok_or_else(|| missing("Signature"))?;
        let time = one(&parts.headers, "x-amz-date")?.ok_or_else(|| {
            incomplete("Authorization header requires existence of a 'X-Amz-Date' header.")
        })?;
        let mut claim = Self::new(credential, headers, signature, time)?;
        claim.until = claim.at.plus(SKEW_MAX);
        claim.has_token = parts.headers.contains_key("x-amz-security-token");
        claim.check_headers(&parts.headers, &["x-amz-date"])?;
        Ok(claim)
    }

    fn of_query(parts: &Parts, query: &str) -> Result<Self, AwsError> {
        let find = |name: &str| {
            let mut found = parameters(query).filter(|(known, _)| known == name);
            match (found.next(), found.next()) {
                (Some((_, value)), None) => Ok(Some(value)),
                (None, _) => Ok(None),
                (Some(_), Some(_)) => Err(incomplete(format!("`{name}` is there twice"))),
            }
        };
        let need =
            |name: &str| find(name)?.ok_or_else(|| incomplete(format!("`{name}` is missing")));
        if need("X-Amz-Algorithm")? != ALGORITHM {
            return Err(incomplete(format!("X-Amz-Algorithm must be `{ALGORITHM}`")));
        }
        let (credential, headers) = (need("X-Amz-Credential")?, need("X-Amz-SignedHeaders")?);
        let (signature, time) = (need(SIGNATURE_PARAMETER)?, need("X-Amz-Date")?);
        let mut claim = Self::new(&credential, &headers, &signature, &time)?;
        let expires = need("X-Amz-Expires")?;
        let expires = expires.parse().ok().filter(|seconds| (1..=EXPIRES_MAX).contains(seconds));
        let expires = expires.ok_or_else(|| {
            incomplete(format!("X-Amz-Expires must be a number from 1 to {EXPIRES_MAX}"))
        })?;
        claim.until = claim.at.plus(Duration::from_secs(expires));
        claim.has_token = find("X-Amz-Security-Token")?.is_some();
        claim.check_headers(&parts.headers, &[])?;
        Ok(claim)
    }

    fn new(credential: &str, headers: &str, signature: &str, time: &str) -> Result<Self, AwsError> {
        let parts: Vec<&str> = credential.split('/').collect();
        let [access_key_id, date, region, service, TERMINATOR] = parts[..] else {
            return Err(incomplete(format!(
                "Credential must be `KEY/YYYYMMDD/REGION/SERVICE/{TERMINATOR}`"
            )));
        };
        let at = timestamp(time)
            .ok_or_else(|| incomplete("X-Amz-Date must be in the form `YYYYMMDDTHHMMSSZ`"))?;
        if !time.starts_with(date) || date.len() != 8 {
            return Err(invalid("the date of the credential is not that of the request"));
        }
        let signature = HEXLOWER.decode(signature.as_bytes()).ok();
        let signature = signature.and_then(|bytes| bytes.try_into().ok());
        let signature = signature.ok_or_else(|| {
            incomplete("the signature must have 64 hexadecimal digits in lower case")
        })?;
        let signed_headers: Vec<String> = headers.split(';').map(str::to_owned).collect();
        let is_ordered = signed_headers.is_sorted_by(|a, b| a < b);
        let is_lower = |name: &String| !name.bytes().any(|byte| byte.is_ascii_uppercase());
        if !is_ordered || !signed_headers.iter().all(is_lower) || signed_headers.len() > HEADERS_MAX
        {
            return Err(incomplete(format!(
                "SignedHeaders must be at most {HEADERS_MAX} names in lower case, in order"
            )));
        }
        let (region, service) = (region.to_owned(), service.to_owned());
        Ok(Self {
            access_key_id: access_key_id.to_owned(),
            scope: Scope { date: date.to_owned(), region, service },
            time: time.to_owned(),
            at,
            until: at,
            signed_headers,
            signature,
            has_token: false,
        })
    }

    /// What changes the meaning of a request must be signed; what is said to be signed must be there.
    fn check_headers(&self, headers: &HeaderMap, also: &[&str]) -> Result<(), AwsError> {
        let is_signed = |name: &str| self.signed_headers.iter().any(|signed| signed == name);
        let needs = |name: &str| {
            MUST_BE_SIGNED.contains(&name)
                || (name.starts_with("x-amz-") && !MAY_BE_UNSIGNED.contains(&name))
        };
        let unsigned = headers.keys().map(|name| name.as_str());
        let mut unsigned = unsigned.chain(also.iter().copied()).filter(|name| needs(name));
        if let Some(name) = unsigned.find(|name| !is_signed(name)) {
            return Err(invalid(format!("'{name}' must be a 'SignedHeader' in the request.")));
        }
        if !is_signed("host") {
            return Err(invalid("'host' must be a 'SignedHeader' in the request."));
        }
        let missing = self.signed_headers.iter().find(|name| !headers.contains_key(name.as_str()));
        missing.map_or(Ok(()), |name| {
            Err(incomplete(format!("the signed header `{name}` is not in the request")))
        })
    }

    /// Refuses what is not for this service, or not for now.
    ///
    /// SDKs know the code and set their clocks by the answer's `Date`.
    pub(super) fn check_scope(&self, service: &str, now: Timestamp) -> Result<(), AwsError> {
        if self.scope.service != service {
            return Err(invalid(format!(
                "Credential should be scoped to correct service: '{service}'."
            )));
        }
        if self.scope.region.is_empty() {
            return Err(invalid("Credential should be scoped to a region."));
        }
        let (from, until) = (self.at.minus(SKEW_MAX), self.until);
        if now > until {
            return Err(invalid(format!(
                "Signature expired: {} is now later than {until}; it is {now} here",
                self.time
            )));
        }
        if now < from {
            return Err(invalid(format!(
                "Signature not yet current: {} is still later than {} (5 min.); it is {now} here",
                self.time,
                now.plus(SKEW_MAX)
            )));
        }
        Ok(())
    }

    /// Whether the request was signed so with this secret. The comparison takes the same time wherever they
    /// differ.
    pub(super) fn check_signature(
        &self,
        parts: &Parts,
        body: &[u8],
        secret: &str,
    ) -> Result<(), AwsError> {
        if let Some(digest) = one(&parts.headers, "x-amz-content-sha256")? {
            let own = HEXLOWER.encode(&Sha256::digest(body));
            if digest == "UNSIGNED-PAYLOAD" || digest.starts_with("STREAMING-") {
                return Err(invalid(format!("the body must be signed, got `{digest}`")));
            }
            if digest != own {
                return Err(invalid("x-amz-content-sha256 is not the digest of the body"));
            }
        }
        let values = |name: &String| {
            let values = parts.headers.get_all(name.as_str()).iter();
            values.map(|value| value.as_bytes()).collect::<Vec<&[u8]>>()
        };
        let headers: Vec<(&str, Vec<&[u8]>)> =
            self.signed_headers.iter().map(|name| (name.as_str(), values(name))).collect();
        let signed = Signed {
            method: parts.method.as_str(),
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or_default(),
            headers: &headers,
            body,
        };
        let mac = signed.mac(secret, &self.time, &self.scope);
        mac.verify_slice(&self.signature).map_err(|_| {
            invalid(
                "The request signature we calculated does not match the signature you provided. Check your \
                 AWS Secret Access Key and signing method. Consult the service documentation for details.",
            )
        })
    }
}

/// The value of a header that must not be there twice.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, AwsError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value
            .to_str()
            .map(Some)
            .map_err(|_| incomplete(format!("the header `{name}` is not ASCII"))),
        (Some(_), Some(_)) => Err(incomplete(format!("the header `{name}` is there twice"))),
    }
}

/// The parameters of a query, decoded.
fn parameters(query: &str) -> impl Iterator<Item = (Cow<'_, str>, String)> {
    let text = |encoded: &str| String::from_utf8_lossy(&decode(encoded)).into_owned();
    query.split('&').map(move |pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (Cow::Owned(text(name)), text(value))
    })
}

/// Reads `YYYYMMDDTHHMMSSZ`.
fn timestamp(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let digits = |range: std::ops::Range<usize>| bytes[range].iter().all(u8::is_ascii_digit);
    if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' || !digits(0..8) || !digits(9..15)
    {
        return None;
    }
    let [year, month, day] = [&text[..4], &text[4..6], &text[6..8]];
    let [hour, minute, second] = [&text[9..11], &text[11..13], &text[13..15]];
    format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z").parse().ok()
}

#[cfg(test)]
mod tests;

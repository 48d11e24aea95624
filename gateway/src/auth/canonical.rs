//! The canonical request and the signature of AWS Signature Version 4, as its public description has them.
//!
//! Pure: text goes in, text comes out; nothing here knows keys, time or HTTP's types.

use data_encoding::HEXLOWER;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

/// The only algorithm.
pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// What a scope ends with.
pub(super) const TERMINATOR: &str = "aws4_request";
/// The parameter of a presigned request that is not itself signed.
pub(super) const SIGNATURE_PARAMETER: &str = "X-Amz-Signature";

/// What a signature is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    /// `YYYYMMDD`.
    pub(super) date: String,
    pub(super) region: String,
    pub(super) service: String,
}

/// A request in the parts that are signed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signed<'a> {
    pub(super) method: &'a str,
    /// As it is in the request line, still encoded.
    pub(super) path: &'a str,
    /// Without the `?`; empty if there is none.
    pub(super) query: &'a str,
    /// Signed headers in the order of their names, each with all its values.
    pub(super) headers: &'a [(&'a str, Vec<&'a [u8]>)],
    pub(super) body: &'a [u8],
}

impl Signed<'_> {
    /// The canonical request.
    pub(super) fn canonical(&self) -> Vec<u8> {
        let mut text = Vec::new();
        let mut line = |parts: &[&[u8]]| {
            parts.iter().for_each(|part| text.extend_from_slice(part));
            text.push(b'\n');
        };
        line(&[self.method.as_bytes()]);
        line(&[canonical_path(self.path).as_bytes()]);
        line(&[canonical_query(self.query).as_bytes()]);
        for (name, values) in self.headers {
            let values: Vec<Vec<u8>> = values.iter().map(|value| trimmed(value)).collect();
            line(&[name.as_bytes(), b":", &values.join(&b","[..])]);
        }
        line(&[]);
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| *name).collect();
        line(&[names.join(";").as_bytes()]);
        text.extend_from_slice(HEXLOWER.encode(&Sha256::digest(self.body)).as_bytes());
        text
    }

    /// A MAC over the string to sign, to be compared with a signature in constant time. `time` is
    /// `YYYYMMDDTHHMMSSZ`.
    pub(super) fn mac(&self, secret: &str, time: &str, scope: &Scope) -> Hmac<Sha256> {
        let Scope { date, region, service } = scope;
        let digest = HEXLOWER.encode(&Sha256::digest(self.canonical()));
        let text = format!("{ALGORITHM}\n{time}\n{date}/{region}/{service}/{TERMINATOR}\n{digest}");
        let mut key = format!("AWS4{secret}").into_bytes();
        for part in [date, region, service, TERMINATOR] {
            key = mac(&key, part.as_bytes()).finalize().into_bytes().to_vec();
        }
        mac(&key, text.as_bytes())
    }
}

fn mac(key: &[u8], data: &[u8]) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes any key").chain_update(data)
}

/// Without `.`, `..` and empty segments, and encoded once more, as every service but S3 has it.
fn canonical_path(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    let mut canonical = String::from("/");
    for (index, segment) in segments.iter().enumerate() {
        if index > 0 {
            canonical.push('/');
        }
        encode(segment.as_bytes(), &mut canonical);
    }
    let is_open = path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..");
    if is_open && !segments.is_empty() {
        canonical.push('/');
    }
    canonical
}

/// Parameters decoded, encoded in the one right way, and sorted; without the signature.
fn canonical_query(query: &str) -> String {
    let canonical = |text: &str| {
        let mut encoded = String::new();
        encode(&decode(text), &mut encoded);
        encoded
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut pairs: Vec<(String, String)> = pairs
        .map(|(name, value)| (canonical(name), canonical(value)))
        .filter(|(name, _)| name != SIGNATURE_PARAMETER)
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

/// Without spaces around it, and with single ones inside.
fn trimmed(value: &[u8]) -> Vec<u8> {
    let mut trimmed = Vec::with_capacity(value.len());
    for &byte in value.trim_ascii() {
        if byte != b' ' || trimmed.last() != Some(&b' ') {
            trimmed.push(byte);
        }
    }
    trimmed
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
fn encode(bytes: &[u8], to: &mut String) {
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            to.push(char::from(byte));
        } else {
            const DIGITS: [char; 16] =
                ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
            to.push('%');
            to.push(DIGITS[usize::from(byte >> 4)]);
            to.push(DIGITS[usize::from(byte & 15)]);
        }
    }
}

/// Percent-decodes; what is no escape stays as it is.
pub(super) fn decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let (mut decoded, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(u8::try_from(high * 16 + low).expect("two digits"));
                at += 3;
            }
            _ => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    const TIME: &str = "20150830T123600Z";

    fn scope() -> Scope {
        let text = str::to_owned;
        Scope { date: text("20150830"), region: text("us-east-1"), service: text("service") }
    }

    fn signature(method: &str, path: &str, query: &str, more: &[(&str, Vec<&[u8]>)]) -> String {
        let host: (&str, Vec<&[u8]>) = ("host", vec![b"example.amazonaws.com"]);
        let date: (&str, Vec<&[u8]>) = ("x-amz-date", vec![TIME.as_bytes()]);
        let mut headers = [vec![host, date], more.to_vec()].concat();
        headers.sort();
        let signed = Signed { method, path, query, headers: &headers, body: b"" };
        HEXLOWER.encode(&signed.mac(SECRET, TIME, &scope()).finalize().into_bytes())
    }

    /// The public suite of vectors: what is signed, and the signature.
    #[test]
    fn the_public_vectors_are_met() {
        let vanilla = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
        for path in ["/", "//", "/./", "/example/..", "/example/../"] {
            assert_eq!(signature("GET", path, "", &[]), vanilla, "{path}");
        }
        let ordered = "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500";
        assert_eq!(signature("GET", "/", "Param2=value2&Param1=value1", &[]), ordered);
        assert_eq!(signature("GET", "/", "Param1=value1&Param2=value2", &[]), ordered);
        let post = "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b";
        assert_eq!(signature("POST", "/", "", &[]), post);
        let value: (&str, Vec<&[u8]>) = ("my-header1", vec![b"value1"]);
        let sorted = "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c";
        assert_eq!(signature("POST", "/", "", &[value]), sorted);
        let utf8 = "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85";
        assert_eq!(signature("GET", "/ሴ", "", &[]), utf8);
        let utf8_query = "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04";
        assert_eq!(signature("GET", "/", "ሴ=bar", &[]), utf8_query);
        let unreserved = "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f";
        let all = "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        assert_eq!(signature("GET", all, "", &[]), unreserved);
        let space = "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741";
        assert_eq!(signature("GET", "/example space/", "", &[]), space);
        let twice: (&str, Vec<&[u8]>) = ("my-header1", vec![b"value2", b"value2", b"value1"]);
        let doubled = "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea";
        assert_eq!(signature("GET", "/", "", &[twice]), doubled);
        let spaced: [(&str, Vec<&[u8]>); 2] =
            [("my-header1", vec![b" value1"]), ("my-header2", vec![b" \"a   b   c\""])];
        let trimmed = "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736";
        assert_eq!(signature("GET", "/", "", &spaced), trimmed);
    }

    #[test]
    fn a_path_is_encoded_once_more() {
        assert_eq!(canonical_path("/v1/tags/arn%3Aaws%2Fx"), "/v1/tags/arn%253Aaws%252Fx");
        assert_eq!(canonical_path("/v1//a/./b/../c/"), "/v1/a/c/");
        assert_eq!(canonical_path(""), "/");
    }

    #[test]
    fn the_signature_parameter_is_left_out_however_it_is_spelled() {
        assert_eq!(canonical_query("b=1&X-Amz-Signature=x&a=%7e+"), "a=~%2B&b=1");
        assert_eq!(canonical_query("X%2DAmz-Signature=x"), "");
    }

    proptest! {
        #[test]
        fn any_text_has_one_canonical_form(path in "\\PC{0,60}", query in "[a-z%&=+0-9A-F]{0,60}") {
            let (once, twice) = (canonical_query(&query), canonical_query(&canonical_query(&query)));
            prop_assert_eq!(&once, &twice);
            prop_assert!(once.len() <= query.len() * 3 + 60);
            let canonical = canonical_path(&path);
            prop_assert!(canonical.starts_with('/') && canonical.is_ascii());
            prop_assert!(canonical.len() <= path.len() * 3 + 1);
        }

        #[test]
        fn what_is_encoded_is_decoded_again(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut text = String::new();
            encode(&bytes, &mut text);
            prop_assert_eq!(decode(&text), bytes);
        }
    }
}

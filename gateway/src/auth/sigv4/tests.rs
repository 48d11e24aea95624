//! Requests signed here, and what becomes of them when anything in them is another.

use hyper::Request;
use proptest::prelude::*;

use super::*;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const TIME: &str = "20150830T123600Z";
const BODY: &[u8] = br#"{"jobName":"a","jobQueue":"q"}"#;

fn now() -> Timestamp {
    timestamp(TIME).unwrap()
}

fn mac(method: &str, uri: &str, headers: &[(&str, &str)], body: &[u8]) -> String {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let headers: Vec<(&str, Vec<&[u8]>)> =
        headers.iter().map(|(name, value)| (*name, vec![value.as_bytes()])).collect();
    let text = str::to_owned;
    let scope = Scope { date: text("20150830"), region: text("local"), service: text("batch") };
    let signed = Signed { method, path, query, headers: &headers, body };
    HEXLOWER.encode(&signed.mac(SECRET, TIME, &scope).finalize().into_bytes())
}

/// As it goes over the wire: method, path, headers.
#[derive(Clone, Debug)]
struct Wire {
    method: String,
    uri: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Wire {
    fn signed(method: &str, uri: &str, body: &[u8]) -> Self {
        let own = [
            ("content-type", "application/json"),
            ("host", "127.0.0.1:8080"),
            ("x-amz-date", TIME),
            ("x-amz-security-token", "token"),
        ];
        let signature = mac(method, uri, &own, body);
        let authorization = format!(
            "{ALGORITHM} Credential=AKWRAAAAAAAAAAAAAAAA/20150830/local/batch/{TERMINATOR}, \
             SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature={signature}"
        );
        let all = own.iter().copied().chain([("authorization", authorization.as_str())]);
        let headers = all.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
        let (method, uri) = (method.to_owned(), uri.to_owned());
        Self { method, uri, headers: headers.collect(), body: body.to_vec() }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.as_bytes().to_vec()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    /// None if HTTP itself does not allow it.
    fn parts(&self) -> Option<Parts> {
        let mut request = Request::builder().method(self.method.as_str()).uri(self.uri.as_str());
        for (name, value) in &self.headers {
            request = request.header(name.as_str(), value.as_slice());
        }
        request.body(()).ok().map(|request| request.into_parts().0)
    }

    fn check(&self) -> Result<Claim, AwsError> {
        let parts = self.parts().unwrap();
        let claim = Claim::read(&parts)?;
        claim.check_scope("batch", now())?;
        claim.check_signature(&parts, &self.body, SECRET)?;
        Ok(claim)
    }

    fn code(&self) -> &'static str {
        self.check().unwrap_err().code
    }
}

#[test]
fn a_signed_request_is_taken_and_says_whose_it_is() {
    let claim = Wire::signed("POST", "/v1/submitjob", BODY).check().unwrap();
    assert_eq!(claim.access_key_id, "AKWRAAAAAAAAAAAAAAAA");
    assert_eq!((claim.scope.region.as_str(), claim.has_token), ("local", true));
    assert_eq!(claim.until, now().plus(SKEW_MAX));
    Wire::signed("DELETE", "/v1/tags/arn%3Aaws%3Abatch%2Fq?tagKeys=b&tagKeys=a", b"")
        .check()
        .unwrap();
}

/// Each byte of everything that is signed, and of the signature itself.
#[test]
fn a_request_with_any_byte_changed_is_refused() {
    let good = Wire::signed("POST", "/v1/tags/arn%3Ax?tagKeys=a", BODY);
    let mut changed = 0;
    let mut refused = |wire: Wire| {
        // What HTTP does not allow never comes here.
        if wire.parts().is_some() {
            changed += 1;
            assert!(wire.check().is_err(), "{wire:?}");
        }
    };
    for flip in [1u8, 0x20, 0x80] {
        let flipped = |bytes: &[u8], at: usize| {
            let mut bytes = bytes.to_vec();
            bytes[at] ^= flip;
            bytes
        };
        let text = |text: &str, at: usize| String::from_utf8(flipped(text.as_bytes(), at)).ok();
        for at in 0..good.method.len() {
            text(&good.method, at)
                .into_iter()
                .for_each(|method| refused(Wire { method, ..good.clone() }));
        }
        for at in 0..good.uri.len() {
            // Both spellings of an escape mean the same, but a path is compared as it came.
            text(&good.uri, at).into_iter().for_each(|uri| refused(Wire { uri, ..good.clone() }));
        }
        for at in 0..good.body.len() {
            refused(Wire { body: flipped(&good.body, at), ..good.clone() });
        }
        for (number, (name, value)) in good.headers.iter().enumerate() {
            for at in 0..value.len() {
                // Of the key's id nothing is checked here: another id has another secret.
                let id = ALGORITHM.len() + " Credential=".len();
                if name == "authorization" && (id..id + 20).contains(&at) {
                    continue;
                }
                let mut headers = good.headers.clone();
                headers[number].1 = flipped(value, at);
                refused(Wire { headers, ..good.clone() });
            }
        }
    }
    assert!(changed > 700, "{changed} changed requests were looked at");
}

#[test]
fn what_is_not_signed_or_missing_is_named() {
    let good = || Wire::signed("POST", "/v1/submitjob", BODY);
    assert_eq!(good().without("authorization").code(), "MissingAuthenticationTokenException");
    assert_eq!(good().without("x-amz-date").code(), "IncompleteSignatureException");
    assert_eq!(good().without("content-type").code(), "IncompleteSignatureException");
    let added = good().with("x-amz-target", "Logs_20140328.GetLogEvents").check().unwrap_err();
    assert!(added.message.contains("'x-amz-target' must be a 'SignedHeader'"), "{added:?}");
    good().with("user-agent", "added by a proxy").check().unwrap();
    for name in ["host", "x-amz-date", "authorization"] {
        assert!(good().with(name, "x").check().is_err(), "{name} twice");
    }
    for payload in ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", &"0".repeat(64)] {
        assert_eq!(
            good().with("x-amz-content-sha256", payload).code(),
            "InvalidSignatureException"
        );
    }
    let own = HEXLOWER.encode(&Sha256::digest(BODY));
    good().with("x-amz-content-sha256", &own).check().unwrap();
    for bad in ["Bearer x", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=a/b, Signature=c", ""]
    {
        let wire = good().without("authorization").with("authorization", bad);
        assert_eq!(wire.code(), "IncompleteSignatureException", "{bad}");
    }
}

#[test]
fn a_wrong_clock_is_told_with_the_code_by_which_sdks_set_theirs() {
    let parts = Wire::signed("POST", "/v1/submitjob", BODY).parts().unwrap();
    let claim = Claim::read(&parts).unwrap();
    let seconds = Duration::from_secs;
    for (now, problem) in [
        (now().plus(seconds(300)), None),
        (now().minus(seconds(300)), None),
        (now().plus(seconds(301)), Some("Signature expired: 20150830T123600Z")),
        (now().minus(seconds(301)), Some("Signature not yet current: 20150830T123600Z")),
    ] {
        let error = claim.check_scope("batch", now).err();
        assert_eq!(error.is_some(), problem.is_some(), "{now}");
        for (error, problem) in error.iter().zip(problem) {
            assert_eq!((error.status, error.code), (403, "InvalidSignatureException"));
            assert!(error.message.starts_with(problem), "{error:?}");
        }
    }
    let error = claim.check_scope("logs", now()).unwrap_err();
    assert!(error.message.contains("correct service: 'logs'"), "{error:?}");
}

fn presigned(expires: &str) -> Wire {
    let query = format!(
        "X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential=AKWRAAAAAAAAAAAAAAAA%2F20150830%2Flocal%2Fbatch\
         %2F{TERMINATOR}&X-Amz-Date={TIME}&X-Amz-Expires={expires}&X-Amz-SignedHeaders=host"
    );
    let uri = format!("/v1/listjobs?{query}");
    let signature = mac("POST", &uri, &[("host", "h")], BODY);
    let uri = format!("{uri}&{SIGNATURE_PARAMETER}={signature}");
    let wire = Wire { method: "POST".to_owned(), uri, headers: Vec::new(), body: BODY.to_vec() };
    wire.with("host", "h")
}

#[test]
fn a_presigned_request_is_good_for_its_time() {
    let claim = presigned("60").check().unwrap();
    assert_eq!(claim.until, now().plus(Duration::from_secs(60)));
    assert!(claim.check_scope("batch", now().plus(Duration::from_secs(61))).is_err());
    for wrong in ["0", "901", "-1", "x", ""] {
        assert_eq!(presigned(wrong).code(), "IncompleteSignatureException", "{wrong}");
    }
    assert!(Wire { body: b"{}".to_vec(), ..presigned("60") }.check().is_err());
    let twice = format!("{}&X-Amz-Expires=900", presigned("60").uri);
    assert_eq!(Wire { uri: twice, ..presigned("60") }.code(), "IncompleteSignatureException");
    let both = presigned("60").with("authorization", "AWS4-HMAC-SHA256 x");
    assert_eq!(both.code(), "IncompleteSignatureException");
}

#[test]
fn times_are_read_in_one_form() {
    assert_eq!(timestamp("19700101T000002Z"), Some(Timestamp(2_000)));
    for bad in [
        "",
        "20150830T123600",
        "20151330T123600Z",
        "2015-08-30T12:36Z",
        "20150830T123600ü",
        "+0150830T123600Z",
    ] {
        assert_eq!(timestamp(bad), None, "{bad}");
    }
}

proptest! {
    /// Nothing that can come makes it panic, and nothing but the right signature is taken.
    #[test]
    fn any_claim_is_refused_in_bounded_time(
        authorization in "(AWS4-HMAC-SHA256 )?[ -~]{0,200}",
        query in "(X-Amz-[A-Za-z]{0,12}=[ -~]{0,20}&){0,6}",
        date in "[0-9TZ]{0,18}",
    ) {
        let uri = format!("/v1/listjobs?{}", query.replace([' ', '#', '"', '<', '>', '`', '{', '}', '\\', '^', '|'], "%20"));
        let wire = Wire { method: "POST".to_owned(), uri, headers: Vec::new(), body: Vec::new() };
        let wire = wire.with("authorization", &authorization).with("x-amz-date", &date);
        if wire.parts().is_some() {
            prop_assert!(wire.with("host", "h").check().is_err());
        }
    }
}

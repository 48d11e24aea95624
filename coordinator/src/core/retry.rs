//! `retryStrategy`: which failed attempts are tried again, and how long they wait first.
//!
//! Entries are looked at in their order and the first that matches decides. All conditions of an
//! entry must match; none given matches never, as such an entry is refused. No entry matching means
//! retry. Patterns match the whole text, or its beginning when they end in `*`; case counts. (AWS
//! shows these rules by examples; that the first match decides is the reading they allow.)

use std::time::Duration;

use serde::{Deserialize, Serialize};
use windrow_common::api::ApiError;
use windrow_common::api::definitions::{EvaluateOnExit, RetryBackoff, RetryStrategy};

use super::limits::Limits;

/// Longest pattern, in characters, as AWS has it.
const PATTERN_LENGTH_MAX: usize = 512;

/// When and how often attempts are retried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Attempts in all.
    pub attempts_max: u32,
    rules: Vec<Rule>,
    /// How long a charged attempt waits; absent: not at all.
    #[serde(default)]
    pub backoff: Option<Backoff>,
}

/// How long a job waits before it is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    initial_seconds: u32,
    multiplier: u32,
    max_seconds: u32,
}

/// Longest back-off: a week. Longer is nearly surely a mistake, and the job seems forgotten.
const BACKOFF_SECONDS_MAX: u32 = 7 * 24 * 3600;
/// Largest multiplier: beyond it the second retry is at the maximum anyway.
const BACKOFF_MULTIPLIER_MAX: u32 = 100;

impl Backoff {
    fn parse(strategy: &RetryBackoff) -> Result<Self, ApiError> {
        let within = |field: &str, value: u32, from: u32, to: u32| match value {
            value if (from..=to).contains(&value) => Ok(value),
            value => Err(ApiError::invalid(format!(
                "retryStrategy.backoff.{field} must be from {from} to {to}, got {value}"
            ))),
        };
        let initial = strategy.initial_seconds.ok_or_else(|| {
            ApiError::invalid("retryStrategy.backoff needs initialSeconds")
                .hint("the wait before the second attempt, in seconds")
        })?;
        let initial_seconds = within("initialSeconds", initial, 1, BACKOFF_SECONDS_MAX)?;
        let multiplier = strategy.multiplier.unwrap_or(2);
        let max_seconds = strategy.max_seconds.unwrap_or_else(|| initial_seconds.max(3600));
        Ok(Self {
            initial_seconds,
            multiplier: within("multiplier", multiplier, 1, BACKOFF_MULTIPLIER_MAX)?,
            max_seconds: within("maxSeconds", max_seconds, initial_seconds, BACKOFF_SECONDS_MAX)?,
        })
    }

    fn to_api(self) -> RetryBackoff {
        RetryBackoff {
            initial_seconds: Some(self.initial_seconds),
            multiplier: Some(self.multiplier),
            max_seconds: Some(self.max_seconds),
        }
    }

    /// The wait after this many attempts that were charged, from 1.
    pub(super) fn after(self, charged: u32) -> Duration {
        let (mut seconds, max) = (self.initial_seconds, self.max_seconds);
        for _ in 1..charged {
            if seconds >= max || self.multiplier == 1 {
                break;
            }
            seconds = seconds.saturating_mul(self.multiplier);
        }
        Duration::from_secs(seconds.min(max).into())
    }
}

/// One entry of `evaluateOnExit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Rule {
    is_retry: bool,
    exit_code: Option<String>,
    reason: Option<String>,
    status_reason: Option<String>,
}

impl Retry {
    /// From a request; absent: one attempt.
    pub(super) fn parse(
        strategy: Option<&RetryStrategy>,
        limits: &Limits,
    ) -> Result<Self, ApiError> {
        let Some(strategy) = strategy else {
            return Ok(Self { attempts_max: 1, rules: Vec::new(), backoff: None });
        };
        let attempts_max = strategy.attempts.ok_or_else(|| {
            ApiError::invalid("RetryAttempts must be provided with retry strategy")
                .hint("set retryStrategy.attempts; with the command line, `--attempts`")
        })?;
        if !(1..=limits.attempts).contains(&attempts_max) {
            return Err(ApiError::invalid(format!(
                "retryStrategy.attempts must be from 1 to {}, got {attempts_max}",
                limits.attempts
            )));
        }
        let entries = &strategy.evaluate_on_exit;
        if entries.len() > limits.evaluate_on_exit {
            return Err(ApiError::invalid(format!(
                "retryStrategy.evaluateOnExit has {} entries, at most {} are allowed",
                entries.len(),
                limits.evaluate_on_exit
            )));
        }
        let rules = entries.iter().map(parse_rule).collect::<Result<_, _>>()?;
        let backoff = strategy.backoff.as_ref().map(Backoff::parse).transpose()?;
        Ok(Self { attempts_max, rules, backoff })
    }

    /// As the API shows it; the action in lower case, as AWS does.
    pub fn to_api(&self) -> RetryStrategy {
        let entry = |rule: &Rule| EvaluateOnExit {
            on_exit_code: rule.exit_code.clone(),
            on_reason: rule.reason.clone(),
            on_status_reason: rule.status_reason.clone(),
            action: if rule.is_retry { "retry" } else { "exit" }.to_owned(),
        };
        RetryStrategy {
            attempts: Some(self.attempts_max),
            evaluate_on_exit: self.rules.iter().map(entry).collect(),
            backoff: self.backoff.map(Backoff::to_api),
        }
    }

    /// Whether an attempt that ended like this may be tried again, as far as the rules go.
    pub(super) fn allows(&self, exit_code: Option<i32>, reason: &str, status_reason: &str) -> bool {
        let exit_code = exit_code.map(|code| code.to_string());
        let matches = |rule: &&Rule| {
            let code = exit_code.as_deref();
            rule.exit_code.as_ref().is_none_or(|p| code.is_some_and(|code| is_match(p, code)))
                && rule.reason.as_ref().is_none_or(|p| is_match(p, reason))
                && rule.status_reason.as_ref().is_none_or(|p| is_match(p, status_reason))
        };
        self.rules.iter().find(matches).is_none_or(|rule| rule.is_retry)
    }
}

fn is_match(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => text.starts_with(start),
        None => text == pattern,
    }
}

fn parse_rule(entry: &EvaluateOnExit) -> Result<Rule, ApiError> {
    let is_retry = match entry.action.to_ascii_uppercase().as_str() {
        "RETRY" => true,
        "EXIT" => false,
        _ => {
            let shown: String = entry.action.chars().take(40).collect();
            return Err(ApiError::invalid(format!(
                "evaluateOnExit: action must be RETRY or EXIT, got `{shown}`"
            )));
        }
    };
    let digit = |c: char| c.is_ascii_digit();
    let text = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == ':' || c.is_whitespace();
    let rule = Rule {
        is_retry,
        exit_code: pattern("onExitCode", entry.on_exit_code.as_ref(), digit, "digits")?,
        reason: pattern("onReason", entry.on_reason.as_ref(), text, TEXT)?,
        status_reason: pattern("onStatusReason", entry.on_status_reason.as_ref(), text, TEXT)?,
    };
    if rule.exit_code.is_none() && rule.reason.is_none() && rule.status_reason.is_none() {
        return Err(ApiError::invalid(
            "evaluateOnExit: an entry needs onExitCode, onReason or onStatusReason",
        )
        .hint("to match everything use onReason \"*\""));
    }
    Ok(rule)
}

const TEXT: &str = "letters, digits, `.`, `:` and white space";

fn pattern(
    field: &str,
    pattern: Option<&String>,
    allowed: impl Fn(char) -> bool,
    what: &str,
) -> Result<Option<String>, ApiError> {
    let Some(pattern) = pattern.filter(|p| !p.is_empty()) else { return Ok(None) };
    let body = pattern.strip_suffix('*').unwrap_or(pattern);
    if pattern.chars().count() > PATTERN_LENGTH_MAX || !body.chars().all(allowed) {
        let shown: String = pattern.chars().take(80).collect();
        return Err(ApiError::invalid(format!(
            "evaluateOnExit: {field} must be at most {PATTERN_LENGTH_MAX} {what}, with `*` only at its end, got `{shown}`"
        )));
    }
    Ok(Some(pattern.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(code: &str, reason: &str, status: &str, action: &str) -> EvaluateOnExit {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        EvaluateOnExit {
            on_exit_code: some(code),
            on_reason: some(reason),
            on_status_reason: some(status),
            action: action.to_owned(),
        }
    }

    fn retry(entries: Vec<EvaluateOnExit>) -> Result<Retry, ApiError> {
        let strategy =
            RetryStrategy { attempts: Some(3), evaluate_on_exit: entries, ..Default::default() };
        Retry::parse(Some(&strategy), &Limits::default())
    }

    #[test]
    fn the_first_match_decides_and_none_means_retry() {
        let rules = retry(vec![
            entry("", "", "Host EC2*", "RETRY"),
            entry("13*", "", "", "exit"),
            entry("1", "Oops", "", "Exit"),
        ]);
        let rules = rules.unwrap();
        assert!(rules.allows(None, "", "Host EC2 (instance i-1) terminated."));
        assert!(!rules.allows(Some(137), "", "Essential container in task exited"));
        assert!(!rules.allows(Some(13), "", ""));
        assert!(rules.allows(Some(1), "other", ""), "all conditions must match");
        assert!(!rules.allows(Some(1), "Oops", ""));
        assert!(rules.allows(Some(2), "", ""));
        assert!(rules.allows(None, "Oops", ""), "no exit code matches no onExitCode");
    }

    #[test]
    fn a_catch_all_matches_an_empty_reason() {
        let rules = retry(vec![entry("7", "", "", "RETRY"), entry("", "*", "", "EXIT")]).unwrap();
        assert!(rules.allows(Some(7), "", ""));
        assert!(!rules.allows(Some(8), "", ""));
        assert!(!rules.allows(None, "", ""));
    }

    #[test]
    fn a_back_off_grows_up_to_its_maximum() {
        let strategy = |initial, multiplier, max| RetryBackoff {
            initial_seconds: Some(initial),
            multiplier,
            max_seconds: max,
        };
        let seconds = |backoff: &RetryBackoff| {
            let backoff = Backoff::parse(backoff).unwrap();
            [1, 2, 3, 4, 100].map(|charged| backoff.after(charged).as_secs())
        };
        assert_eq!(seconds(&strategy(10, Some(3), Some(100))), [10, 30, 90, 100, 100]);
        assert_eq!(seconds(&strategy(10, None, None)), [10, 20, 40, 80, 3600]);
        assert_eq!(seconds(&strategy(7, Some(1), None)), [7; 5]);
        for (bad, field) in [
            (strategy(0, None, None), "initialSeconds"),
            (strategy(10, Some(0), None), "multiplier"),
            (strategy(10, None, Some(9)), "maxSeconds must be from 10"),
            (strategy(700_000, None, None), "initialSeconds"),
            (RetryBackoff::default(), "needs initialSeconds"),
        ] {
            let error = Backoff::parse(&bad).unwrap_err().message;
            assert!(error.contains(field), "{error}");
        }
    }

    #[test]
    fn wrong_entries_are_refused() {
        for bad in [
            entry("", "", "", "RETRY"),
            entry("1", "", "", "MAYBE"),
            entry("x", "", "", "RETRY"),
            entry("1*2", "", "", "RETRY"),
            entry("", "a(b)", "", "RETRY"),
            entry("", &"x".repeat(513), "", "RETRY"),
        ] {
            assert!(retry(vec![bad.clone()]).is_err(), "{bad:?}");
        }
        let many = vec![entry("1", "", "", "RETRY"); 101];
        assert!(retry(many).unwrap_err().message.contains("at most 100"));
    }
}

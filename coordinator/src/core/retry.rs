//! `evaluateOnExit`: which failed attempts are tried again.
//!
//! Entries are looked at in their order and the first that matches decides. All conditions of an
//! entry must match; none given matches never, as such an entry is refused. No entry matching means
//! retry. Patterns match the whole text, or its beginning when they end in `*`; case counts. (AWS
//! shows these rules by examples; that the first match decides is the reading they allow.)

use serde::{Deserialize, Serialize};
use windrow_common::api::ApiError;
use windrow_common::api::definitions::{EvaluateOnExit, RetryStrategy};

use super::limits::Limits;

/// Longest pattern, in characters, as AWS has it.
const PATTERN_LENGTH_MAX: usize = 512;

/// When and how often attempts are retried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Attempts in all.
    pub attempts_max: u32,
    rules: Vec<Rule>,
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
            return Ok(Self { attempts_max: 1, rules: Vec::new() });
        };
        let attempts_max = strategy.attempts.ok_or_else(|| {
            ApiError::invalid("RetryAttempts must be provided with retry strategy")
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
        Ok(Self { attempts_max, rules })
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
        let strategy = RetryStrategy { attempts: Some(3), evaluate_on_exit: entries };
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

//! Filter patterns of plain terms. Pure.
//!
//! All plain terms must occur, any one of those with `?`, and none of those with `-`; letters' case counts.

use crate::error::AwsError;

/// CloudWatch's limit of a pattern's length.
const LENGTH_MAX: usize = 1024;

/// Which messages are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pattern {
    all: Vec<String>,
    any: Vec<String>,
    none: Vec<String>,
}

impl Pattern {
    /// Reads a pattern; an empty one wants everything.
    ///
    /// # Errors
    /// It is of another syntax: for JSON, for columns, or a regular expression.
    pub(super) fn parse(text: &str) -> Result<Self, AwsError> {
        if text.chars().count() > LENGTH_MAX {
            let message = format!("filterPattern holds at most {LENGTH_MAX} characters");
            return Err(super::invalid(message));
        }
        let mut pattern = Self::default();
        let mut rest = text.trim_start();
        if rest.starts_with(['{', '[', '%']) {
            return Err(super::invalid(
                "Invalid filter pattern: only terms are supported, such as `a \"b c\" -d` or `?a ?b`; patterns \
                 for JSON, for columns and regular expressions are not",
            ));
        }
        while let Some(first) = rest.chars().next() {
            let (terms, term) = match first {
                '?' => (&mut pattern.any, &rest[1..]),
                '-' => (&mut pattern.none, &rest[1..]),
                _ => (&mut pattern.all, rest),
            };
            let (term, behind) = match term.strip_prefix('"') {
                Some(quoted) => quoted_term(quoted)?,
                None => plain_term(term)?,
            };
            terms.push(term);
            rest = behind.trim_start();
            if rest.len() == behind.len() && !rest.is_empty() {
                return Err(super::invalid("Invalid filter pattern: put a space between terms"));
            }
        }
        Ok(pattern)
    }

    /// Whether a message is wanted.
    pub(super) fn matches(&self, message: &str) -> bool {
        let has = |term: &String| message.contains(term.as_str());
        self.all.iter().all(has)
            && (self.any.is_empty() || self.any.iter().any(has))
            && !self.none.iter().any(has)
    }
}

/// The term, whose opening quote is gone, and what is behind its closing one.
fn quoted_term(text: &str) -> Result<(String, &str), AwsError> {
    let mut term = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' if term.is_empty() => break,
            '"' => return Ok((term, &text[at + 1..])),
            '\\' => match characters.next() {
                Some((_, escaped @ ('"' | '\\'))) => term.push(escaped),
                Some((_, other)) => term.extend(['\\', other]),
                None => break,
            },
            other => term.push(other),
        }
    }
    Err(super::invalid("Invalid filter pattern: a quoted term is empty or has no end"))
}

fn plain_term(text: &str) -> Result<(String, &str), AwsError> {
    let (term, rest) = text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()));
    if term.is_empty() || !term.chars().all(|c| c.is_alphanumeric() || c == '_') {
        let message = format!("Invalid character(s) in term '{term}'");
        return Err(super::invalid(message).hint("put the term in double quotes"));
    }
    Ok((term.to_owned(), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, message: &str) -> bool {
        Pattern::parse(pattern).unwrap().matches(message)
    }

    #[test]
    fn terms_are_all_any_or_none() {
        assert!(matches("", "anything") && matches("  ", ""));
        assert!(matches("ERROR disk", "a disk ERROR") && !matches("ERROR disk", "ERROR"));
        assert!(!matches("error", "ERROR"));
        assert!(matches("?a ?b", "xb") && !matches("?a ?b", "xc"));
        assert!(matches("a -b", "a") && !matches("a -b", "a b"));
        assert!(matches("-b", "a") && !matches("-\"b c\"", "a b c"));
        assert!(matches("?a ?b c", "b c") && !matches("?a ?b c", "c"));
        assert!(matches(r#""exit code: 1" x"#, "x: exit code: 1"));
        assert!(!matches(r#""exit code""#, "exit  code"));
        assert!(matches(r#""say \"hi\" \\""#, r#"they say "hi" \ "#));
        assert!(matches("größe_1", "die größe_1"));
    }

    #[test]
    fn other_syntax_is_refused() {
        let long = "a".repeat(1025);
        for pattern in [
            "{ $.level = \"ERROR\" }",
            "[ip, user]",
            "%a+%",
            "a=b",
            "\"open",
            "\"\"",
            "-",
            "?",
            "a \"b\"c",
            "\"a\"b",
            "x-y",
            "--a",
            &long,
        ] {
            let error = Pattern::parse(pattern).expect_err(pattern);
            assert_eq!(error.code, "InvalidParameterException", "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn no_pattern_breaks_it_and_a_quoted_message_finds_itself(text in "\\PC{0,40}") {
            let _ = Pattern::parse(&text);
            if !text.is_empty() {
                let quoted = format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
                prop_assert!(matches(&quoted, &text));
            }
        }
    }
}

//! Only ids or names, one a line, for `$(...)` and pipes.

/// One line each; nothing for nothing.
pub(super) fn names(names: &[String]) -> String {
    names.iter().map(|name| format!("{name}\n")).collect()
}

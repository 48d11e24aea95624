//! What commands answer, and its printing: data on standard output, talk on standard error.

mod json;
mod quiet;
mod table;

pub(crate) use table::{Grid, age, list_or_dash, or_dash, short, time_or_dash};

use std::io::{self, IsTerminal, Write};

use serde::Serialize;
use serde_json::Value;

use crate::args::{ColorChoice, Global, OutputFormat};
use crate::failure::{Attempt, Exit, Failure, Result};

/// What a command found out.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The API's response or one of its shape; always an object.
    pub(crate) json: Value,
    /// Key in `json` of the list of things, when the answer is one.
    pub(crate) list: Option<&'static str>,
    /// Ids or names of the things.
    pub(crate) names: Vec<String>,
    /// For people.
    pub(crate) view: View,
}

/// The form for people.
#[derive(Debug)]
pub(crate) enum View {
    /// A table; the text is said when it has no rows.
    Grid(Grid, &'static str),
    /// Finished text.
    Text(String),
}

/// How a command ended when it did not fail.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) answer: Option<Answer>,
    pub(crate) exit: Exit,
}

impl Outcome {
    pub(crate) fn exit(exit: Exit) -> Self {
        Self { answer: None, exit }
    }
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Self {
        Self { answer: Some(answer), exit: Exit::Done }
    }
}

impl Answer {
    /// An answer about a list of things under `key` of the response.
    pub(crate) fn list(
        response: &impl Serialize,
        key: &'static str,
        names: Vec<String>,
        view: View,
    ) -> Self {
        Self { json: json::value(response), list: Some(key), names, view }
    }

    /// An answer about one thing, or about what was done to it.
    pub(crate) fn one(response: &impl Serialize, names: Vec<String>, text: String) -> Self {
        Self { json: json::value(response), list: None, names, view: View::Text(text) }
    }
}

/// How to print, from flags and environment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printer {
    format: OutputFormat,
    quiet: bool,
    colour: bool,
    /// Columns of the terminal on standard output; none when it is not one.
    width: Option<u16>,
}

impl Printer {
    pub(crate) fn new(global: &Global) -> Self {
        let format = if global.quiet { OutputFormat::Name } else { global.output };
        let set = |key: &str| std::env::var(key).ok().filter(|value| !value.is_empty());
        let colour = wants_colour(global.color, io::stderr().is_terminal(), set);
        let size = terminal_size::terminal_size_of(io::stdout());
        let width = size.map(|(width, _)| width.0).filter(|_| io::stdout().is_terminal());
        Self { format, quiet: global.quiet, colour, width }
    }

    /// Whether a long list may be printed in parts.
    pub(crate) fn streams(&self) -> bool {
        self.format != OutputFormat::Json
    }

    /// Prints a part of a list; a table has its headers above the first one only.
    pub(crate) fn print_part(&self, part: &Answer, is_first: bool) -> Result<()> {
        let text = self.render(part);
        let skipped = match self.format {
            OutputFormat::Table if !is_first => text.find('\n').map_or(0, |end| end + 1),
            OutputFormat::Table | OutputFormat::Json | OutputFormat::Jsonl | OutputFormat::Name => {
                0
            }
        };
        write_out(&text.as_bytes()[skipped..])
    }

    /// The form asked for.
    pub(crate) fn format(&self) -> OutputFormat {
        self.format
    }

    /// Prints an answer. A reader that has gone away is no error.
    pub(crate) fn print(&self, answer: &Answer) -> Result<()> {
        write_out(self.render(answer).as_bytes())
    }

    fn render(&self, answer: &Answer) -> String {
        match self.format {
            OutputFormat::Json => json::document(&answer.json),
            OutputFormat::Jsonl => json::lines(&answer.json, answer.list),
            OutputFormat::Name => quiet::names(&answer.names),
            OutputFormat::Table => match &answer.view {
                View::Text(text) => text.clone(),
                View::Grid(grid, none) if grid.is_empty() => {
                    self.say(none);
                    String::new()
                }
                View::Grid(grid, _) => grid.render(self.width),
            },
        }
    }

    /// Says something to the person on standard error, unless asked to be quiet.
    pub(crate) fn say(&self, text: &str) {
        if !self.quiet {
            // Talk that nobody can read is not worth failing for.
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    /// Prints why the command failed.
    pub(crate) fn fail(&self, failure: &Failure) {
        let text = match self.format {
            OutputFormat::Json | OutputFormat::Jsonl => failure.to_json() + "\n",
            OutputFormat::Table | OutputFormat::Name => failure.to_text(self.colour),
        };
        let _ = io::stderr().write_all(text.as_bytes());
    }
}

/// Writes data to standard output. A closed pipe ends the program: nobody reads on.
pub(crate) fn write_out(data: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(data).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        written => written.attempt(|| "write to standard output".to_owned()),
    }
}

/// Source of the order: the flag, `NO_COLOR`, `CLICOLOR_FORCE`, `TERM=dumb`, then the terminal.
fn wants_colour(
    choice: ColorChoice,
    terminal: bool,
    variable: impl Fn(&str) -> Option<String>,
) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto if variable("NO_COLOR").is_some() => false,
        ColorChoice::Auto if variable("CLICOLOR_FORCE").is_some_and(|v| v != "0") => true,
        ColorChoice::Auto => terminal && variable("TERM").as_deref() != Some("dumb"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_follows_the_conventions() {
        let with = |set: &'static [(&str, &str)]| {
            move |key: &str| set.iter().find(|(k, _)| *k == key).map(|(_, v)| (*v).to_owned())
        };
        let auto = ColorChoice::Auto;
        assert!(wants_colour(auto, true, with(&[])));
        assert!(!wants_colour(auto, false, with(&[])));
        assert!(!wants_colour(auto, true, with(&[("TERM", "dumb")])));
        assert!(!wants_colour(auto, true, with(&[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")])));
        assert!(wants_colour(auto, false, with(&[("CLICOLOR_FORCE", "1")])));
        assert!(!wants_colour(auto, false, with(&[("CLICOLOR_FORCE", "0")])));
        assert!(wants_colour(ColorChoice::Always, false, with(&[("NO_COLOR", "1")])));
        assert!(!wants_colour(ColorChoice::Never, true, with(&[("CLICOLOR_FORCE", "1")])));
    }
}

//! Reads the sources: rules that the compiler does not know.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::{Path, PathBuf};

use windrow_tests::program::root;

/// No file grows past this; a longer one has two subjects.
const LINES_MAX: usize = 700;
/// Folders and files that decide: no I/O, no clock, no randomness.
const PURE: [&str; 5] = [
    "coordinator/src/actor",
    "coordinator/src/core",
    "coordinator/src/scheduler",
    "coordinator/src/view",
    "agent/src/core",
];
const IMPURE: [&str; 10] = [
    "tokio::",
    "async_nats::",
    "bollard::",
    "std::fs",
    "std::net",
    "std::env",
    "Instant::now",
    "wall_clock",
    "JobId::generate",
    "HashMap",
];

fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let is_ours = !name.starts_with('.') && name != "target" && name != "node_modules";
        if path.is_dir() && is_ours {
            files(&path, ending, found);
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
}

fn sources(ending: &str) -> Vec<(String, String)> {
    let root = root();
    let mut found = Vec::new();
    files(root, ending, &mut found);
    assert!(!found.is_empty());
    found.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        (path.strip_prefix(root).unwrap().to_string_lossy().into_owned(), text)
    };
    found.into_iter().map(read).collect()
}

/// The code of a file without comments and without its tests.
fn code(text: &str) -> String {
    let product = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = product.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn deciding_code_does_no_io() {
    let is_pure = |path: &str| PURE.iter().any(|pure| path.starts_with(pure));
    let mut seen = 0;
    // These drive the core in its tests; reading a golden file is their job.
    let tests = ["golden.rs", "world.rs", "chaos.rs", "stories.rs", "actor/tests.rs"];
    for (path, text) in sources(".rs").into_iter().filter(|(path, _)| is_pure(path)) {
        if tests.iter().any(|test| path.ends_with(test)) {
            continue;
        }
        seen += 1;
        for word in IMPURE {
            assert!(!code(&text).contains(word), "{path} uses {word}");
        }
    }
    assert!(seen > 20, "only {seen} files looked at");
}

#[test]
fn subjects_are_spelled_in_one_place() {
    let tokens = [".api.", ".submit.", ".lease.", ".report.", ".journal", ".beat", ".register\""];
    for (path, text) in sources(".rs") {
        let product = ["coordinator/src", "agent/src", "cli/src"];
        if !product.iter().any(|folder| path.starts_with(folder)) {
            continue;
        }
        for line in code(&text).lines().filter(|line| line.contains('"')) {
            let spelled = tokens.iter().find(|token| {
                line.contains(&format!("{{}}{token}"))
                    || line.contains(&format!("\"windrow{token}"))
            });
            assert!(spelled.is_none(), "{path} spells a subject: {line}");
        }
    }
}

#[test]
fn cited_invariants_are_defined() {
    let architecture = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for (path, text) in sources(".rs") {
        for (at, _) in text.match_indices("INV-") {
            let digits: String = text[at + 4..].chars().take_while(char::is_ascii_digit).collect();
            let defined = digits.is_empty() || architecture.contains(&format!("| INV-{digits} |"));
            assert!(defined, "{path} cites INV-{digits}, which ARCHITECTURE.md does not define");
        }
    }
}

#[test]
fn links_in_documents_lead_somewhere() {
    for (path, text) in sources(".md") {
        let folder = root().join(&path).parent().unwrap().to_owned();
        for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            let file = link.split('#').next().unwrap();
            if !file.is_empty() && !file.contains("://") {
                assert!(folder.join(file).exists(), "{path} links to {link}");
            }
        }
    }
}

#[test]
fn files_stay_short() {
    for (path, text) in sources(".rs") {
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{path} has {lines} lines, at most {LINES_MAX} are allowed");
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    for (path, text) in sources(".rs") {
        assert!(text.starts_with("//!"), "{path} does not open with `//!`");
    }
}

/// The table of faults in ARCHITECTURE.md names tests that there are: `file::test` is a function of a
/// file of that name, or of one in a folder of that name.
#[test]
fn the_tests_of_the_fault_table_exist() {
    let architecture = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let (_, table) = architecture.split_once("\n## Faults\n").expect("the table");
    let (table, _) = table.split_once("\n## ").expect("what follows it");
    let sources = sources(".rs");
    let mut seen = 0;
    for cell in table.lines().filter_map(|line| line.split(" | ").nth(3)) {
        for named in cell.split('`').filter(|word| word.contains("::")) {
            let (file, test) = named.split_once("::").expect("it was looked for");
            let (name, folder) = (format!("/{file}.rs"), format!("/{file}/"));
            let is_there = sources.iter().any(|(path, text)| {
                let is_file = path.ends_with(&name) || path.contains(&folder);
                is_file && text.contains(&format!("fn {test}("))
            });
            assert!(is_there, "ARCHITECTURE.md names `{named}`, which is not there");
            seen += 1;
        }
    }
    assert!(seen >= 40, "only {seen} tests named");
}

//! The house rules as tests: direction between crates, sizes, docs, names that must not appear, licences.
//!
//! Invariant: looks only at files that git tracks.

mod direction;
mod licences;

use std::{path::PathBuf, process::Command};

/// Longest source file, lines.
const FILE_LINES_MAX: usize = 400;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace").to_owned()
}

/// Tracked files and their text; binary files are left out.
fn tracked() -> Vec<(String, String)> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output().expect("git runs");
    assert!(listed.status.success(), "the rules are checked in a git checkout");
    let names = String::from_utf8(listed.stdout).expect("file names are UTF-8");
    let texts = names.split_terminator('\0').filter_map(|name| {
        let text = std::fs::read_to_string(root().join(name)).ok()?;
        Some((name.to_owned(), text))
    });
    texts.collect()
}

fn sources() -> impl Iterator<Item = (String, String)> {
    tracked().into_iter().filter(|(name, _)| has_extension(name, "rs"))
}

fn has_extension(name: &str, extension: &str) -> bool {
    std::path::Path::new(name).extension().is_some_and(|found| found == extension)
}

fn none(offenders: &[String], rule: &str) {
    assert!(offenders.is_empty(), "{rule}:\n{}", offenders.join("\n"));
}

#[test]
fn files_are_short() {
    let long = |(name, text): (String, String)| {
        let lines = text.lines().count();
        (lines > FILE_LINES_MAX).then(|| format!("{name}: {lines} lines"))
    };
    let offenders: Vec<String> = sources().filter_map(long).collect();
    none(&offenders, "a file has at most 400 lines; find the second idea in it");
}

#[test]
fn every_file_says_what_it_is() {
    let silent = |(name, text): (String, String)| (!text.starts_with("//! ")).then_some(name);
    let offenders: Vec<String> = sources().filter_map(silent).collect();
    none(&offenders, "a file opens with what it is");
}

#[test]
fn nothing_is_left_undone() {
    let words = ["todo!(", "unimplemented!(", "#[ignore", "FIXME", "XXX:", "TODO"];
    let mut offenders = Vec::new();
    for (name, text) in sources().filter(|(name, _)| name != "tests/all/tidy.rs") {
        for (number, line) in (1..).zip(text.lines()) {
            if words.iter().any(|word| line.contains(word)) {
                offenders.push(format!("{name}:{number}: {}", line.trim()));
            }
        }
    }
    none(&offenders, "unfinished work is not committed");
}

#[test]
fn no_machine_is_named() {
    // Spelled so that this file names none of them.
    let domains = [
        ("crates", "io"),
        ("pythonhosted", "org"),
        ("pypi", "org"),
        ("npmjs", "org"),
        ("maven", "org"),
        ("golang", "org"),
        ("debian", "org"),
    ];
    let hosts = domains.map(|(name, top)| format!("{name}.{top}"));
    let paths = ["work", "farm", "root", "home"].map(|folder| format!("/{folder}/"));
    let mut offenders = Vec::new();
    for (name, text) in tracked() {
        if has_extension(&name, "lock") {
            continue;
        }
        for (number, line) in (1..).zip(text.lines()) {
            let host = line.contains("://") && hosts.iter().any(|host| line.contains(host.as_str()));
            if host || paths.iter().any(|path| line.contains(path.as_str())) {
                offenders.push(format!("{name}:{number}: {}", line.trim()));
            }
        }
    }
    none(&offenders, "no path of a machine, no registry's host");
}

#[test]
fn tests_wait_for_positions_not_for_time() {
    let sleeps = |(name, text): (String, String)| {
        let is_test = name.starts_with("tests/all") || name.contains("/tests");
        (is_test && name != "tests/all/tidy.rs" && text.contains("sleep(")).then_some(name)
    };
    let offenders: Vec<String> = sources().filter_map(sleeps).collect();
    none(&offenders, "a test does not sleep");
}

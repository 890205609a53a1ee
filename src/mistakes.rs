//! What a person typed who meant something else, and what to type instead.
//!
//! Not here: what clap finds by itself, such as a letter too many. Invariant: a tip is only given where it is right.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Commands of other tools, and what they are called here.
const OTHER_WORDS: &[(&str, &str)] = &[
    ("set", "put"),
    ("write", "put"),
    ("insert", "put"),
    ("read", "get"),
    ("cat", "get"),
    ("delete", "del"),
    ("rm", "del"),
    ("remove", "del"),
    ("unset", "del"),
    ("expire", "ttl"),
    ("ls", "scan"),
    ("list", "scan"),
    ("keys", "scan"),
    ("query", "scan"),
    ("range", "scan"),
    ("dump", "export"),
    ("backup", "export"),
    ("restore", "import"),
    ("load", "import"),
    ("bulk", "batch"),
    ("outcome", "mutation"),
    ("mutations", "mutation"),
    ("status", "doctor"),
    ("health", "doctor"),
    ("check", "doctor"),
    ("diagnose", "doctor"),
    ("dlq", "deadletters list"),
    ("dead-letters", "deadletters list"),
    ("dead-letter", "deadletters list"),
    ("deadletter", "deadletters list"),
];
/// What somebody types who wants a server.
const SERVE: &[&str] = &["serve", "server", "start", "run", "up"];
/// Options that stand behind a command.
const BEHIND: &[&str] = &[
    "--server",
    "--tenant",
    "--json",
    "--token-file",
    "--retry-for",
    "--ops",
    "--prefix",
    "--wait",
    "--consistency",
];

/// What to type instead, where that is certain.
pub(crate) fn instead(error: &clap::Error, typed: &[String]) -> Option<String> {
    let of = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    match error.kind() {
        ErrorKind::InvalidSubcommand => command(of(ContextKind::InvalidSubcommand)?, typed),
        ErrorKind::UnknownArgument => behind(of(ContextKind::InvalidArg)?, typed),
        _ => None,
    }
}

fn command(word: &str, typed: &[String]) -> Option<String> {
    if SERVE.contains(&word) {
        return Some(
            "to serve everything in one process, type `millpond` alone; roles are api, writer and sweeper"
                .to_owned(),
        );
    }
    let (_, ours) = OTHER_WORDS.iter().find(|(theirs, _)| *theirs == word)?;
    // Only the word itself is exchanged, where it is the first.
    let rest = match typed {
        [first, rest @ ..] if first == word => shown(rest),
        _ => " …".to_owned(),
    };
    Some(format!("did you mean `millpond {ours}{rest}`?"))
}

fn behind(argument: &str, typed: &[String]) -> Option<String> {
    let name = argument.split('=').next().unwrap_or_default();
    let first = typed.first().is_some_and(|first| first.starts_with(name));
    (first && BEHIND.contains(&name))
        .then(|| format!("{name} stands behind the command: `millpond get KEY {name} …`"))
}

/// As one would type it again; what would need quotes is left out.
fn shown(words: &[String]) -> String {
    let plain = |word: &&String| word.chars().all(|c| c.is_alphanumeric() || "-_./:=@,+".contains(c));
    if words.len() > 6 || !words.iter().all(|word| plain(&word)) {
        return " …".to_owned();
    }
    words.iter().fold(String::new(), |shown, word| shown + " " + word)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    fn tip(typed: &[&str]) -> Option<String> {
        let words: Vec<String> = typed.iter().map(ToString::to_string).collect();
        let error =
            Cli::command().try_get_matches_from(std::iter::once("millpond").chain(typed.iter().copied()));
        instead(&error.unwrap_err(), &words)
    }

    #[test]
    fn words_of_other_tools_are_understood() {
        assert_eq!(tip(&["set", "a", "b"]).as_deref(), Some("did you mean `millpond put a b`?"));
        assert_eq!(tip(&["set", "a", "b c"]).as_deref(), Some("did you mean `millpond put …`?"));
        assert_eq!(tip(&["ls"]).as_deref(), Some("did you mean `millpond scan`?"));
        assert!(tip(&["serve"]).unwrap().contains("type `millpond` alone"));
        assert_eq!(tip(&["frobnicate"]), None);
    }

    #[test]
    fn an_option_before_the_command_is_sent_behind_it() {
        let expected = "--server stands behind the command: `millpond get KEY --server …`";
        assert_eq!(tip(&["--server", "http://h:1", "get", "a"]).as_deref(), Some(expected));
        assert_eq!(tip(&["--server=http://h:1"]).as_deref(), Some(expected));
        assert_eq!(tip(&["get", "a", "--nope"]), None);
    }

    #[test]
    fn every_word_stands_for_a_command_that_is_there() {
        let cli = Cli::command();
        let is = |name: &str| cli.get_subcommands().any(|command| command.get_name() == name);
        for (theirs, ours) in OTHER_WORDS {
            assert!(is(ours.split(' ').next().unwrap()) && !is(theirs), "{theirs}");
        }
        assert!(SERVE.iter().all(|word| !is(word)));
    }
}

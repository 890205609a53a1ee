//! Standard output and error: results, errors, notes; colours and escapes.
//!
//! Invariant: nothing here panics on a closed stream, and no control byte of a value reaches a terminal.

use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, IsTerminal, Write},
};

use clap::builder::styling::{AnsiColor, Style};

/// Writes a result's line.
pub(crate) fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Writes a result's line in JSON.
pub(crate) fn json(value: &serde_json::Value) -> io::Result<()> {
    line(&value.to_string())
}

/// Writes a value: as it is, or escaped where a terminal would obey it.
pub(crate) fn value(bytes: &[u8], raw: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if raw || !out.is_terminal() {
        out.write_all(bytes)?;
    } else {
        let text = escape(bytes);
        out.write_all(text.as_bytes())?;
        if !text.ends_with('\n') {
            out.write_all(b"\n")?;
        }
    }
    out.flush()
}

/// Tells an error. Where standard error is closed there is nobody to tell.
pub(crate) fn error(text: &str) {
    tell(AnsiColor::Red, "error", text);
}

/// Tells something worth knowing.
pub(crate) fn note(text: &str) {
    tell(AnsiColor::Cyan, "note", text);
}

/// Tells something worth worrying about.
pub(crate) fn warning(text: &str) {
    tell(AnsiColor::Yellow, "warning", text);
}

fn tell(color: AnsiColor, word: &str, text: &str) {
    let style = if colored() { Style::new().bold().fg_color(Some(color.into())) } else { Style::new() };
    // A server may have said some of it.
    let text = escape(text.as_bytes());
    let _ = writeln!(io::stderr(), "{style}{word}{style:#}: {text}");
}

/// Whether standard error takes colours.
pub(crate) fn colored() -> bool {
    takes_colors(io::stderr().is_terminal(), |name| std::env::var(name).unwrap_or_default())
}

/// Whether standard output takes colours.
pub(crate) fn stdout_colored() -> bool {
    takes_colors(io::stdout().is_terminal(), |name| std::env::var(name).unwrap_or_default())
}

/// Whether a stream takes colours: a terminal unless `NO_COLOR` or `CLICOLOR=0` says otherwise; anything else only
/// with `CLICOLOR_FORCE`. What clap does, too.
fn takes_colors(terminal: bool, variable: impl Fn(&str) -> String) -> bool {
    let set = |name| !matches!(variable(name).as_str(), "" | "0");
    if !variable("NO_COLOR").is_empty() {
        return false;
    }
    set("CLICOLOR_FORCE") || (terminal && variable("CLICOLOR") != "0")
}

/// Whether a person reads standard output.
pub(crate) fn to_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Columns of the terminal behind standard output.
pub(crate) fn width() -> usize {
    terminal_size::terminal_size_of(io::stdout()).map_or(80, |(width, _)| width.0.into())
}

/// Text of one line, from which the bytes can be told again: also line ends, tabs and backslashes are spelled out.
pub(crate) fn escape_line(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for c in escape(&doubled(bytes)).chars() {
        match c {
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            c => text.push(c),
        }
    }
    text
}

fn doubled(bytes: &[u8]) -> Cow<'_, [u8]> {
    if !bytes.contains(&b'\\') {
        return Cow::Borrowed(bytes);
    }
    let mut twice = Vec::with_capacity(bytes.len() + 1);
    for byte in bytes {
        twice.extend(std::iter::repeat_n(*byte, if *byte == b'\\' { 2 } else { 1 }));
    }
    Cow::Owned(twice)
}

/// The beginning of a text in so many columns, and a sign that there is more.
pub(crate) fn shorten(text: &str, columns: usize) -> Cow<'_, str> {
    let last = columns.saturating_sub(1);
    match text.char_indices().nth(last) {
        Some((end, _)) if text.chars().nth(columns).is_some() => {
            Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default()))
        }
        _ => Cow::Borrowed(text),
    }
}

/// Text with every byte spelled out that could move a terminal's cursor or change its state.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' | '\t' => text.push(c),
                c if c.is_control() || is_format(c) => text.extend(c.escape_unicode()),
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// Characters that reorder what is shown.
fn is_format(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_go_to_terminals_that_want_them() {
        let takes = |terminal, set: &[(&str, &str)]| {
            let of =
                |name: &str| set.iter().find(|(n, _)| *n == name).map_or("", |(_, value)| *value).to_owned();
            takes_colors(terminal, of)
        };
        assert!(takes(true, &[]) && takes(true, &[("CLICOLOR", "1")]) && !takes(false, &[]));
        assert!(!takes(true, &[("NO_COLOR", "1")]) && !takes(true, &[("CLICOLOR", "0")]));
        assert!(takes(false, &[("CLICOLOR_FORCE", "1")]) && !takes(false, &[("CLICOLOR_FORCE", "0")]));
        assert!(!takes(true, &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")]));
    }

    #[test]
    fn a_line_stays_one_and_tells_its_bytes() {
        assert_eq!(escape_line(b"a\nb\tc\\n\x1b[0m\xff"), "a\\nb\\tc\\\\n\\u{1b}[0m\\xff");
        assert_ne!(escape_line(b"\\xff"), escape_line(b"\xff"));
    }

    #[test]
    fn a_text_is_shortened_to_its_columns() {
        assert_eq!(shorten("héllo", 5), "héllo");
        assert_eq!(shorten("héllos", 5), "héll…");
        assert_eq!(shorten("", 0), "");
        assert_eq!(shorten("ab", 0), "…");
    }

    #[test]
    fn what_a_terminal_would_obey_is_spelled_out() {
        assert_eq!(escape(b"plain\ttext\n"), "plain\ttext\n");
        assert_eq!(escape("é→".as_bytes()), "é→");
        assert_eq!(escape(b"\x1b[2J\r\x07\0"), "\\u{1b}[2J\\u{d}\\u{7}\\u{0}");
        assert_eq!(escape("\u{9b}31m\u{202e}".as_bytes()), "\\u{9b}31m\\u{202e}");
        assert_eq!(escape(b"a\xffb\xc3"), "a\\xffb\\xc3");
    }
}

//! Standard output and error: results, errors, notes; colours and escapes.
//!
//! Invariant: nothing here panics on a closed stream, and no control byte of a value reaches a terminal.

use std::{
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

/// Whether standard error takes colours: a terminal, and nobody set `NO_COLOR`.
pub(crate) fn colored() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
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
    fn what_a_terminal_would_obey_is_spelled_out() {
        assert_eq!(escape(b"plain\ttext\n"), "plain\ttext\n");
        assert_eq!(escape("é→".as_bytes()), "é→");
        assert_eq!(escape(b"\x1b[2J\r\x07\0"), "\\u{1b}[2J\\u{d}\\u{7}\\u{0}");
        assert_eq!(escape("\u{9b}31m\u{202e}".as_bytes()), "\\u{9b}31m\\u{202e}");
        assert_eq!(escape(b"a\xffb\xc3"), "a\\xffb\\xc3");
    }
}

//! Values as they are written: durations, sizes, addresses; read from a file's types or from plain text.
//!
//! Invariant: [`Setting::show`] is TOML, and reads back as the same value.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

/// What a value is where it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawKind {
    /// A flag's or variable's text, which can spell any type.
    Plain,
    /// A TOML string.
    Text,
    /// A TOML integer.
    Integer,
    /// A TOML boolean.
    Bool,
    /// A TOML array of strings, joined by commas.
    List,
    /// Anything else.
    Other,
}

/// A value before its type is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// Where it comes from.
    pub kind: RawKind,
    /// As it was written, without quotes.
    pub text: String,
}

impl Raw {
    /// A flag's or variable's text.
    pub fn plain(text: impl Into<String>) -> Self {
        Self { kind: RawKind::Plain, text: text.into() }
    }

    fn is(&self, kinds: &[RawKind]) -> bool {
        self.kind == RawKind::Plain || kinds.contains(&self.kind)
    }
}

/// A type that a setting can have.
pub trait Setting: Sized {
    /// Reads it.
    ///
    /// # Errors
    /// What it should have been, as the end of "… is not ".
    fn read(raw: &Raw) -> Result<Self, String>;

    /// As TOML.
    fn show(&self) -> String;
}

/// A number of bytes: an integer, or with `KiB`, `MiB` or `GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

const SIZE_UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl ByteSize {
    /// Reads `4096`, `64KiB`, `64 MiB`.
    pub fn parse(text: &str) -> Option<Self> {
        let found = SIZE_UNITS.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, *bytes)));
        let (number, unit) = found.unwrap_or((text, 1));
        number.trim_end().parse::<u64>().ok()?.checked_mul(unit).map(Self)
    }

    /// For what counts in memory.
    pub fn to_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = SIZE_UNITS.iter().find(|(_, bytes)| self.0 >= *bytes && self.0.is_multiple_of(*bytes));
        match fits {
            Some((unit, bytes)) if *bytes > 1 => write!(f, "{}{unit}", self.0 / bytes),
            _ => write!(f, "{}", self.0),
        }
    }
}

impl Setting for ByteSize {
    fn read(raw: &Raw) -> Result<Self, String> {
        let size = raw.is(&[RawKind::Integer, RawKind::Text]).then(|| Self::parse(&raw.text)).flatten();
        size.ok_or_else(|| "a size such as 4096 or \"64MiB\"".to_owned())
    }

    fn show(&self) -> String {
        quote(&self.to_string())
    }
}

const TIME_UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads `90` (seconds), `90s`, `15m`, `1500ms`, `7d`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = if unit.is_empty() { "s" } else { unit };
    let (_, ms) = TIME_UNITS.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*ms).map(Duration::from_millis)
}

/// Spells a duration in the largest unit that fits.
pub fn show_duration(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let fits = TIME_UNITS.iter().rev().find(|(_, unit)| ms >= *unit && ms.is_multiple_of(*unit));
    fits.map_or_else(|| "0s".to_owned(), |(name, unit)| format!("{}{name}", ms / unit))
}

impl Setting for Duration {
    fn read(raw: &Raw) -> Result<Self, String> {
        let time = raw.is(&[RawKind::Integer, RawKind::Text]).then(|| parse_duration(&raw.text)).flatten();
        time.ok_or_else(|| "a duration such as \"1500ms\", \"5s\" or \"15m\"".to_owned())
    }

    fn show(&self) -> String {
        quote(&show_duration(*self))
    }
}

/// How long writes wait that need not: `off`, or a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultWait(pub Option<Duration>);

const OFF: &str = "off";

impl Setting for DefaultWait {
    fn read(raw: &Raw) -> Result<Self, String> {
        if raw.is(&[RawKind::Text]) && raw.text == OFF {
            return Ok(Self(None));
        }
        let wait = Duration::read(raw).ok().filter(|wait| !wait.is_zero());
        wait.map(|wait| Self(Some(wait))).ok_or_else(|| "\"off\" or a duration such as \"5s\"".to_owned())
    }

    fn show(&self) -> String {
        self.0.map_or_else(|| quote(OFF), |wait| wait.show())
    }
}

/// A value, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrOff<T>(pub Option<T>);

impl<T: Setting> Setting for OrOff<T> {
    fn read(raw: &Raw) -> Result<Self, String> {
        if raw.is(&[RawKind::Text]) && raw.text == OFF {
            return Ok(Self(None));
        }
        T::read(raw).map(|value| Self(Some(value))).map_err(|wanted| format!("\"{OFF}\" or {wanted}"))
    }

    fn show(&self) -> String {
        self.0.as_ref().map_or_else(|| quote(OFF), Setting::show)
    }
}

macro_rules! counts {
    ($($type:ty),+) => {$(
        impl Setting for $type {
            fn read(raw: &Raw) -> Result<Self, String> {
                let number = raw.is(&[RawKind::Integer]).then(|| raw.text.parse().ok()).flatten();
                number.ok_or_else(|| format!("a whole number up to {}", Self::MAX))
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )+};
}
counts!(u32, u16);

impl Setting for bool {
    fn read(raw: &Raw) -> Result<Self, String> {
        let bool = raw.is(&[RawKind::Bool]).then(|| raw.text.parse().ok()).flatten();
        bool.ok_or_else(|| "true or false".to_owned())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for SocketAddr {
    fn read(raw: &Raw) -> Result<Self, String> {
        let address = raw.is(&[RawKind::Text]).then(|| raw.text.parse().ok()).flatten();
        address.ok_or_else(|| "an address such as \"127.0.0.1:7420\"".to_owned())
    }

    fn show(&self) -> String {
        quote(&self.to_string())
    }
}

impl Setting for String {
    fn read(raw: &Raw) -> Result<Self, String> {
        if raw.is(&[RawKind::Text]) { Ok(raw.text.clone()) } else { Err("text".to_owned()) }
    }

    fn show(&self) -> String {
        quote(self)
    }
}

impl Setting for Vec<String> {
    fn read(raw: &Raw) -> Result<Self, String> {
        if !raw.is(&[RawKind::List]) {
            return Err("a list such as [\"one\", \"two\"]".to_owned());
        }
        let items = raw.text.split(',').map(str::trim).filter(|item| !item.is_empty());
        Ok(items.map(str::to_owned).collect())
    }

    fn show(&self) -> String {
        let items: Vec<String> = self.iter().map(|item| quote(item)).collect();
        format!("[{}]", items.join(", "))
    }
}

impl Setting for PathBuf {
    fn read(raw: &Raw) -> Result<Self, String> {
        let path = raw.is(&[RawKind::Text]) && !raw.text.is_empty();
        if path { Ok(raw.text.clone().into()) } else { Err("a path".to_owned()) }
    }

    fn show(&self) -> String {
        quote(&self.to_string_lossy())
    }
}

/// A TOML string.
pub(crate) fn quote(text: &str) -> String {
    toml::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_spelled_in_their_largest_unit() {
        for (text, ms, shown) in [
            ("90", 90_000, "90s"),
            ("1500ms", 1_500, "1500ms"),
            ("15m", 900_000, "15m"),
            ("3600s", 3_600_000, "1h"),
            ("7d", 604_800_000, "7d"),
            ("0", 0, "0s"),
        ] {
            let duration = parse_duration(text).unwrap();
            assert_eq!((duration, show_duration(duration).as_str()), (Duration::from_millis(ms), shown));
        }
        for bad in ["", "s", "-1s", "1.5s", "5 fortnights", "99999999999999999999s", "1000000000000000000d"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_are_integers_or_have_binary_units() {
        for (text, bytes, shown) in
            [("4096", 4096, "4KiB"), ("64 MiB", 64 << 20, "64MiB"), ("1000B", 1000, "1000"), ("0", 0, "0")]
        {
            let size = ByteSize::parse(text).unwrap();
            assert_eq!((size.0, size.to_string().as_str()), (bytes, shown));
        }
        for bad in ["", "MiB", "1MB", "-1", "1.5GiB", "99999999999GiB"] {
            assert_eq!(ByteSize::parse(bad), None, "{bad}");
        }
    }
}

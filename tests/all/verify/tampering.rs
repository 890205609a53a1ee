//! One change by hand for every table and kind of column, in the SQL of both engines.
//!
//! Not here: running them. Invariant: each case changes one thing, and names the difference that must be told.

use anyhow::{Context, Result, bail, ensure};

use super::Told;

/// One change, and what must be told of it.
pub(super) struct Case {
    pub(super) table: &'static str,
    /// What is done to one row of the table.
    pub(super) change: Change,
    /// A column that must be named, or how the thing must be said to differ.
    pub(super) told: &'static str,
}

pub(super) enum Change {
    /// `UPDATE … SET` this.
    Set(&'static str),
    /// One bit of the first byte of a column becomes another.
    FlipFirst(&'static str),
    /// As above, of the last byte.
    FlipLast(&'static str),
    Delete,
    /// The row once more, with this in place of a column.
    Again(&'static str, &'static str),
}

use Change::{Again, Delete, FlipFirst, FlipLast, Set};

const fn case(table: &'static str, change: Change, told: &'static str) -> Case {
    Case { table, change, told }
}

/// Every one of them. `{true}` and `{blob:text}` are written as the engine wants them.
pub(super) const CASES: &[Case] = &[
    case("kv", FlipFirst("value"), "value"),
    case("kv", FlipLast("value"), "value"),
    case("kv", Set("value = NULL, tombstone = {true}"), "tombstone"),
    case("kv", Set("version = version + 1"), "version"),
    case("kv", Set("content_type = 'text/x'"), "content_type"),
    case("kv", Set("expires_at = 5"), "expires_at"),
    case("kv", Set("created_at = created_at + 1"), "created_at"),
    case("kv", Set("updated_at = updated_at + 1"), "updated_at"),
    case("kv", Set("checksum = checksum + 1"), "checksum"),
    case("kv", Set("tenant = 'other'"), "missing"),
    case("kv", Set("key = {blob:other}"), "extra"),
    case("kv", Delete, "missing"),
    case("kv", Again("key", "{blob:again}"), "extra"),
    case("outcome", Set("generation = 2"), "missing"),
    case("outcome", Set("from_offset = from_offset + 1"), "broken"),
    case("outcome", Set("to_offset = to_offset + 1"), "broken"),
    case("outcome", Set("time = time + 1"), "broken"),
    case("outcome", Set("range = {blob:}"), "missing"),
    case("outcome", FlipFirst("range"), "broken"),
    case("outcome", FlipLast("range"), ""),
    case("outcome", Delete, "missing"),
    case("outcome", Again("from_offset", "from_offset + 1000"), "broken"),
    case("seen", Set("generation = 2"), "missing"),
    case("seen", Set("from_offset = from_offset + 1"), "broken"),
    case("seen", Set("to_offset = to_offset + 1"), "broken"),
    case("seen", Set("time = time + 1"), "broken"),
    case("seen", Set("ids = {blob:}"), "missing"),
    case("seen", FlipFirst("ids"), ""),
    case("seen", FlipLast("ids"), "hash"),
    case("seen", Delete, "missing"),
    case("seen", Again("from_offset", "from_offset + 1000"), "broken"),
    case("operation", FlipFirst("hash"), "missing"),
    case("operation", Set("generation = 2"), "generation"),
    case("operation", Set("log_partition = 1"), "log_partition"),
    case("operation", Set("log_offset = log_offset + 1"), "log_offset"),
    case("operation", Set("time = time + 1"), "time"),
    case("operation", FlipLast("fingerprint"), "fingerprint"),
    case("operation", Set("fingerprint = {blob:short}"), "fingerprint"),
    case("operation", FlipLast("outcome"), "outcome"),
    case("operation", Delete, "missing"),
    case("operation", Again("hash", "{blob:0123456789abcdef}"), "extra"),
    case("dead_letter", Set("generation = 2"), "missing"),
    case("dead_letter", Set("log_offset = log_offset + 1000"), "extra"),
    case("dead_letter", Set("time = time + 1"), "time"),
    case("dead_letter", Set("reason = 'skipped'"), "reason"),
    case("dead_letter", Set("reason = 'unheard-of'"), "reason"),
    case("dead_letter", Set("detail = 'other'"), "detail"),
    case("dead_letter", FlipFirst("record_key"), "record_key"),
    case("dead_letter", Set("record_key = NULL"), "record_key"),
    case("dead_letter", FlipLast("headers"), "headers"),
    case("dead_letter", FlipFirst("headers"), "headers"),
    case("dead_letter", FlipLast("value"), "value"),
    case("dead_letter", Set("value = NULL"), "value"),
    case("dead_letter", Delete, "missing"),
    case("dead_letter", Again("log_offset", "log_offset + 1000"), "extra"),
    case("watermark", Set("generation = 2"), "generation"),
    case("watermark", Set("applied_offset = applied_offset - 1"), "digest_offset"),
    case("watermark", Set("applied_offset = applied_offset + 1000000"), "broken"),
    case("watermark", Set("digest_offset = digest_offset - 1"), "digest_offset"),
    case("watermark", FlipLast("applied_digest"), "applied_digest"),
    case("watermark", Set("applied_digest = {blob:short}"), "broken"),
    case("watermark", Set("applied_time = applied_time + 1"), "applied_time"),
    case("watermark", Set("owner = owner + 1"), "owner"),
    case("watermark", Set("owner = 0"), "owner"),
    case("watermark", FlipLast("claim"), "claim"),
    case("watermark", Set("claim = {blob:}"), "claim"),
    case("watermark", Set("sealed = {true}"), "sealed"),
    case("watermark", Delete, "missing"),
];

/// One engine's SQL.
pub(super) struct Sql {
    pub(super) yes: &'static str,
    /// Before and after the hexadecimal digits of bytes.
    pub(super) blob: [&'static str; 2],
    /// Gives a column's bytes as hexadecimal digits.
    pub(super) hex: fn(&str) -> String,
    /// Columns of a table, in order.
    pub(super) columns: fn(&str) -> String,
}

/// The partition whose copy is changed, and one of its keys.
pub(super) const PARTITION: u32 = 0;

impl Sql {
    fn bytes(&self, hex: &str) -> String {
        format!("{}{hex}{}", self.blob[0], self.blob[1])
    }

    fn filled(&self, text: &str) -> String {
        let mut text = text.replace("{true}", self.yes);
        while let Some((before, rest)) = text.split_once("{blob:") {
            let (word, after) = rest.split_once('}').expect("it is closed");
            let hex: String = word.bytes().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
            text = format!("{before}{}{after}", self.bytes(&hex));
        }
        text
    }

    /// Which row is changed.
    fn row(&self, table: &str, key: &str) -> String {
        let of = format!("partition = {PARTITION}");
        let first = |column: &str| {
            format!("{of} AND {column} = (SELECT {column} FROM {table} WHERE {of} ORDER BY {column} LIMIT 1)")
        };
        match table {
            "kv" => format!("{of} AND key = {}", self.filled(&format!("{{blob:{key}}}"))),
            "outcome" | "seen" => first("from_offset"),
            "operation" => first("hash"),
            "dead_letter" => first("log_offset"),
            _ => of,
        }
    }

    /// The statement of a case. `run` runs SQL, to look at what is there.
    pub(super) fn of(&self, case: &Case, key: &str, run: impl Fn(&str) -> Result<String>) -> Result<String> {
        let (table, row) = (case.table, self.row(case.table, key));
        let there = run(&format!("SELECT count(*) FROM {table} WHERE {row}"))?;
        ensure!(there.trim() == "1", "{table} has {there} rows to be changed");
        let flipped = |column: &str, last: bool| -> Result<String> {
            let hex = (self.hex)(column);
            let hex = run(&format!("SELECT {hex} FROM {table} WHERE {row}"))?.trim().to_lowercase();
            let at = if last { hex.len().checked_sub(1).context("there are bytes")? } else { 1 };
            let digit = u8::from_str_radix(hex.get(at..=at).context("there are bytes")?, 16)? ^ 1;
            let hex = format!("{}{digit:x}{}", &hex[..at], &hex[at + 1..]);
            Ok(format!("UPDATE {table} SET {column} = {} WHERE {row}", self.bytes(&hex)))
        };
        Ok(match case.change {
            Set(what) => format!("UPDATE {table} SET {} WHERE {row}", self.filled(what)),
            FlipFirst(column) => flipped(column, false)?,
            FlipLast(column) => flipped(column, true)?,
            Delete => format!("DELETE FROM {table} WHERE {row}"),
            Again(column, what) => {
                let columns = run(&(self.columns)(table))?;
                let columns: Vec<&str> = columns.split_whitespace().collect();
                let instead = self.filled(what);
                let values: Vec<&str> = columns
                    .iter()
                    .map(|name| if *name == column { instead.as_str() } else { name })
                    .collect();
                let (columns, values) = (columns.join(", "), values.join(", "));
                format!("INSERT INTO {table} ({columns}) SELECT {values} FROM {table} WHERE {row}")
            }
        })
    }
}

/// The difference is told, by its name.
pub(super) fn ensure_found(case: &Case, sql: &str, told: &Told) -> Result<()> {
    ensure!(told.code == Some(1), "{sql}: not found: {told:?}");
    ensure!(told.json["equal"] == false, "{sql}: {told:?}");
    let named = told.differences().into_iter().any(|difference| {
        let columns = difference["columns"].as_array().into_iter().flatten();
        let what = case.told.is_empty()
            || difference["how"] == case.told
            || columns.into_iter().any(|column| column == case.told);
        difference["table"] == case.table && what
    });
    if !named {
        bail!("{sql}: {} is not named: {told:?}", case.told);
    }
    Ok(())
}

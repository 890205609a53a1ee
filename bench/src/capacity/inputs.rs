//! What was measured, out of the table's JSON and the data file of rows; and the size of a record, by the codec itself.
//!
//! Invariant: what is not there is NaN, with a word on how to measure it.

use anyhow::{Context, Result};
use millpond_schemas::{Conditions, Mutation, MutationId, Op, RecordKey, Tenant};
use serde_json::Value;

use super::Keys;
use crate::growth::DISK;

/// Bytes of the records that the table and the growth charts are measured with.
pub(super) const MEASURED_RECORD_BYTES: f64 = 304.0;
/// Of a record besides its value: tenant, key and content type.
pub(super) const AROUND_VALUE: f64 = 48.0;

/// A measured number.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) value: f64,
    /// Where it is from, or what is missing.
    pub(super) from: String,
}

/// All of them. CPU times are µs of an operation.
#[derive(Debug)]
pub(super) struct Inputs {
    /// What `api` takes of an operation in a batch.
    pub(super) api_us: Found,
    /// What a call by itself takes besides.
    pub(super) call_us: Found,
    pub(super) writer_us: Found,
    /// Primary and replica.
    pub(super) postgres_us: Found,
    pub(super) broker_us: Found,
    /// Bytes of memory of a call that waits.
    pub(super) call_bytes: Found,
    /// Bytes of WAL for each logical byte.
    pub(super) wal: Found,
    /// Bytes of a row on disk, indexes included.
    pub(super) row_bytes: Found,
    /// Bytes of a record on the log.
    pub(super) log_bytes: Found,
}

impl Inputs {
    /// # Errors
    /// The table is none.
    pub(super) fn read(table: &str, rows: Option<&str>, (keys, record_bytes): (Keys, f64)) -> Result<Self> {
        let table: Vec<Value> = serde_json::from_str(table).context("read the table: bench/table --json")?;
        let end = match keys {
            Keys::Uniform => "end to end, uniform / sum of stages: CPU of all",
            Keys::Zipf => "end to end, Zipf(0.99) / sum of stages: CPU of all",
        };
        let share = |process: &str| of(&table, end, &["shares", process], "end-to-end");
        let single = "single PUT, log in memory / echo: requests/s";
        let wal = "apply to Postgres: WAL / logical bytes";
        Ok(Self {
            api_us: share("millpond api"),
            call_us: of(&table, single, &["shares", "accept"], "single"),
            writer_us: share("millpond writer"),
            postgres_us: share("postgres"),
            broker_us: share("java"),
            call_bytes: of(&table, "calls held: bytes each", &["ours"], "held"),
            wal: of(&table, wal, &["ours"], "apply-postgres"),
            row_bytes: row_bytes(rows, record_bytes),
            log_bytes: log_bytes(record_bytes)?,
        })
    }
}

/// A number of the table.
fn of(table: &[Value], stage: &str, path: &[&str], row: &str) -> Found {
    let line = table.iter().find(|line| line["stage"] == stage);
    let value = line.and_then(|line| path.iter().try_fold(line, |at, name| at.get(name))?.as_f64());
    let name =
        path.last().filter(|name| **name != "ours").map_or_else(String::new, |name| format!(", {name}"));
    let stage = stage.split(" / sum").next().unwrap_or(stage);
    match value {
        Some(value) => Found { value, from: format!("{stage}{name}") },
        None => Found { value: f64::NAN, from: format!("missing: bench/table --json {row}") },
    }
}

/// Of the largest table, with as much around a record as was measured.
fn row_bytes(rows: Option<&str>, record_bytes: f64) -> Found {
    let found = rows.and_then(|text| {
        let mut lines = text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split(','));
        let columns: Vec<&str> = lines.next()?.collect();
        let at = |name: &str| columns.iter().position(|column| *column == name);
        let (rows, bytes) = (at("rows")?, at(DISK)?);
        let cells = lines.map(Iterator::collect::<Vec<&str>>);
        let numbers = cells.filter_map(|cells| {
            Some((cells.get(rows)?.parse::<f64>().ok()?, cells.get(bytes)?.parse::<f64>().ok()?))
        });
        numbers.max_by(|(a, _), (b, _)| a.total_cmp(b))
    });
    match found {
        Some((rows, bytes)) => Found {
            value: bytes + record_bytes - MEASURED_RECORD_BYTES,
            from: format!("growth, {rows} rows: {bytes:.0} B for {MEASURED_RECORD_BYTES} logical"),
        },
        None => Found { value: f64::NAN, from: "missing: bench/growth rows, and --rows FILE.csv".to_owned() },
    }
}

/// What the codec makes of such a record; Kafka's own frame of about 10 B a record is not in it.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sizes are whole and above 0")]
fn log_bytes(record_bytes: f64) -> Result<Found> {
    let value = vec![0; (record_bytes - AROUND_VALUE) as usize];
    let op = Op::Put { value: value.into(), content_type: "application/octet-stream".into(), expiry: None };
    let key = RecordKey::new(&Tenant::new("default")?, b"user:000000000001")?;
    let id = Some(MutationId { bytes: [1; 16], durable: false });
    let raw = Mutation { key, id, conditions: Conditions::default(), op }.encode();
    let headers: usize = raw.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    let rest = raw.key.map_or(0, |key| key.len()) + raw.value.map_or(0, |value| value.len());
    let bytes = u32::try_from(headers + rest).context("a record is below 4 GB")?;
    Ok(Found {
        value: f64::from(bytes),
        from: "the codec: key, headers, envelope, not compressed".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = r#"[
      {"stage": "end to end, uniform / sum of stages: CPU of all", "ours": 30.0,
       "shares": {"postgres": 13.5, "millpond api": 4, "millpond writer": 5, "java": 6}},
      {"stage": "calls held: bytes each", "ours": 15000.0},
      {"stage": "apply to Postgres: WAL / logical bytes", "ours": null}
    ]"#;

    #[test]
    fn what_is_there_is_found_and_what_is_not_says_how_to_measure_it() {
        let rows =
            "# head\nrows,kind,disk_bytes_per_row,missing\n1000,,500,\n100000,,450.5,\n1000000,,,void\n";
        let inputs = Inputs::read(TABLE, Some(rows), (Keys::Uniform, 404.0)).unwrap();
        let values = [&inputs.postgres_us, &inputs.api_us, &inputs.call_bytes, &inputs.row_bytes];
        assert_eq!(values.map(|found| found.value.to_string()), ["13.5", "4", "15000", "550.5"]);
        assert_eq!(inputs.postgres_us.from, "end to end, uniform, postgres");
        assert!(inputs.wal.value.is_nan() && inputs.wal.from.contains("bench/table --json apply-postgres"));
        assert!(Inputs::read(TABLE, None, (Keys::Zipf, 304.0)).unwrap().api_us.value.is_nan());
        assert!(Inputs::read("{}", None, (Keys::Zipf, 304.0)).is_err());
    }

    #[test]
    fn a_record_on_the_log_is_longer_by_its_envelope() {
        let [small, large] = [304.0, 1_304.0].map(|bytes| log_bytes(bytes).unwrap().value);
        assert!(small > 304.0 && small < 400.0, "{small}");
        assert!((large - small - 1_000.0).abs() < 4.0, "{large} {small}");
    }
}

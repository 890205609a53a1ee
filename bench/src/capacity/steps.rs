//! The one table: each figure at both sizes, beside its formula and the measured number that goes into it.
//!
//! Invariant: a formula names the rows above it, or the flag that it takes.

use std::fmt::Write;

use super::{
    Assumed,
    inputs::{Found, Inputs},
    needs::{Needs, Size},
};

/// A row of it.
struct Step {
    what: &'static str,
    formula: String,
    input: String,
    values: [String; 2],
}

/// The table, for a page.
pub(super) fn markdown(sizes: &[Size; 2], needs: &[Needs; 2], inputs: &Inputs, assumed: &Assumed) -> String {
    let mut text = format!(
        "| | formula | measured | {} operations/s in batches | {} stored, {} calls at once |\n|---|---|---|---:|---:|",
        short(sizes[0].operations),
        bytes(sizes[1].stored_bytes),
        short(sizes[1].calls.unwrap_or_default())
    );
    let steps = asked(sizes, needs, assumed)
        .into_iter()
        .chain(costs(needs, inputs))
        .chain(bytes_needed(needs, inputs, assumed))
        .chain(machines(needs, assumed));
    for Step { what, formula, input, values: [one, other] } in steps {
        let _ = write!(text, "\n| {what} | {formula} | {input} | {one} | {other} |");
    }
    text
}

fn asked(sizes: &[Size; 2], needs: &[Needs; 2], assumed: &Assumed) -> Vec<Step> {
    let calls = |size: &Size| size.calls.map_or_else(|| "few".to_owned(), short);
    vec![
        Step {
            what: "calls at once",
            formula: "asked for; few in batches".to_owned(),
            input: String::new(),
            values: [calls(&sizes[0]), calls(&sizes[1])],
        },
        Step {
            what: "operations/s",
            formula: format!("asked for; calls ÷ {} s (`--call-seconds`)", sizes[1].call_seconds),
            input: String::new(),
            values: sizes.each_ref().map(|size| short(size.operations)),
        },
        Step {
            what: "rows",
            formula: format!("stored ÷ {} B (`--record-bytes`)", assumed.record_bytes),
            input: String::new(),
            values: [0, 1]
                .map(|at| format!("{} ÷ … = {}", bytes(sizes[at].stored_bytes), short(needs[at].rows))),
        },
    ]
}

/// A row of CPU, or of whatever comes by the operation.
fn step(
    what: &'static str,
    formula: impl Into<String>,
    input: String,
    (needs, value): (&[Needs; 2], impl Fn(&Needs) -> String),
) -> Step {
    Step { what, formula: formula.into(), input, values: needs.each_ref().map(value) }
}

fn costs(needs: &[Needs; 2], inputs: &Inputs) -> Vec<Step> {
    let Inputs { api_us, call_us, writer_us, postgres_us, broker_us, .. } = inputs;
    let us = |found: &Found| told(found, "µs");
    vec![
        step(
            "cores of apis",
            "operations/s × µs ÷ 10⁶; where each is a call of its own, both µs",
            format!("{}; a call {}", us(api_us), us(call_us)),
            (needs, |one| short(one.api_cores)),
        ),
        step(
            "cores of writers",
            "operations/s × µs ÷ 10⁶",
            us(writer_us),
            (needs, |one| short(one.writer_cores)),
        ),
        step(
            "cores of Postgres",
            "operations/s × µs ÷ 10⁶; all of it taken to be the primary's",
            us(postgres_us),
            (needs, |one| short(one.postgres_cores)),
        ),
        step(
            "cores of brokers",
            "operations/s × µs ÷ 10⁶ × copies (`--replication`); a copy taken to cost what the first does",
            us(broker_us),
            (needs, |one| short(one.broker_cores)),
        ),
    ]
}

fn bytes_needed(needs: &[Needs; 2], inputs: &Inputs, assumed: &Assumed) -> Vec<Step> {
    let Inputs { call_bytes, wal, row_bytes, log_bytes, .. } = inputs;
    let per_second = |value: f64| format!("{}/s", bytes(value));
    vec![
        step("memory of calls", "calls at once × B", told(call_bytes, "B"), (needs, |one| bytes(one.memory))),
        step(
            "log, written",
            format!("operations/s × B × {} copies (`--replication`)", assumed.replication),
            told(log_bytes, "B"),
            (needs, |one| per_second(one.log_bytes_s)),
        ),
        step(
            "log, kept",
            format!("log, written × {} h (`--log-hours`)", assumed.log_hours),
            String::new(),
            (needs, |one| bytes(one.log_bytes)),
        ),
        step(
            "WAL, written",
            format!("operations/s × {} B × ratio", assumed.record_bytes),
            told(wal, "WAL ÷ logical"),
            (needs, |one| per_second(one.wal_bytes_s)),
        ),
        step(
            "rows on disk",
            "rows × B, table and indexes",
            told(row_bytes, "B"),
            (needs, |one| bytes(one.shard_bytes)),
        ),
    ]
}

fn machines(needs: &[Needs; 2], assumed: &Assumed) -> Vec<Step> {
    let Assumed { cores, used, ram_gb, disk_mb_s, broker_tb, shard_tb, fill, skew, replication, .. } =
        assumed;
    let machine = format!("({cores} cores × {used} (`--cores`, `--use`))");
    let none = String::new;
    vec![
        step(
            "api machines",
            format!("most of: cores ÷ {machine}; memory ÷ ({ram_gb} GB (`--ram-gb`) × {used})"),
            none(),
            (needs, |one| short(one.api_machines)),
        ),
        step(
            "writer machines",
            format!("cores ÷ {machine}"),
            none(),
            (needs, |one| short(one.writer_machines)),
        ),
        step(
            "brokers",
            format!(
                "most of: cores ÷ {machine}; log, written ÷ {disk_mb_s} MB/s (`--disk-mb-s`); log, kept ÷ \
                 ({broker_tb} TB × {fill} (`--broker-tb`, `--fill`)); {replication} copies"
            ),
            none(),
            (needs, |one| short(one.brokers)),
        ),
        step(
            "shards",
            format!(
                "most of: cores × {skew} (`--skew`) ÷ {machine}; WAL × {skew} ÷ {disk_mb_s} MB/s; rows on disk ÷ \
                 ({shard_tb} TB × {fill} (`--shard-tb`, `--fill`))"
            ),
            none(),
            (needs, |one| short(one.shards)),
        ),
        step(
            "partitions, least",
            format!(
                "most of: cores of writers × {skew} ÷ {used}, since one is one thread; rows on disk ÷ 35.2 TB, \
                 Postgres' largest table; shards. At most 4,096"
            ),
            none(),
            (needs, |one| short(one.partitions)),
        ),
        step(
            "machines",
            format!(
                "apis + writers + brokers + shards × (1 + {} replicas (`--replicas`)); none to spare",
                assumed.replicas
            ),
            none(),
            (needs, |one| short(one.machines)),
        ),
        step(
            "first choke point",
            "what takes most of its machines, or is above a limit",
            none(),
            (needs, choke),
        ),
    ]
}

fn choke(needs: &Needs) -> String {
    let gap = needs.resources.iter().any(|resource| resource.load.is_nan());
    let of = if gap { ", of what is known" } else { "" };
    match needs.choke() {
        None => "?".to_owned(),
        Some(one) if one.hard && one.load > 1.0 => {
            format!("**{}**: × {} too many{of}", one.what, short(one.load))
        }
        Some(one) => format!("**{}**: × {} of the least there is{of}", one.what, short(one.load)),
    }
}

fn told(found: &Found, unit: &str) -> String {
    if found.value.is_nan() {
        return found.from.clone();
    }
    format!("{} {unit} ({})", short(found.value), found.from)
}

/// Three digits, thousands parted.
fn short(value: f64) -> String {
    match value {
        _ if !value.is_finite() => "?".to_owned(),
        value if value >= 1e12 => format!("{:.2} × 10¹²", value / 1e12),
        value if value >= 1e9 => format!("{:.2} × 10⁹", value / 1e9),
        value if value >= 100.0 => thousands(&format!("{value:.0}")),
        value if value.fract() == 0.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

fn thousands(digits: &str) -> String {
    let part = |(at, digit): (usize, char)| {
        let comma = at > 0 && (digits.len() - at).is_multiple_of(3);
        comma.then_some(',').into_iter().chain([digit])
    };
    digits.chars().enumerate().flat_map(part).collect()
}

fn bytes(value: f64) -> String {
    let units = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    let unit = units.into_iter().find(|(size, _)| value >= *size).unwrap_or((1.0, "B"));
    format!("{} {}", short(value / unit.0), unit.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_gaps_are_seen() {
        assert_eq!(
            [0.5, 15.0, 15.25, 1_234_567.0, f64::NAN].map(short),
            ["0.50", "15", "15.2", "1,234,567", "?"]
        );
        assert_eq!([3.289e9, 16.45e12].map(short), ["3.29 × 10⁹", "16.45 × 10¹²"]);
        assert_eq!([210e6, 5e15, 12.0, f64::NAN].map(bytes), ["210 MB", "5,000 TB", "12 B", "? B"]);
    }
}

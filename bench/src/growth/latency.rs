//! Latency against offered load: puts at 10 to 90 % of the rate that a closed loop reaches, on the local log, and on Kafka
//! where there are engines.
//!
//! Invariant: latency counts from the moment at which a call was due; a void load is told and not drawn; before each, all
//! that was written is applied.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, bail};

use super::{
    Grown,
    chart::{Chart, Scale, Series},
    table::{Table, cell},
};
use crate::{
    latency::Latencies,
    load::{Answered, Offered},
    progress::Steps,
    rows::{
        Plan,
        deployment::Deployment,
        engines::{Engines, NO_ENGINES},
        sample::{float, median},
        tools::Served,
    },
};

const CONNECTIONS: usize = 64;
const QUICK: [u32; 5] = [10, 30, 50, 70, 90];
const LONG: [u32; 9] = [10, 20, 30, 40, 50, 60, 70, 80, 90];
const LOCAL: &str = "local log";
const KAFKA: &str = "Kafka";

/// One load, or what stands for it.
struct Point {
    log: &'static str,
    percent: u32,
    rate: f64,
    found: Result<Latencies, String>,
}

/// On whatever there is.
pub(super) async fn measure(plan: &Plan) -> Result<Grown> {
    let engines = Engines::here();
    let percents: &[u32] = plan.pick::<&[_]>(&QUICK, &LONG);
    let bar = Steps::show("latency", (percents.len() + 1) * if engines.is_some() { 2 } else { 1 });
    let folder = tempfile::TempDir::new()?;
    let server = Served::embedded(&folder.path().join("data"))?;
    let mut points = all(plan, (LOCAL, server.address), percents, &bar).await?;
    drop(server);
    if let Some(engines) = &engines {
        let deployment = Deployment::start(engines, 8, 1).await?;
        points.extend(all(plan, (KAFKA, deployment.api()), percents, &bar).await?);
    }
    let mut table = Table::new(["log", "percent", "calls_per_s", "p50_us", "p99_us", "max_us", "missing"]);
    table.comment(format!(
        "single puts of 256 B over {CONNECTIONS} HTTP/1.1 connections, Poisson arrivals, answered 202: on the local log \
         after its fdatasync, on Kafka after acks=all of one broker; applied meanwhile"
    ));
    table.comment("percent: of the rate that as many connections reach in a closed loop");
    if engines.is_none() {
        table.comment(format!("{KAFKA}: missing: {NO_ENGINES}"));
    }
    for point in &points {
        table.row(point.cells());
    }
    Ok(Grown { table, chart: chart(&points) })
}

/// What saturates, then each share of it.
async fn all(
    plan: &Plan,
    (log, address): (&'static str, SocketAddr),
    percents: &[u32],
    bar: &Steps,
) -> Result<Vec<Point>> {
    let length = Duration::from_secs(plan.pick(3, 10));
    let load = |rate| Offered { address, connections: CONNECTIONS, rate, length, seed: plan.seed };
    bar.at(format!("{log}: what saturates"));
    let mut rates = Vec::new();
    // The first one warms up.
    for _ in 0..=plan.repeats {
        match load(None).run().await? {
            Answered::Good { operations, wall, .. } => rates.push(float(operations) / wall.as_secs_f64()),
            Answered::Void(reason) => bail!("{log}: {reason}"),
        }
        load(None).settle().await?;
    }
    let saturated = median(rates.split_off(1));
    bar.done(&format!("{log}: {saturated:.0} calls/s saturate"));
    let mut points = Vec::new();
    for percent in percents {
        let rate = saturated * f64::from(*percent) / 100.0;
        bar.at(format!("{log}: {percent} %"));
        let found = load(Some(rate)).run().await;
        load(None).settle().await?;
        let found = match found {
            Ok(Answered::Good { latencies, .. }) => Ok(latencies),
            Ok(Answered::Void(reason)) => Err(reason),
            Err(error) => Err(format!("{error:#}")),
        };
        let point = Point { log, percent: *percent, rate, found };
        bar.done(&point.text());
        points.push(point);
    }
    Ok(points)
}

#[expect(clippy::cast_precision_loss, reason = "an hour at most")]
fn us(latencies: &Latencies, share: f64) -> f64 {
    latencies.quantile(share).as_micros() as f64
}

impl Point {
    fn text(&self) -> String {
        let Self { log, percent, rate, found } = self;
        let found = found.as_ref().map_or_else(Clone::clone, Latencies::line);
        format!("{log}, {percent} % = {rate:.0}/s: {found}")
    }

    fn cells(&self) -> Vec<String> {
        let quantiles = match &self.found {
            Ok(latencies) => [0.5, 0.99, 1.0].map(|share| us(latencies, share)),
            Err(_) => [f64::NAN; 3],
        };
        let mut cells = vec![self.log.to_owned(), self.percent.to_string(), cell(self.rate.round())];
        cells.extend(quantiles.map(cell));
        cells.push(self.found.as_ref().err().cloned().unwrap_or_default());
        cells
    }
}

fn chart(points: &[Point]) -> Chart {
    let line = |log: &str, name: &str, share: f64| {
        let of_log = points.iter().filter(|point| point.log == log);
        let at = |point: &Point| {
            let us = point.found.as_ref().map_or(f64::NAN, |latencies| us(latencies, share));
            (f64::from(point.percent), us / 1e3)
        };
        Series { name: format!("{log}, {name}"), points: of_log.map(at).collect() }
    };
    let logs = [LOCAL, KAFKA].into_iter();
    let series = logs.flat_map(|log| [line(log, "p50", 0.5), line(log, "p99", 0.99)]);
    Chart {
        title: "Latency of accepted puts by offered load".to_owned(),
        x: Scale {
            label: "offered, % of what saturates".to_owned(),
            log: false,
            ticks: points.iter().map(|point| f64::from(point.percent)).collect(),
        },
        y: Scale { label: "latency from the due moment, ms".to_owned(), log: true, ticks: Vec::new() },
        series: series.filter(|series| series.points.iter().any(|(_, ms)| ms.is_finite())).collect(),
        stacked: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_void_load_is_told_and_not_drawn() {
        let mut latencies = Latencies::default();
        latencies.record(Duration::from_millis(2));
        let point = |percent, found| Point { log: LOCAL, percent, rate: 100.4, found };
        let points = [point(10, Ok(latencies)), point(90, Err("void: too late".to_owned()))];
        assert_eq!(points[1].cells(), [LOCAL, "90", "100", "", "", "", "void: too late"]);
        assert_eq!(points[0].cells()[..5], [LOCAL, "10", "100", "2000", "2000"]);
        let chart = chart(&points);
        assert_eq!(chart.series.len(), 2, "of the log that was measured");
        assert_eq!(
            chart.series[0].points.iter().map(|(_, ms)| ms.is_nan()).collect::<Vec<_>>(),
            [false, true]
        );
        assert_eq!(chart.x.ticks, [10.0, 90.0]);
    }
}

//! How reads of the shards go, how far replicas are behind, and how busy connections are, read whenever somebody asks.
//!
//! Invariant: nothing is asked of a shard for it; labels are names of the topology and of fixed lists.

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::{Registry, Unit},
};

use crate::{Kind, NodeReport, Report, Router};

/// Tells what these routers have counted whenever somebody asks.
pub fn register(registry: &mut Registry, routers: Vec<Router>) {
    registry.register_collector(Box::new(Reading(routers)));
}

#[derive(Debug)]
struct Reading(Vec<Router>);

type Told = Result<(), std::fmt::Error>;

/// A metric of each node: name without its start, help, unit, and its value.
type OfNode = (&'static str, &'static str, Option<Unit>, fn(&NodeReport) -> f64);

const GAUGES: [OfNode; 7] = [
    ("node_resting", "1 while a node that failed is left alone", None, |node| f64::from(node.resting)),
    (
        "node_lag_records",
        "Records that a node is known to be behind the primary, in its worst partition",
        None,
        |node| float(node.lag_records),
    ),
    (
        "node_lag",
        "The same in time, by the log's clock; a refresh a second tells it",
        Some(Unit::Seconds),
        |node| node.lag.as_secs_f64(),
    ),
    ("pool_connections", "Connections that may read at once", None, |node| float(node.pool.connections)),
    ("pool_in_use", "Of those, lent just now", None, |node| float(node.pool.in_use)),
    ("pool_writes_waiting", "Calls that wait for the connection that writes", None, |node| {
        float(node.pool.writes_waiting)
    }),
    ("node_primary", "1 where the node is the primary", None, |node| f64::from(node.kind == Kind::Primary)),
];

const COUNTERS: [OfNode; 3] = [
    ("queries", "Queries that reads which waited together have become", None, |node| float(node.queries)),
    ("pool_waits", "Reads that had to wait for a connection", None, |node| float(node.pool.waits)),
    ("pool_timeouts", "Of those, given up after 250 ms", None, |node| float(node.pool.timeouts)),
];

/// Exact below 2^53.
#[expect(clippy::cast_precision_loss, reason = "Prometheus' numbers are floats")]
pub(crate) fn float(number: u64) -> f64 {
    number as f64
}

impl Collector for Reading {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Told {
        let reports: Vec<(&str, Report)> =
            self.0.iter().map(|router| (router.name(), router.report())).collect();
        reads(&mut encoder, &reports)?;
        retries(&mut encoder, &reports)?;
        for metric in &COUNTERS {
            each_node(&mut encoder, &reports, metric, MetricType::Counter)?;
        }
        for metric in &GAUGES {
            each_node(&mut encoder, &reports, metric, MetricType::Gauge)?;
        }
        Ok(())
    }
}

fn reads(encoder: &mut DescriptorEncoder<'_>, reports: &[(&str, Report)]) -> Told {
    let help = "Reads of keys, by what kind of node was asked and what came of it";
    let mut family = encoder.encode_descriptor("millpond_shard_reads", help, None, MetricType::Counter)?;
    for (shard, report) in reports {
        for (kind, reached, times) in &report.reads {
            let labels = [("shard", *shard), ("node", kind.name()), ("result", reached.name())];
            ConstCounter::new(*times).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn retries(encoder: &mut DescriptorEncoder<'_>, reports: &[(&str, Report)]) -> Told {
    let help = "Reads that asked one more node for the same call";
    let mut family =
        encoder.encode_descriptor("millpond_shard_read_retries", help, None, MetricType::Counter)?;
    for (shard, report) in reports {
        ConstCounter::new(report.retries).encode(family.encode_family(&[("shard", *shard)])?)?;
    }
    Ok(())
}

/// One metric of every node: replicas by their place in the topology.
fn each_node(
    encoder: &mut DescriptorEncoder<'_>,
    reports: &[(&str, Report)],
    (name, help, unit, value): &OfNode,
    kind: MetricType,
) -> Told {
    let name = format!("millpond_shard_{name}");
    let mut family = encoder.encode_descriptor(&name, help, unit.as_ref(), kind)?;
    for (shard, report) in reports {
        for (place, node) in report.nodes.iter().enumerate() {
            let node_name = match node.kind {
                Kind::Primary => "primary".to_owned(),
                Kind::Replica => format!("replica-{place}"),
            };
            let labels = [("shard", *shard), ("node", node_name.as_str())];
            tell(family.encode_family(&labels)?, kind, value(node))?;
        }
    }
    Ok(())
}

fn tell(encoder: MetricEncoder<'_>, kind: MetricType, value: f64) -> Told {
    match kind {
        MetricType::Counter => ConstCounter::new(value).encode(encoder),
        _ => ConstGauge::new(value).encode(encoder),
    }
}

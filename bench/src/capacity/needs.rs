//! The arithmetic: from measured costs and a size to cores, bytes and machines.
//!
//! Pure. Invariant: a figure that depends on something missing is NaN; what chokes first is found among those that are not.

use millpond_schemas::limits::PARTITIONS_MAX;

use super::{Assumed, inputs::Inputs};

/// The largest table of Postgres with blocks of 8 KiB: 2^32 - 1 of them. Source: its manual, appendix K.
pub(super) const LEAF_BYTES_MAX: f64 = 32.0 * 1024.0 * 1024.0 * 1024.0 * 1024.0;
const HOUR_SECONDS: f64 = 3600.0;

/// What is asked for.
#[derive(Debug)]
pub(super) struct Size {
    /// A second.
    pub(super) operations: f64,
    pub(super) stored_bytes: f64,
    /// Calls at once, an operation each; none: batches.
    pub(super) calls: Option<f64>,
    pub(super) call_seconds: f64,
}

/// What it takes. Cores are those that are busy in the mean; `*_s` is a second's.
#[derive(Debug)]
pub(super) struct Needs {
    pub(super) rows: f64,
    pub(super) api_cores: f64,
    pub(super) memory: f64,
    pub(super) writer_cores: f64,
    pub(super) postgres_cores: f64,
    pub(super) broker_cores: f64,
    pub(super) log_bytes_s: f64,
    pub(super) log_bytes: f64,
    pub(super) wal_bytes_s: f64,
    pub(super) shard_bytes: f64,
    pub(super) partitions: f64,
    pub(super) api_machines: f64,
    pub(super) writer_machines: f64,
    pub(super) brokers: f64,
    pub(super) shards: f64,
    pub(super) machines: f64,
    /// Every resource, in the units that it comes in.
    pub(super) resources: Vec<Resource>,
}

/// What can run out.
#[derive(Clone, Debug)]
pub(super) struct Resource {
    pub(super) what: &'static str,
    /// How many machines, brokers or shards it would take by itself, over the least that there are.
    pub(super) load: f64,
    /// No machine more gives more of it.
    pub(super) hard: bool,
}

/// The largest; NaN when one of them is.
fn most(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, |most, value| if value > most || value.is_nan() { value } else { most })
}

impl Needs {
    /// The whole way.
    pub(super) fn of(size: &Size, inputs: &Inputs, assumed: &Assumed) -> Self {
        let cores = |us: f64| size.operations * us / 1e6;
        let call_us = if size.calls.is_some() { inputs.call_us.value } else { 0.0 };
        let copies = assumed.replication;
        let rows = size.stored_bytes / assumed.record_bytes;
        let log_bytes_s = size.operations * inputs.log_bytes.value * copies;
        let mut needs = Self {
            rows,
            api_cores: cores(inputs.api_us.value + call_us),
            memory: size.calls.map_or(0.0, |calls| calls * inputs.call_bytes.value),
            writer_cores: cores(inputs.writer_us.value),
            postgres_cores: cores(inputs.postgres_us.value),
            broker_cores: cores(inputs.broker_us.value) * copies,
            log_bytes_s,
            log_bytes: log_bytes_s * assumed.log_hours * HOUR_SECONDS,
            wal_bytes_s: size.operations * assumed.record_bytes * inputs.wal.value,
            shard_bytes: rows * inputs.row_bytes.value,
            partitions: f64::NAN,
            api_machines: f64::NAN,
            writer_machines: f64::NAN,
            brokers: f64::NAN,
            shards: f64::NAN,
            machines: f64::NAN,
            resources: Vec::new(),
        };
        needs.machines_of(assumed);
        needs
    }

    fn machines_of(&mut self, assumed: &Assumed) {
        let of_machine = |cores: f64| cores / (assumed.cores * assumed.used);
        let [rate, ram] = [assumed.disk_mb_s * 1e6, assumed.ram_gb * 1e9 * assumed.used];
        let disk = |tb: f64| tb * 1e12 * assumed.fill;
        let (skew, copies) = (assumed.skew, assumed.replication);
        let api = [of_machine(self.api_cores), self.memory / ram];
        let writer = of_machine(self.writer_cores);
        let brokers = [
            of_machine(self.broker_cores),
            self.log_bytes_s / rate,
            self.log_bytes / disk(assumed.broker_tb),
        ];
        let shards = [
            of_machine(self.postgres_cores) * skew,
            self.wal_bytes_s * skew / rate,
            self.shard_bytes / disk(assumed.shard_tb),
        ];
        // One partition is one thread of a writer, and one table.
        let partitions = [self.writer_cores * skew / assumed.used, self.shard_bytes / LEAF_BYTES_MAX];
        self.api_machines = whole(most(&api), 1.0);
        self.writer_machines = whole(writer, 1.0);
        self.brokers = whole(most(&brokers), copies);
        self.shards = whole(most(&shards), 1.0);
        self.partitions = whole(most(&[partitions[0], partitions[1], self.shards]), 1.0);
        self.machines =
            self.api_machines + self.writer_machines + self.brokers + self.shards * (1.0 + assumed.replicas);
        let limit = f64::from(PARTITIONS_MAX);
        let resource = |what, load| Resource { what, load, hard: false };
        self.resources = vec![
            resource("CPU of apis", api[0]),
            resource("memory of apis", api[1]),
            resource("CPU of writers", writer),
            resource("CPU of brokers", brokers[0] / copies),
            resource("writes of brokers", brokers[1] / copies),
            resource("disk of brokers", brokers[2] / copies),
            resource("CPU of shards", shards[0]),
            resource("WAL of shards", shards[1]),
            resource("disk of shards", shards[2]),
            Resource { what: "partitions, of at most 4,096", load: self.partitions / limit, hard: true },
        ];
    }

    /// What runs out first when all of it grows alike: what is above a hard limit, else what takes most machines.
    pub(super) fn choke(&self) -> Option<&Resource> {
        let known = || self.resources.iter().filter(|resource| !resource.load.is_nan());
        let above = known().find(|resource| resource.hard && resource.load > 1.0);
        above.or_else(|| known().max_by(|a, b| a.load.total_cmp(&b.load)))
    }
}

/// Of whole machines, at least so many; NaN stays.
fn whole(value: f64, least: f64) -> f64 {
    if value.is_nan() { value } else { value.ceil().max(least) }
}

#[cfg(test)]
mod tests {
    use super::{super::inputs::Found, *};

    fn inputs() -> Inputs {
        let found = |value| Found { value, from: String::new() };
        Inputs {
            api_us: found(4.0),
            call_us: found(20.0),
            writer_us: found(5.0),
            postgres_us: found(15.0),
            broker_us: found(6.0),
            call_bytes: found(15_000.0),
            wal: found(3.0),
            row_bytes: found(400.0),
            log_bytes: found(350.0),
        }
    }

    fn assumed() -> Assumed {
        Assumed {
            record_bytes: 250.0,
            replication: 3.0,
            replicas: 1.0,
            skew: 1.0,
            cores: 16.0,
            used: 0.5,
            ram_gb: 64.0,
            disk_mb_s: 500.0,
            broker_tb: 8.0,
            shard_tb: 10.0,
            fill: 0.5,
            log_hours: 10.0,
        }
    }

    fn size(tb: f64, calls: Option<f64>) -> Size {
        Size { operations: 200_000.0, stored_bytes: tb * 1e12, calls, call_seconds: 5.0 }
    }

    fn near(value: f64, wanted: f64) {
        assert!((value / wanted - 1.0).abs() < 1e-9, "{value} is not {wanted}");
    }

    #[test]
    fn a_rate_in_batches_is_cores_and_bytes_a_second() {
        let needs = Needs::of(&size(1.0, None), &inputs(), &assumed());
        near(needs.rows, 4e9);
        near(needs.api_cores, 0.8);
        near(needs.writer_cores, 1.0);
        near(needs.postgres_cores, 3.0);
        near(needs.broker_cores, 3.6);
        near(needs.log_bytes_s, 210e6);
        near(needs.log_bytes, 210e6 * 36_000.0);
        near(needs.wal_bytes_s, 150e6);
        near(needs.shard_bytes, 1.6e12);
        let pools = [needs.api_machines, needs.writer_machines, needs.brokers, needs.shards, needs.machines];
        pools.into_iter().zip([1.0, 1.0, 3.0, 1.0, 7.0]).for_each(|(pool, count)| near(pool, count));
        // 7.56 TB of log on three brokers of 4 TB each.
        let choke = needs.choke().expect("all is known");
        assert_eq!(choke.what, "disk of brokers");
        near(choke.load, 0.63);
    }

    #[test]
    fn much_data_is_many_shards_and_calls_are_memory_and_cpu_of_apis() {
        let needs = Needs::of(&size(5_000.0, Some(1e6)), &inputs(), &assumed());
        near(needs.api_cores, 4.8);
        near(needs.memory, 15e9);
        near(needs.shard_bytes, 8e15);
        assert_eq!((needs.shards, needs.partitions, needs.machines), (1_600.0, 1_600.0, 3_205.0));
        assert_eq!(needs.choke().expect("all is known").what, "disk of shards");
    }

    #[test]
    fn a_hard_limit_comes_before_what_machines_can_mend() {
        let needs = Needs::of(&size(20_000.0, None), &inputs(), &assumed());
        let choke = needs.choke().expect("all is known");
        assert!(choke.hard && choke.load > 1.0, "{choke:?}");
    }

    #[test]
    fn what_is_missing_leaves_a_gap_and_not_a_zero() {
        let missing = Inputs { wal: Found { value: f64::NAN, from: String::new() }, ..inputs() };
        let needs = Needs::of(&size(1.0, None), &missing, &assumed());
        assert!(needs.shards.is_nan() && needs.machines.is_nan());
        assert_eq!((needs.brokers, needs.api_machines), (3.0, 1.0));
        assert_eq!(needs.choke().expect("the rest is known").what, "disk of brokers");
    }
}

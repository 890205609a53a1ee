//! One log, made by clients while roles are killed, is replayed into SQLite and Postgres in flushes of 1, 7 and 500
//! records, cut off halfway and gone on with, once more over what is there, and from scratch: all is the same.
//!
//! Compared whole, without the owner, which is no part of what the log says; and by digest, as operators do.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use millpond_log::{
    Log, Topologies,
    kafka::{Cluster, Config},
};
use millpond_schemas::{Decoder, Keyring, Offset, PartitionId, Topology};
use millpond_shard::{Dump, Kind as Node, Password, PostgresConfig, Shard, SqliteConfig};
use millpond_writer::{Replay, digest};
use rand::{RngExt, rngs::StdRng};
use tempfile::TempDir;

use super::{Context, Drill, Length, Need, settle, stage};
use crate::{
    deployment::Deployment,
    roles::Kind,
    workload::{Options, Target, Workload},
};

/// Records of a flush.
const SIZES: [usize; 3] = [1, 7, 500];
/// How many operations are between two kills.
const BETWEEN: u64 = 100;

pub(super) const DRILL: Drill = Drill {
    name: "same-log",
    number: 24,
    about: "one log of --count operations into SQLite and Postgres, in batches of 1, 7 and 500, each twice, and from scratch: \
            identical digests",
    engines: Need::Shared,
    long: Length::new(600, 20_000),
    short: Length::new(60, 150),
    run: |context| Box::pin(run(context)),
};

async fn run(context: Context) -> Result<()> {
    let mut deployment = Deployment::start(&stage::options()).await?;
    stage::until_shared_out(&deployment).await?;
    let options = Options { native_per_cent: 20, poison_per_cent: 10, ..context.workload() };
    let workload = Workload::start(&Target::of(&deployment), &options, context.recorder())?;
    let (mut random, began) = (context.random(1), std::time::Instant::now());
    while workload.totals().ok < context.length().count && began.elapsed() < context.length().time {
        workload.more(BETWEEN).await?;
        let victim = random.random_range(0..2);
        deployment.kill(Kind::Writer, victim)?;
        context.fault("kill -9", &format!("writer-{victim}"));
        deployment.start_again(Kind::Writer, victim).await?;
        if !context.is_long() {
            workload.more(context.length().count.saturating_sub(BETWEEN)).await?;
        }
    }
    context.worked(&workload.stop().await?);
    context.settle(&deployment).await?;
    end(&mut deployment).await?;
    let source = Source::open(&deployment).await?;
    let compared = source.compare(&context, &mut deployment, &mut random).await;
    source.log.close().await;
    compared
}

/// Ends every role where nothing is behind the log. A sweeper may have appended as it ended, and a writer that leaves has
/// another one claim what it had: so writers die at once, which nobody notices in time.
async fn end(deployment: &mut Deployment) -> Result<()> {
    for number in 0..deployment.count(Kind::Sweeper) {
        deployment.terminate(Kind::Sweeper, number).await?;
    }
    settle::until_nothing_lags(deployment).await?;
    for number in 0..deployment.count(Kind::Writer) {
        deployment.kill(Kind::Writer, number)?;
    }
    for number in 0..deployment.count(Kind::Api) {
        deployment.terminate(Kind::Api, number).await?;
    }
    Ok(())
}

/// The log.
struct Source {
    log: Log,
    topology: Arc<Topology>,
    keys: Keyring,
}

impl Source {
    async fn open(deployment: &Deployment) -> Result<Self> {
        let config = Config { dev: true, ..Config::new(deployment.kafka(), deployment.prefix()) };
        let cluster = Cluster::connect(config)?;
        let control = cluster.control().await.context("open the control topic")?;
        let topologies = Topologies::open(control.clone()).await.context("read the control topic")?;
        let topology = topologies.current().context("there is a topology")?.clone();
        control.close().await;
        let log = cluster.mutations(topology.generation).await.context("open the mutations log")?;
        let keys = millpond::mac_key::read(&deployment.dir().join("mac.key"), false)?;
        Ok(Self { log, topology, keys })
    }

    /// Every copy against the one that served.
    async fn compare(
        &self,
        context: &Context,
        deployment: &mut Deployment,
        random: &mut StdRng,
    ) -> Result<()> {
        let wanted: Vec<Dump> = deployment.dumps().await?.into_iter().map(unowned).collect();
        let dir = TempDir::new()?;
        let (mut digests, mut copies) = (BTreeSet::new(), 0);
        for size in SIZES {
            for name in ["cut", "scratch"] {
                let file = dir.path().join(format!("{name}-{size}.sqlite"));
                let sqlite = Shard::open(&SqliteConfig::new(file)).await?;
                let database = deployment.make_database()?;
                let postgres = open(deployment, &database)?;
                postgres.migrate().await?;
                for (engine, shard) in [("SQLite", sqlite), ("Postgres", postgres)] {
                    let cut = (name == "cut").then_some(&mut *random);
                    let what = || format!("{engine}, flushes of {size}, {name}");
                    let found = self.copy(&shard, (size, cut), &wanted).await.with_context(what)?;
                    shard.close().await;
                    digests.insert(found);
                    copies += 1;
                    context.fault("log replayed", &format!("{engine} {size} {name}"));
                }
            }
        }
        for into in ["SQLite", "Postgres"] {
            let shard = rebuilt(deployment, dir.path(), into).await?;
            let found =
                self.copy(&shard, (1000, None), &wanted).await.with_context(|| format!("rebuild, {into}"))?;
            shard.close().await;
            digests.insert(found);
            copies += 1;
            context.fault("millpond rebuild", into);
        }
        ensure!(digests.len() == 1, "{} digests of {copies} copies: {digests:?}", digests.len());
        context.figure("copies", format!("{copies}, all as the one that served; one digest"));
        Ok(())
    }

    /// Replays all partitions, twice, the first time with a break where there is one to be; the digests of all.
    async fn copy(
        &self,
        shard: &Shard,
        (size, mut cut): (usize, Option<&mut StdRng>),
        wanted: &[Dump],
    ) -> Result<Vec<String>> {
        let mut digests = Vec::new();
        for wanted in wanted {
            let (partition, last) = (wanted.watermark.partition, wanted.watermark.applied);
            if let Some(random) = &mut cut {
                let halfway = Offset(random.random_range(0..last.0));
                self.replay(shard, partition, (size, halfway)).await?;
            }
            for round in ["once", "twice"] {
                self.replay(shard, partition, (size, last)).await?;
                let found = unowned(shard.dump(partition).await?);
                ensure!(
                    found.watermark == wanted.watermark,
                    "partition {partition}, {round}: another watermark"
                );
                ensure!(found.rows == wanted.rows, "partition {partition}, {round}: other rows");
                ensure!(found == *wanted, "partition {partition}, {round}: what it remembers differs");
            }
            let (_, digest) = digest(shard, partition).await?;
            digests.push(format!("{digest:?}"));
        }
        Ok(digests)
    }

    async fn replay(&self, shard: &Shard, partition: PartitionId, (size, to): (usize, Offset)) -> Result<()> {
        let decoder = Decoder {
            log_id: self.topology.log_id,
            partition,
            partitions: self.topology.partitions(),
            keyring: self.keys.clone(),
        };
        let (log, topology) = (&self.log, &self.topology);
        Replay { log, decoder, topology, to, flush_records_max: size }.run(shard).await?;
        Ok(())
    }
}

/// What `millpond rebuild` makes.
async fn rebuilt(deployment: &mut Deployment, dir: &Path, into: &str) -> Result<Shard> {
    let (file, database) = (dir.join("rebuilt.sqlite"), deployment.make_database()?);
    let target = match into {
        "SQLite" => format!("sqlite:{}", file.display()),
        _ => deployment.address_of(&database),
    };
    let ended = deployment.run(&["rebuild", "--into", &target]).await?;
    ensure!(ended.status.success(), "{ended:?}");
    match into {
        "SQLite" => Ok(Shard::open(&SqliteConfig::new(file)).await?),
        _ => open(deployment, &database),
    }
}

fn open(deployment: &Deployment, database: &str) -> Result<Shard> {
    let mut config = PostgresConfig::new(deployment.address_of(database), Node::Primary);
    config.password = Some(Password::new(deployment.password()));
    Ok(Shard::open_postgres(&config)?)
}

fn unowned(mut dump: Dump) -> Dump {
    dump.watermark.owner = Offset::NONE;
    dump
}

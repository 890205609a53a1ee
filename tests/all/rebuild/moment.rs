//! Up to an offset, and up to a moment: what the naive model says, cut there.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use millpond::{rebuild::Source, settings::Settings};
use millpond_fold::{Entry, model::Model};
use millpond_schemas::{Decoder, Offset, PartitionId, Position, UnixMillis};
use millpond_shard::{Dump, Shard, SqliteConfig};
use millpond_tests::server::Fresh;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{ended, rebuild, write};

/// Everything of a partition, as the log has it.
async fn entries(data_dir: &Path, partition: PartitionId) -> Result<(Source, Vec<Entry>)> {
    let source = Source::open(&Settings::on_free_ports(data_dir), false).await?;
    let decoder = Decoder {
        log_id: source.topology.log_id,
        partition,
        partitions: source.topology.partitions(),
        keyring: source.keyring.clone(),
    };
    let end = source.log.bounds(partition).await?.end;
    let (mut next, mut entries) = (Offset(0), Vec::new());
    while next < end {
        let read = source.log.read(partition, next, 1 << 20).await?;
        entries.extend(read.records.into_iter().map(|record| Entry::new(&decoder, record)));
        next = read.next;
    }
    Ok((source, entries))
}

/// The model after the first records, as many as `takes` takes.
fn model(source: &Source, entries: &[Entry], takes: impl Fn(&Entry, UnixMillis) -> bool) -> Result<Model> {
    let topology = &source.topology;
    let partition = PartitionId(3);
    let mut model = Model::new(partition, topology.generation, topology.log_id);
    for entry in entries {
        if !takes(entry, entry.time.max(model.time)) {
            break;
        }
        model.apply(entry)?;
    }
    Ok(model)
}

async fn dump(file: &Path) -> Result<Dump> {
    let shard = Shard::open(&SqliteConfig::new(file)).await?;
    let dump = shard.dump(PartitionId(3)).await?;
    let others = shard.watermarks((0..8).map(PartitionId).collect()).await?;
    shard.close().await;
    ensure!(others.len() == 1, "only one partition was asked for");
    Ok(dump)
}

fn assert_is(dump: &Dump, model: &Model) {
    assert_eq!(dump.watermark, model.watermark());
    assert_eq!(dump.rows, model.rows.values().cloned().collect::<Vec<_>>());
    let exceptions: Vec<Offset> = dump.outcomes.iter().map(|one| one.offset).collect();
    let theirs = model.outcomes.iter().filter(|(_, outcome)| !outcome.is_plain());
    assert_eq!(exceptions, theirs.map(|(offset, _)| *offset).collect::<Vec<_>>());
    assert_eq!(dump.seen, model.seen);
    assert_eq!(dump.operations, model.operations.values().cloned().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_up_to_an_offset_or_a_moment_is_the_log_cut_there() -> Result<()> {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (server, dir) = Fresh::start().await?.apart();
    for _ in 0..10 {
        write(&server.http, &mut random, 400).await?;
    }
    server.terminate().await?;
    let (source, entries) = entries(dir.path(), PartitionId(3)).await?;
    let file = |name: &str| dir.path().join(name);
    let into = |name: &str| format!("sqlite:{}", file(name).display());

    let offset = entries[random.random_range(1..entries.len())].offset;
    let to = Position { generation: source.topology.generation, partition: PartitionId(3), offset };
    let (to, copy) = (to.to_string(), into("offset"));
    ended(&mut rebuild(dir.path(), &["--into", &copy, "--to", &to])?).await?.done()?;
    assert_is(&dump(&file("offset")).await?, &model(&source, &entries, |entry, _| entry.offset <= offset)?);
    let again = ended(&mut rebuild(dir.path(), &["--into", &copy, "--to", &to])?).await?.done()?;
    ensure!(again.out.contains("is there already"), "{again:?}");

    let times: Vec<UnixMillis> = entries.iter().map(|entry| entry.time).collect();
    let moment = times[random.random_range(1..times.len())];
    for (name, time) in [("moment", moment), ("before", UnixMillis(moment.0 - 1))] {
        let (to, copy) = (millpond_api::show_time(time), into(name));
        let arguments = ["--partition", "3", "--into", &copy, "--to-time", &to];
        ended(&mut rebuild(dir.path(), &arguments)?).await?.done()?;
        assert_is(&dump(&file(name)).await?, &model(&source, &entries, |_, at| at <= time)?);
    }

    // A copy goes on, and never back.
    let last = entries.last().context("there are some")?.offset;
    let copy = into("offset");
    ended(&mut rebuild(dir.path(), &["--into", &copy, "--partition", "3"])?).await?.done()?;
    assert_is(&dump(&file("offset")).await?, &model(&source, &entries, |_, _| true)?);
    let back = format!("1-3-{}", last.0 - 1);
    ended(&mut rebuild(dir.path(), &["--into", &copy, "--to", &back])?)
        .await?
        .refused(4, "beyond what is wanted")?;
    let beyond = format!("1-3-{}", last.0 + 1);
    ended(&mut rebuild(dir.path(), &["--into", &copy, "--to", &beyond])?)
        .await?
        .refused(2, "ends before offset")?;
    source.close().await;
    Ok(())
}

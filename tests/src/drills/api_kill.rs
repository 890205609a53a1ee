//! An api is killed every few seconds; its clients go to the next one and send again, with the same Idempotency-Key, what
//! nobody knows.

use std::time::{Duration, Instant};

use anyhow::Result;
use rand::RngExt;
use tokio::time::{MissedTickBehavior, interval};

use super::{Context, Drill, Length, Need, stage};
use crate::{
    deployment::{Deployment, Options},
    roles::Kind,
    workload::{Target, Workload},
};

const APIS: usize = 3;
/// From one kill to the next, where the victim is back by then.
const EVERY: Duration = Duration::from_secs(3);
/// Operations that have to succeed between two kills.
const BETWEEN: u64 = 20;

pub(super) const DRILL: Drill = Drill {
    name: "api-kill",
    number: 1,
    about: "kill -9 of one of three apis every 3 s: no violation; what is unknown is sent again and counts once",
    engines: Need::Shared,
    long: Length::new(600, 200),
    short: Length::new(20, 3),
    run: |context| Box::pin(run(context)),
};

async fn run(context: Context) -> Result<()> {
    let options = Options { apis: APIS, ..stage::options() };
    let mut deployment = Deployment::start(&options).await?;
    stage::until_shared_out(&deployment).await?;
    let workload = Workload::start(&Target::of(&deployment), &context.workload(), context.recorder())?;
    workload.more(50).await?;
    let mut random = context.random(1);
    let mut pace = interval(EVERY);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for _ in context.rounds() {
        if context.is_long() {
            pace.tick().await;
        }
        let victim = random.random_range(0..APIS);
        deployment.kill(Kind::Api, victim)?;
        let killed = Instant::now();
        context.fault("kill -9", &format!("api-{victim}"));
        // The others serve meanwhile.
        workload.more(BETWEEN).await?;
        deployment.start_again(Kind::Api, victim).await?;
        context.takeover(killed.elapsed());
    }
    context
        .figure("takeover is", "from the kill until the api is ready again, work of the others in between");
    workload.more(50).await?;
    context.worked(&workload.stop().await?);
    context.settle(&deployment).await
}

//! `millpond-drill`: faults on real processes, and a verdict. tests/drill builds and runs it.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Result, ensure};
use clap::Parser;
use millpond_tests::{
    drills::{self, ALL, Drill, Length, Need, Report, Request, Verdict},
    engines,
};

const EXAMPLES: &str = "\
Examples:
  tests/drill list                                every drill, and what has to hold
  tests/drill writer-kill                         one drill in its long form
  tests/drill writer-kill --seconds 60 --seed 7   shorter; a seed makes the same choices again
  tests/drill writer-kill --keep /tmp/h           the history stays: tests/check /tmp/h/*.jsonl
  tests/drill all --seconds 60 --json             every drill, one line of JSON each

Exit code: 0 all passed, 1 a promise was broken or a drill failed, 3 too little happened to show anything.";

/// Breaks a deployment in a certain way while clients use it, and checks that no promise was broken.
#[derive(Parser)]
#[command(name = "tests/drill", after_help = EXAMPLES)]
struct Arguments {
    /// The drill's name or number; `list`, or `all`.
    drill: String,
    /// How long faults are injected, seconds. Start, healing and checking come on top. Default: the drill's.
    #[arg(long)]
    seconds: Option<u64>,
    /// How many faults are injected, unless the time is over before. Default: the drill's.
    #[arg(long)]
    count: Option<u64>,
    /// All that is random comes of it. Default: another one each time; the report names it.
    #[arg(long)]
    seed: Option<u64>,
    /// A folder where histories stay. Default: a temporary one, which stays only when a promise was broken.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Print one line of JSON for each drill, and nothing else to the standard output.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    fn request(&self, drill: &Drill) -> Result<Request> {
        let Length { time, count } = drill.long;
        let length = Length {
            time: self.seconds.map_or(time, Duration::from_secs),
            count: self.count.unwrap_or(count),
        };
        let keep = self.keep.as_deref().map(std::path::absolute).transpose()?;
        Ok(Request {
            seed: self.seed.unwrap_or_else(|| u64::from(rand::random::<u32>())),
            length,
            is_long: true,
            keep,
        })
    }

    fn tell(&self, report: &Report) {
        if self.json {
            println!("{}", report.json());
        } else {
            println!("{report}");
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    run().await.unwrap_or_else(|error| {
        eprintln!("tests/drill: {error:#}");
        ExitCode::FAILURE
    })
}

async fn run() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let chosen: Vec<&Drill> = match arguments.drill.as_str() {
        "list" => {
            for drill in ALL {
                println!("{:>3}  {:<20} {}", drill.number, drill.name, drill.about);
            }
            return Ok(ExitCode::SUCCESS);
        }
        "all" => ALL.iter().collect(),
        name => vec![drills::find(name)?],
    };
    ensure!(!chosen.is_empty(), "there is no drill");
    if chosen.iter().any(|drill| drill.engines == Need::Shared)
        && std::env::var_os("MILLPOND_TEST_KAFKA").is_none()
    {
        let mut command = vec![std::env::current_exe()?.to_string_lossy().into_owned()];
        command.extend(std::env::args().skip(1));
        return Ok(engines::with_engines(&command).await?.into());
    }
    let mut verdicts = Vec::new();
    for drill in chosen {
        let request = arguments.request(drill)?;
        eprintln!("== drill {} {}: seed {}, {:?}", drill.number, drill.name, request.seed, request.length);
        let report = drills::run(drill, request).await?;
        arguments.tell(&report);
        verdicts.push(report.verdict());
    }
    let code =
        [(Verdict::Violated, 1), (Verdict::Void, 3)].into_iter().find(|(bad, _)| verdicts.contains(bad));
    Ok(code.map_or(ExitCode::SUCCESS, |(_, code)| code.into()))
}

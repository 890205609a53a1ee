//! `check`: judges saved histories. tests/check builds and runs it.
//!
//! Exit: 0 passed, 1 a promise was broken, 2 a file cannot be read, 3 void. Of several files the worst counts.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use millpond_tests::checker::{Source, Unreadable, Verdict, check, lines};

/// Judges histories: whether what clients were told, and what copies hold, is what the log makes of it.
#[derive(Parser)]
#[command(name = "tests/check")]
struct Arguments {
    /// Print a line of JSON for each file, and nothing else.
    #[arg(long)]
    json: bool,
    /// Histories, as drills keep them.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut worst = 0;
    for file in &arguments.files {
        let code = match judge(file, arguments.json) {
            Ok(verdict) if !verdict.violated.is_empty() => 1,
            Ok(verdict) if !verdict.void.is_empty() => 3,
            Ok(_) => 0,
            Err(error) => {
                eprintln!("tests/check: {error}");
                2
            }
        };
        // 1 over 2 over 3 over 0: a broken promise is never hidden by another file.
        let rank = |code| [0, 3, 2, 1].iter().position(|one| *one == code);
        if rank(code) > rank(worst) {
            worst = code;
        }
    }
    ExitCode::from(worst)
}

fn judge(file: &Path, json: bool) -> Result<Verdict, Unreadable> {
    let verdict = check(&Source::File(file))?;
    let text = if json {
        serde_json::to_string(&verdict).expect("a verdict is JSON") + "\n"
    } else {
        let wanted = verdict.violations.iter().filter_map(|violation| violation.line).collect();
        format!("{}: {}", file.display(), verdict.in_words(&lines(file, &wanted)?))
    };
    // Whoever reads it may have seen enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(verdict)
}

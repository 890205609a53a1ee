//! `millpond verify`: what is equal is called equal, and whatever was changed by hand is found and named.

mod age;
mod deployed;
mod embedded;
mod tampering;

use std::process::Output;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// What a verification printed, and how it ended.
#[derive(Debug)]
struct Told {
    code: Option<i32>,
    json: Value,
    errors: String,
}

impl Told {
    /// Of a run with `--json`.
    fn of(output: &Output) -> Result<Self> {
        let (printed, errors) = (&output.stdout, String::from_utf8_lossy(&output.stderr).into_owned());
        let json = if printed.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(printed) };
        let json = json.with_context(|| format!("{:?}: {errors}", String::from_utf8_lossy(printed)))?;
        Ok(Self { code: output.status.code(), json, errors })
    }

    fn ensure_equal(&self, copies: usize) -> Result<()> {
        ensure!(self.code == Some(0) && self.json["equal"] == true, "{self:?}");
        let told = self.json["copies"].as_array().context("it names copies")?;
        ensure!(told.len() == copies, "{copies} copies are wanted: {self:?}");
        for copy in told {
            ensure!(copy["result"] == "equal" && copy["copy"] == copy["log"], "{copy}");
        }
        Ok(())
    }

    /// All differences of all copies.
    fn differences(&self) -> Vec<&Value> {
        let copies = self.json["copies"].as_array().into_iter().flatten();
        copies.flat_map(|copy| copy["differences"].as_array().into_iter().flatten()).collect()
    }
}

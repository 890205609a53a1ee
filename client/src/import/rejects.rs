//! The rejects file: one JSON object per failed line, with the line itself.
//!
//! Invariant: it holds each failed line up to the journal's place once: a run that resumes first cuts off what lies
//! beyond.

use std::{
    fs::{File, OpenOptions},
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::{Error, report::Failure};

/// Which file, and how much of it belongs to lines that are done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RejectsPlace {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
}

pub(super) struct Rejects {
    file: File,
    place: RejectsPlace,
}

#[derive(Serialize)]
struct Entry<'a> {
    line: u64,
    status: u16,
    code: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_b64: Option<String>,
}

impl Rejects {
    /// Goes on with the file of an earlier run, or makes a new one.
    pub(super) fn open(path: &Path, earlier: Option<&RejectsPlace>) -> Result<Self, Error> {
        let fail = |what| move |source| Error::State { what, path: path.to_owned(), source };
        let bytes = earlier.filter(|place| place.path == path).map(|place| place.bytes);
        let mut options = OpenOptions::new();
        options.write(true);
        if bytes.is_some() {
            options.create(true)
        } else {
            options.create_new(true)
        };
        let mut file = options.open(path).map_err(fail("make the rejects file"))?;
        let bytes = bytes.unwrap_or(0);
        file.set_len(bytes).map_err(fail("cut the rejects file"))?;
        file.seek(SeekFrom::Start(bytes)).map_err(fail("cut the rejects file"))?;
        Ok(Self { file, place: RejectsPlace { path: path.to_owned(), bytes } })
    }

    /// Adds failed lines durably; returns what the journal has to remember.
    pub(super) fn append(&mut self, failures: &[Failure]) -> Result<RejectsPlace, Error> {
        if failures.is_empty() {
            return Ok(self.place.clone());
        }
        let mut text = Vec::new();
        for failure in failures {
            serde_json::to_writer(&mut text, &entry(failure)).expect("strings serialise into memory");
            text.push(b'\n');
        }
        let written = self.file.write_all(&text).and_then(|()| self.file.sync_data());
        written.map_err(|source| Error::State {
            what: "write the rejects file",
            path: self.place.path.clone(),
            source,
        })?;
        self.place.bytes += u64::try_from(text.len()).expect("a length fits 64 bits");
        Ok(self.place.clone())
    }

    pub(super) fn place(&self) -> RejectsPlace {
        self.place.clone()
    }
}

fn entry(failure: &Failure) -> Entry<'_> {
    let text =
        failure.input.as_ref().map(|input| std::str::from_utf8(input).map_err(|_| STANDARD.encode(input)));
    let (input, input_b64) = match text {
        None => (None, None),
        Some(Ok(text)) => (Some(text), None),
        Some(Err(encoded)) => (None, Some(encoded)),
    };
    let Failure { line, status, code, detail, .. } = failure;
    Entry { line: *line, status: *status, code, detail, input, input_b64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(line: u64, input: &'static [u8]) -> Failure {
        Failure::unsent(line, "line-invalid", String::new(), Some(input.into()))
    }

    #[test]
    fn a_resumed_run_cuts_what_was_not_journaled() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rejects");
        let mut rejects = Rejects::open(&path, None).unwrap();
        let place = rejects.append(&[failure(1, b"a")]).unwrap();
        rejects.append(&[failure(2, b"b")]).unwrap();
        let mut again = Rejects::open(&path, Some(&place)).unwrap();
        again.append(&[failure(2, b"\xff")]).unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "{\"line\":1,\"status\":400,\"code\":\"line-invalid\",\"input\":\"a\"}\n\
             {\"line\":2,\"status\":400,\"code\":\"line-invalid\",\"input_b64\":\"/w==\"}\n"
        );
    }

    #[test]
    fn a_file_of_someone_else_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("precious");
        std::fs::write(&path, "x").unwrap();
        assert!(matches!(Rejects::open(&path, None), Err(Error::State { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "x");
    }
}

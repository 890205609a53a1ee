//! What a traced process did to its files and told its callers, from strace's lines.
//!
//! Not here: what a disk makes of it. What is written through a mapping leaves no line: of Millpond's files that is only
//! SQLite's `-shm`, which is made anew after a crash, and left out.
//! Invariant: a change stands where its call ended, a sync knows where its call began, an answer stands where its call
//! began; so a sync never covers what was still being written, and no answer is taken for later than it was.

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};

/// The calls that matter; what strace's `-e trace=` is given.
pub const CALLS: &str = "openat,mkdir,mkdirat,write,writev,sendto,pwrite64,pwritev,pwritev2,fsync,fdatasync,ftruncate,\
                         fallocate,rename,renameat,renameat2,unlink,unlinkat,sync_file_range,copy_file_range,sendfile";

/// One thing that happened. Paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A new, empty file.
    Create(PathBuf),
    /// A new, empty folder.
    MakeDir(PathBuf),
    /// A file got another name.
    Rename(PathBuf, PathBuf),
    /// A name went away.
    Remove(PathBuf),
    /// Bytes at a position; none: behind the last one.
    Write(PathBuf, Option<u64>, Vec<u8>),
    /// A file got this length.
    SetLen(PathBuf, u64),
    /// A file is at least this long.
    Allocate(PathBuf, u64),
    /// What had happened to a file, or to the names in a folder, before the event with this number is durable.
    Sync(PathBuf, usize),
    /// An HTTP answer that names positions left.
    Answer(Answer),
}

impl Event {
    /// Whether it is an answer, or happened in this folder.
    pub fn concerns(&self, folder: &Path) -> bool {
        match self {
            Self::Create(path)
            | Self::MakeDir(path)
            | Self::Rename(_, path)
            | Self::Remove(path)
            | Self::Write(path, ..)
            | Self::SetLen(path, _)
            | Self::Allocate(path, _)
            | Self::Sync(path, _) => path.starts_with(folder),
            Self::Answer(_) => true,
        }
    }
}

/// What an answer said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// The positions that it named.
    pub positions: Vec<String>,
}

/// Collects events under one folder, from the lines of one or more traces in order of time.
pub struct Reader {
    root: PathBuf,
    /// What began and has not ended, by process.
    open: HashMap<String, (String, usize)>,
    files: BTreeSet<PathBuf>,
    events: Vec<Event>,
}

/// Events under `root`, from traces made with `-f -ttt -y -xx -qq`, in order of time.
///
/// # Errors
/// A line is not understood, or a call matters and is not modelled.
pub fn events(root: &Path, traces: &[String]) -> Result<Vec<Event>> {
    let mut lines: Vec<(&str, &str, &str)> = Vec::new();
    for line in traces.iter().flat_map(|trace| trace.lines()) {
        let (process, rest) = line.split_once(' ').context("a line names its process")?;
        let (time, call) = rest.trim_start().split_once(' ').context("a line has a time")?;
        lines.push((time, process, call));
    }
    // Of equal length, and those of one trace in order already.
    lines.sort_by_key(|(time, ..)| *time);
    let mut reader = Reader::new(root);
    for (_, process, call) in lines {
        reader.line(process, call).with_context(|| format!("in {call:.300}"))?;
    }
    Ok(reader.events)
}

impl Reader {
    fn new(root: &Path) -> Self {
        let (open, files, events) = (HashMap::new(), BTreeSet::new(), Vec::new());
        Self { root: root.to_owned(), open, files, events }
    }

    fn line(&mut self, process: &str, call: &str) -> Result<()> {
        if call.starts_with("+++") || call.starts_with("---") {
            return Ok(());
        }
        if let Some(began) = call.strip_suffix("<unfinished ...>") {
            self.answer(began)?;
            self.open.insert(process.to_owned(), (began.to_owned(), self.events.len()));
        } else if let Some((_, rest)) =
            call.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>"))
        {
            let (began, at) = self.open.remove(process).context("it ends what began")?;
            self.ended(&format!("{began}{rest}"), at)?;
        } else {
            self.answer(call)?;
            self.ended(call, self.events.len())?;
        }
        Ok(())
    }

    /// An answer counts from the moment its call began.
    fn answer(&mut self, call: &str) -> Result<()> {
        let (name, rest) = call.split_once('(').context("a call has arguments")?;
        if !matches!(name, "write" | "writev" | "sendto") || self.path(rest)?.is_some() {
            return Ok(());
        }
        let bytes = strings(rest)?.concat();
        if bytes.starts_with(b"HTTP/1.1 ") {
            let answer = told(&String::from_utf8_lossy(&bytes))?;
            self.events.extend((!answer.positions.is_empty()).then_some(Event::Answer(answer)));
        }
        Ok(())
    }

    /// A call that has ended, and how many events there were when it began.
    fn ended(&mut self, call: &str, began: usize) -> Result<()> {
        let (name, rest) = call.split_once('(').context("a call has arguments")?;
        let (arguments, result) = rest.rsplit_once(" = ").context("a call has a result")?;
        if result.starts_with('-') || result.starts_with('?') {
            return Ok(());
        }
        match name {
            "openat" => return self.opened(arguments, result),
            "mkdir" | "mkdirat" => {
                if let Some(path) = self.named(arguments)?.pop() {
                    self.events.push(Event::MakeDir(path));
                }
                return Ok(());
            }
            "rename" | "renameat" | "renameat2" => return self.renamed(arguments),
            "unlink" | "unlinkat" => {
                if let Some(path) = self.named(arguments)?.pop() {
                    self.files.remove(&path);
                    self.events.push(Event::Remove(path));
                }
                return Ok(());
            }
            _ => {}
        }
        let Some(path) = self.path(arguments)? else { return Ok(()) };
        let event = match name {
            "fsync" | "fdatasync" => Event::Sync(path, began),
            "write" => Event::Write(path, None, written(arguments, result)?),
            "pwrite64" | "pwritev" => {
                Event::Write(path, Some(last_number(arguments)?), written(arguments, result)?)
            }
            "ftruncate" => Event::SetLen(path, last_number(arguments)?),
            "fallocate" => {
                let numbers: Vec<&str> = arguments.trim_end_matches(')').rsplit(", ").collect();
                ensure!(numbers.get(2) == Some(&"0"), "only plain fallocate is modelled");
                Event::Allocate(path, number(numbers[0])? + number(numbers[1])?)
            }
            other => bail!("{other} on a file is not modelled"),
        };
        self.events.push(event);
        Ok(())
    }

    fn opened(&mut self, arguments: &str, result: &str) -> Result<()> {
        let Some(path) = self.path(result)? else { return Ok(()) };
        if arguments.contains("O_CREAT") && self.files.insert(path.clone()) {
            self.events.push(Event::Create(path));
        } else if arguments.contains("O_TRUNC") {
            self.events.push(Event::SetLen(path, 0));
        }
        Ok(())
    }

    fn renamed(&mut self, arguments: &str) -> Result<()> {
        let names = self.named(arguments)?;
        if let [from, to] = names.as_slice() {
            self.files.remove(from);
            self.files.insert(to.clone());
            self.events.push(Event::Rename(from.clone(), to.clone()));
        }
        Ok(())
    }

    /// Whether a path is one of those that are followed.
    fn follows(&self, path: &Path) -> bool {
        path.starts_with(&self.root) && !path.to_string_lossy().ends_with("-shm")
    }

    /// The followed paths among a call's strings.
    fn named(&self, arguments: &str) -> Result<Vec<PathBuf>> {
        let paths = strings(arguments)?
            .into_iter()
            .map(|bytes| PathBuf::from(String::from_utf8_lossy(&bytes).into_owned()));
        Ok(paths.filter(|path| self.follows(path)).collect())
    }

    /// The followed path behind the first descriptor, by its name now.
    fn path(&self, arguments: &str) -> Result<Option<PathBuf>> {
        let first =
            arguments.split_once('<').filter(|(number, _)| number.bytes().all(|b| b.is_ascii_digit()));
        let Some((_, rest)) = first else { return Ok(None) };
        let (name, behind) = rest.split_once('>').context("a name ends")?;
        if !name.starts_with("\\x") || behind.starts_with("(deleted)") {
            return Ok(None);
        }
        let path = PathBuf::from(String::from_utf8_lossy(&unescaped(name)?).into_owned());
        Ok(self.follows(&path).then_some(path))
    }
}

/// What a write wrote: as much as its result says.
fn written(arguments: &str, result: &str) -> Result<Vec<u8>> {
    let mut bytes = strings(arguments)?.concat();
    let length = usize::try_from(number(result)?)?;
    ensure!(length <= bytes.len(), "strace cut a string off at {} of {length} bytes", bytes.len());
    bytes.truncate(length);
    Ok(bytes)
}

/// The quoted strings of a call.
fn strings(arguments: &str) -> Result<Vec<Vec<u8>>> {
    arguments.split('"').skip(1).step_by(2).map(unescaped).collect()
}

fn unescaped(text: &str) -> Result<Vec<u8>> {
    let digits =
        |pair: &str| u8::from_str_radix(pair, 16).with_context(|| format!("no hex digits: {pair:.8}"));
    text.split("\\x").skip(1).map(digits).collect()
}

fn last_number(arguments: &str) -> Result<u64> {
    number(arguments.trim_end_matches(')').rsplit(", ").next().unwrap_or_default())
}

fn number(text: &str) -> Result<u64> {
    text.trim().parse().with_context(|| format!("no number: {text:.20}"))
}

/// Status and positions of an answer: those in its headers, and those in the body of a batch's.
fn told(text: &str) -> Result<Answer> {
    let status = text.get(9..12).context("an answer has a status")?.parse()?;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let header = head.lines().filter_map(|line| line.split_once(": "));
    let of_header =
        header.filter(|(name, _)| name.eq_ignore_ascii_case("kv-position")).map(|(_, value)| value);
    let of_body = body.split("\"position\":\"").skip(1).filter_map(|rest| rest.split('"').next());
    let positions = of_header.flat_map(|value| value.split(',')).chain(of_body).map(|p| p.trim().to_owned());
    Ok(Answer { status, positions: positions.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As strace prints it.
    fn hex(text: &str) -> String {
        text.bytes().fold(String::new(), |hex, byte| hex + &format!("\\x{byte:02x}"))
    }

    #[test]
    fn a_write_of_parts_is_one_write_of_as_much_as_it_wrote() {
        let file = hex("/d/a");
        let parts = format!(
            "[{{iov_base=\"{}\", iov_len=2}}, {{iov_base=\"\", iov_len=0}}, {{iov_base=\"{}\", iov_len=3}}]",
            hex("ab"),
            hex("cde")
        );
        let trace = [
            format!("1 1.0 openat(AT_FDCWD<{}>, \"{file}\", O_RDWR|O_CREAT, 0644) = 3<{file}>", hex("/")),
            format!("1 1.1 pwritev(3<{file}>, {parts}, 3, 4096) = 4"),
        ];
        let path = PathBuf::from("/d/a");
        let expected = [Event::Create(path.clone()), Event::Write(path, Some(4096), b"abcd".to_vec())];
        assert_eq!(events(Path::new("/d"), &[trace.join("\n")]).expect("a trace"), expected);
    }

    #[test]
    fn a_sync_covers_only_what_had_ended_when_it_began_and_an_answer_counts_from_its_beginning() {
        let (file, answer) = (hex("/d/a"), hex("HTTP/1.1 202 Accepted\r\nkv-position: 1-0-7\r\n\r\n"));
        let trace = [
            format!("1 1.0 openat(AT_FDCWD<{}>, \"{file}\", O_RDWR|O_CREAT, 0644) = 3<{file}>", hex("/")),
            format!("1 1.1 pwrite64(3<{file}>, \"{}\", 2, 9 <unfinished ...>", hex("ab")),
            format!("2 1.2 fdatasync(3<{file}> <unfinished ...>"),
            "1 1.3 <... pwrite64 resumed>) = 2".to_owned(),
            format!("3 1.4 writev(9<TCP:[1]>, [{{iov_base=\"{answer}\", iov_len=40}}], 1 <unfinished ...>"),
            "2 1.5 <... fdatasync resumed>) = 0".to_owned(),
            "3 1.6 <... writev resumed>) = 40".to_owned(),
        ];
        let path = PathBuf::from("/d/a");
        let expected = [
            Event::Create(path.clone()),
            Event::Write(path.clone(), Some(9), b"ab".to_vec()),
            Event::Answer(Answer { status: 202, positions: vec!["1-0-7".to_owned()] }),
            Event::Sync(path, 1),
        ];
        assert_eq!(events(Path::new("/d"), &[trace.join("\n")]).expect("a trace"), expected);
    }
}

//! A disk that keeps what was synced, and of the rest anything.
//!
//! Not here: where the operations come from. Every file and every folder is on its own: what is kept of one says nothing
//! about another.
//! Invariant: what a sync covered is in every image.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use anyhow::{Context, Result};
use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};

use super::trace::Event;

/// The smallest and the usual unit that a disk writes whole.
const SECTORS: [usize; 2] = [512, 4096];

/// The files that a power cut left: content by path; and the folders.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// By absolute path.
    pub files: BTreeMap<PathBuf, Arc<Content>>,
    /// Absolute paths.
    pub folders: BTreeSet<PathBuf>,
}

/// What a file holds: bytes, and zeros behind them up to its length.
#[derive(Debug, Default)]
pub struct Content {
    /// No more than `length`.
    pub bytes: Vec<u8>,
    /// The file's.
    pub length: usize,
    hash: OnceLock<u64>,
}

/// The disk at some moment.
#[derive(Default)]
pub struct Disk {
    files: Vec<File>,
    names: BTreeMap<PathBuf, Node>,
    synced_names: BTreeMap<PathBuf, Node>,
    unsynced_names: BTreeMap<PathBuf, Vec<(usize, Naming)>>,
    done: usize,
}

/// How much of what was not synced an image keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing.
    Nothing,
    /// Everything.
    All,
    /// Anything: of each file and folder chosen alone.
    Some,
}

/// How one file or folder fares.
#[derive(Clone, Copy)]
enum Fate {
    /// The first so many changes are there.
    First(usize),
    /// Each is there or not.
    Each,
    /// Each is there, not, or there in parts.
    Torn,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Node {
    File(usize),
    Folder,
}

#[derive(Clone)]
enum Naming {
    Insert(PathBuf, Node),
    Move(PathBuf, PathBuf, Node),
    Remove(PathBuf),
}

#[derive(Default)]
struct File {
    /// As the running process sees it.
    length: u64,
    synced: Arc<Content>,
    unsynced: Vec<(usize, Change)>,
}

enum Change {
    Write(usize, Vec<u8>),
    SetLen(usize),
    Allocate(usize),
}

impl Disk {
    /// One more event. Answers change nothing, but count.
    ///
    /// # Errors
    /// It names a file that there is not.
    pub fn apply(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::Create(path) => {
                self.files.push(File::default());
                self.name(path, Naming::Insert(path.clone(), Node::File(self.files.len() - 1)));
            }
            Event::MakeDir(path) => self.name(path, Naming::Insert(path.clone(), Node::Folder)),
            Event::Rename(from, to) => {
                let node =
                    *self.names.get(from).with_context(|| format!("{} is not there", from.display()))?;
                self.name(to, Naming::Move(from.clone(), to.clone(), node));
            }
            Event::Remove(path) => self.name(path, Naming::Remove(path.clone())),
            Event::Write(path, position, bytes) => {
                let length = self.file(path)?.length;
                let position = position.unwrap_or(length);
                let change = Change::Write(usize::try_from(position)?, bytes.clone());
                self.change(path, change, length.max(position + bytes.len() as u64))?;
            }
            Event::SetLen(path, to) => self.change(path, Change::SetLen(usize::try_from(*to)?), *to)?,
            Event::Allocate(path, to) => {
                let length = self.file(path)?.length.max(*to);
                self.change(path, Change::Allocate(usize::try_from(*to)?), length)?;
            }
            Event::Sync(path, began) => self.sync(path, *began),
            Event::Answer(_) => {}
        }
        self.done += 1;
        Ok(())
    }

    /// What a power cut now leaves, where `keep` leaves a choice as `random` has it.
    pub fn image(&self, keep: Keep, random: &mut StdRng) -> Image {
        let mut names = self.synced_names.clone();
        for namings in self.unsynced_names.values() {
            let fate = fate(keep, namings.len(), random);
            for (at, (_, naming)) in namings.iter().enumerate() {
                if is_kept(fate, at, random) {
                    naming.apply(&mut names);
                }
            }
        }
        let mut image = Image::default();
        // Above before below: what lies in a folder that is not there is not there either.
        for (path, node) in &names {
            let above = path.parent().unwrap_or(Path::new("/"));
            if self.names_it(above) && !image.folders.contains(above) {
                continue;
            }
            match node {
                Node::Folder => drop(image.folders.insert(path.clone())),
                Node::File(file) => {
                    drop(image.files.insert(path.clone(), self.files[*file].image(keep, random)));
                }
            }
        }
        image
    }

    /// Whether a folder was made in this run, and not before it.
    fn names_it(&self, folder: &Path) -> bool {
        self.names.get(folder) == Some(&Node::Folder)
    }

    fn name(&mut self, path: &Path, naming: Naming) {
        naming.apply(&mut self.names);
        let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
        self.unsynced_names.entry(folder).or_default().push((self.done, naming));
    }

    fn file(&mut self, path: &Path) -> Result<&mut File> {
        match self.names.get(path) {
            Some(Node::File(file)) => Ok(&mut self.files[*file]),
            _ => anyhow::bail!("{} is no file", path.display()),
        }
    }

    fn change(&mut self, path: &Path, change: Change, length: u64) -> Result<()> {
        let done = self.done;
        let file = self.file(path)?;
        file.length = length;
        file.unsynced.push((done, change));
        Ok(())
    }

    fn sync(&mut self, path: &Path, began: usize) {
        if let Some(Node::File(file)) = self.names.get(path) {
            let file = &mut self.files[*file];
            let covered = file.unsynced.partition_point(|(at, _)| *at < began);
            if covered > 0 {
                let synced = Arc::make_mut(&mut file.synced);
                file.unsynced.drain(..covered).for_each(|(_, change)| change.apply(synced));
            }
        } else if let Some(namings) = self.unsynced_names.get_mut(path) {
            let covered = namings.partition_point(|(at, _)| *at < began);
            namings.drain(..covered).for_each(|(_, naming)| naming.apply(&mut self.synced_names));
        }
    }
}

fn fate(keep: Keep, changes: usize, random: &mut StdRng) -> Fate {
    match keep {
        Keep::Nothing => Fate::First(0),
        Keep::All => Fate::First(changes),
        Keep::Some => match random.random_range(0..6) {
            0 => Fate::First(0),
            1 => Fate::First(changes),
            2 => Fate::First(random.random_range(0..=changes)),
            3 => Fate::Each,
            _ => Fate::Torn,
        },
    }
}

fn is_kept(fate: Fate, at: usize, random: &mut StdRng) -> bool {
    match fate {
        Fate::First(kept) => at < kept,
        Fate::Each | Fate::Torn => random.random(),
    }
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<PathBuf, Node>) {
        match self {
            Self::Insert(path, node) => drop(names.insert(path.clone(), *node)),
            Self::Move(from, to, node) => {
                names.remove(from);
                names.insert(to.clone(), *node);
            }
            Self::Remove(path) => drop(names.remove(path)),
        }
    }
}

impl File {
    fn image(&self, keep: Keep, random: &mut StdRng) -> Arc<Content> {
        if self.unsynced.is_empty() {
            return Arc::clone(&self.synced);
        }
        let mut content = Content::clone(&self.synced);
        let fate = fate(keep, self.unsynced.len(), random);
        for (at, (_, change)) in self.unsynced.iter().enumerate() {
            match change {
                Change::Write(position, written) if matches!(fate, Fate::Torn) => {
                    content.tear(*position, written, random);
                }
                change => {
                    if is_kept(fate, at, random) {
                        change.apply(&mut content);
                    }
                }
            }
        }
        // A length that was not synced may be lost though the bytes were written.
        let least = self.synced.length;
        if keep == Keep::Some && content.length > least && random.random_ratio(1, 4) {
            let lengths = [least, random.random_range(least..content.length)];
            content.set_len(*lengths.choose(random).expect("there are two"));
        }
        Arc::new(content)
    }
}

impl Change {
    fn apply(&self, content: &mut Content) {
        match self {
            Self::Write(position, written) => content.put(*position, written),
            Self::SetLen(length) => content.set_len(*length),
            Self::Allocate(length) => content.set_len(content.length.max(*length)),
        }
    }
}

impl Content {
    fn set_len(&mut self, length: usize) {
        self.hash.take();
        self.bytes.truncate(length);
        self.length = length;
    }

    fn put(&mut self, position: usize, written: &[u8]) {
        self.hash.take();
        self.bytes.resize(self.bytes.len().max(position + written.len()), 0);
        self.bytes[position..position + written.len()].copy_from_slice(written);
        self.length = self.length.max(self.bytes.len());
    }

    /// A write of which any sectors are as they were: those of a last part, a first part, one, or any.
    fn tear(&mut self, position: usize, written: &[u8], random: &mut StdRng) {
        let sector = *SECTORS.choose(random).expect("there are two");
        let first = position / sector;
        let count = (position + written.len()).div_ceil(sector) - first;
        let (how, cut) = (random.random_range(0..4), random.random_range(0..=count));
        for at in 0..count {
            let is_kept = match how {
                0 => at < cut,
                1 => at >= cut,
                2 => at != cut,
                _ => random.random(),
            };
            if is_kept {
                let start = ((first + at) * sector).max(position) - position;
                let end = ((first + at + 1) * sector - position).min(written.len());
                self.put(position + start, &written[start..end]);
            }
        }
    }

    /// Of everything in it, made once.
    fn hash(&self) -> u64 {
        *self.hash.get_or_init(|| {
            let mut hasher = DefaultHasher::new();
            (&self.bytes, self.length).hash(&mut hasher);
            hasher.finish()
        })
    }
}

impl Clone for Content {
    fn clone(&self) -> Self {
        Self { bytes: self.bytes.clone(), length: self.length, hash: OnceLock::new() }
    }
}

impl Image {
    /// Tells one from another.
    pub fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.folders.hash(&mut hasher);
        for (path, content) in &self.files {
            (path, content.hash()).hash(&mut hasher);
        }
        hasher.finish()
    }
}

//! A disk that keeps what was synced, and of the rest anything.

use std::collections::BTreeMap;

use super::run::Operation;

/// The smallest and the usual unit that a disk writes whole.
const SECTORS: [usize; 2] = [512, 4096];

#[derive(Default)]
pub(super) struct Disk {
    files: Vec<File>,
    /// As the running process sees them.
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    unsynced_names: Vec<Naming>,
}

#[derive(Default)]
struct File {
    synced: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    SetLen(usize),
    Allocate(usize),
}

#[derive(Clone)]
enum Naming {
    Insert(String, usize),
    Move(String, String, usize),
    Remove(String),
}

impl Disk {
    pub(super) fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Create(name) => {
                self.files.push(File::default());
                self.name(Naming::Insert(name.clone(), self.files.len() - 1));
            }
            Operation::Rename(from, to) => {
                self.name(Naming::Move(from.clone(), to.clone(), self.names[from]));
            }
            Operation::Remove(name) => self.name(Naming::Remove(name.clone())),
            Operation::SyncDir => self.unsynced_names.drain(..).for_each(|n| n.apply(&mut self.synced_names)),
            Operation::Write(name, position, bytes) => {
                self.file(name).unsynced.push(Change::Write(*position, bytes.clone()));
            }
            Operation::SetLen(name, length) => self.file(name).unsynced.push(Change::SetLen(*length)),
            Operation::Allocate(name, length) => self.file(name).unsynced.push(Change::Allocate(*length)),
            Operation::Sync(name) => {
                let file = self.file(name);
                file.unsynced.drain(..).for_each(|change| change.apply(&mut file.synced));
            }
            Operation::SyncFailed => {}
        }
    }

    fn name(&mut self, naming: Naming) {
        naming.clone().apply(&mut self.names);
        self.unsynced_names.push(naming);
    }

    fn file(&mut self, name: &str) -> &mut File {
        &mut self.files[self.names[name]]
    }

    /// What a crash now may leave: the files by name.
    pub(super) fn images(&self) -> Vec<BTreeMap<String, Vec<u8>>> {
        let mut contents = vec![
            self.files.iter().map(|file| file.synced.clone()).collect::<Vec<_>>(),
            self.files.iter().map(File::all).collect(),
        ];
        for (at, file) in self.files.iter().enumerate() {
            for variant in file.variants() {
                contents.push(self.files.iter().map(File::all).collect());
                contents.last_mut().unwrap()[at] = variant;
            }
        }
        let mut images = Vec::new();
        for namings in subsets(&self.unsynced_names) {
            let mut names = self.synced_names.clone();
            for naming in namings {
                naming.apply(&mut names);
            }
            for contents in &contents {
                images.push(names.iter().map(|(name, at)| (name.clone(), contents[*at].clone())).collect());
            }
        }
        images.sort();
        images.dedup();
        images
    }
}

impl Naming {
    fn apply(self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Insert(name, file) => drop(names.insert(name, file)),
            Self::Move(from, to, file) => {
                names.remove(&from);
                names.insert(to, file);
            }
            Self::Remove(name) => drop(names.remove(&name)),
        }
    }
}

impl Change {
    fn apply(self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(position, written) => {
                bytes.resize(bytes.len().max(position + written.len()), 0);
                bytes[position..position + written.len()].copy_from_slice(&written);
            }
            Self::SetLen(length) => bytes.resize(length, 0),
            Self::Allocate(length) => bytes.resize(bytes.len().max(length), 0),
        }
    }
}

impl File {
    fn with(&self, changes: impl IntoIterator<Item = Change>) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        changes.into_iter().for_each(|change| change.apply(&mut bytes));
        bytes
    }

    fn all(&self) -> Vec<u8> {
        self.with(self.unsynced.clone())
    }

    /// Any of the unsynced changes without the others; and the last write with any one sector, or all sectors
    /// from one on, as they were before.
    fn variants(&self) -> Vec<Vec<u8>> {
        let mut variants: Vec<_> = subsets(&self.unsynced).into_iter().map(|some| self.with(some)).collect();
        let Some(Change::Write(position, written)) = self.unsynced.last() else { return variants };
        let before = self.with(self.unsynced[..self.unsynced.len() - 1].iter().cloned());
        let after = self.all();
        let before = [before, vec![0; after.len()]].concat();
        for sector in SECTORS {
            for start in (position / sector * sector..position + written.len()).step_by(sector) {
                for end in [(start + sector).min(after.len()), after.len()] {
                    let mut torn = after.clone();
                    torn[start..end].copy_from_slice(&before[start..end]);
                    variants.push(torn);
                }
            }
        }
        variants
    }
}

/// Every choice of some of these, in order; of many, only of the last few.
fn subsets<T: Clone>(all: &[T]) -> Vec<Vec<T>> {
    let (first, last) = all.split_at(all.len().saturating_sub(5));
    let chosen = |bits: usize| last.iter().enumerate().filter(move |(at, _)| bits >> at & 1 == 1);
    (0..1 << last.len())
        .map(|bits| first.iter().chain(chosen(bits).map(|(_, item)| item)).cloned().collect())
        .collect()
}

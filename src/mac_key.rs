//! The file with the key that signs control records, and those beside it with keys that only verify.
//!
//! `mac.key` has number 1; `mac.key.2` has number 2, and so on.
//! Invariant: a key is written whole and synced before it has its name, and one that was lost is never made anew: what
//! it has signed would all look forged.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use millpond_api::CursorKey;
use millpond_schemas::Keyring;

/// The only key's id.
const ID: u32 = 1;
const WITHOUT: &str = "restore it from a backup, or copy it from another process of the deployment (`millpond init` has \
                       made it): it signs control records and cursors";

/// Reads the key; at the first start makes one where there is none.
pub fn read(path: &Path, first_start: bool) -> Result<Keyring> {
    if first_start && !path.try_exists()? {
        make(path).with_context(|| format!("make {}", path.display()))?;
    }
    let mut keyring = Keyring::new(ID, key(path)?);
    for (id, path) in beside(path).with_context(|| format!("look beside {}", path.display()))? {
        keyring = keyring.with(id, key(&path)?);
    }
    Ok(keyring)
}

fn key(path: &Path) -> Result<[u8; 32]> {
    let bytes = fs::read(path).with_context(|| format!("read {}: {WITHOUT}", path.display()))?;
    let Ok(key) = <[u8; 32]>::try_from(bytes) else {
        bail!("{} is not 32 bytes: {WITHOUT}", path.display());
    };
    Ok(key)
}

/// Files of other keys: its name, a dot, and a number without leading zeros.
fn beside(path: &Path) -> io::Result<Vec<(u32, PathBuf)>> {
    let mut found = Vec::new();
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Ok(found) };
    for entry in fs::read_dir(folder(path))? {
        let entry = entry?;
        let file = entry.file_name();
        let number = file.to_str().and_then(|file| file.strip_prefix(name)?.strip_prefix('.'));
        let id = number.and_then(|number| number.parse().ok().filter(|id: &u32| id.to_string() == number));
        found.extend(id.filter(|id| *id > ID).map(|id| (id, entry.path())));
    }
    Ok(found)
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What seals the cursors of a deployment's queries.
pub fn cursors(keyring: &Keyring) -> CursorKey {
    CursorKey::new(keyring.derived("millpond cursor"))
}

fn make(path: &Path) -> Result<()> {
    let new = path.with_extension("key.new");
    let folder = folder(path);
    fs::create_dir_all(folder)?;
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(&rand::random::<[u8; 32]>())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    fs::File::open(folder)?.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_beside_the_current_one_are_held() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("mac.key");
        fs::write(&path, [1; 32]).unwrap();
        for (name, byte) in [("mac.key.2", 2), ("mac.key.02", 3), ("mac.key.new", 4), ("mac.key.1", 5)] {
            fs::write(dir.path().join(name), [byte; 32]).unwrap();
        }
        let keyring = read(&path, false).unwrap();
        let held: Vec<u32> = (0..9).filter(|id| keyring.holds(*id).is_ok()).collect();
        assert_eq!((held, keyring.current()), (vec![1, 2], 1));
        let other = Keyring::new(2, [2; 32]);
        assert_eq!(keyring.sign(2, b"x"), other.sign(2, b"x"));
        fs::write(dir.path().join("mac.key.2"), [2; 31]).unwrap();
        assert!(read(&path, false).map(drop).unwrap_err().to_string().contains("not 32 bytes"));
    }
}

//! One more token in the file.
//!
//! Invariant: readers see the file as it was or with the whole of the new token, and nobody but its owner can read it.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, chown},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use millpond_api::{Tenants, Token, show_time};
use millpond_schemas::Tenant;

use crate::settings::quote;

/// A table `[[token]]`.
pub fn block(token: &Token) -> String {
    let list = |items: Vec<&str>| {
        let items: Vec<String> = items.into_iter().map(quote).collect();
        format!("[{}]", items.join(", "))
    };
    let mut lines = vec!["[[token]]".to_owned()];
    lines.extend(token.name.as_ref().map(|name| format!("name = {}", quote(name))));
    lines.push(format!("hash = \"{}\"", token.hash));
    match &token.tenants {
        Tenants::Any => lines.push(format!("tenant = \"{}\"", super::ANY)),
        Tenants::These(tenants) if tenants.is_empty() => {}
        Tenants::These(tenants) => match &tenants[..] {
            [tenant] => lines.push(format!("tenant = {}", quote(tenant.as_str()))),
            tenants => {
                lines.push(format!("tenants = {}", list(tenants.iter().map(Tenant::as_str).collect())));
            }
        },
    }
    lines.push(format!("scopes = {}", list(token.scopes.iter().map(|scope| scope.word()).collect())));
    lines.extend(token.expires_at.map(|at| format!("expires_at = {}", show_time(at))));
    lines.join("\n") + "\n"
}

/// Appends a token to the file, which it makes when there is none.
///
/// # Errors
/// [`crate::settings::SettingsError`] in the chain: the file is unsafe or wrong as it is; else the system's.
pub fn append(path: &Path, token: &Token) -> Result<()> {
    let path = real(path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Two at once would each leave out the other's.
    let folder = File::open(folder).with_context(|| format!("open {}", folder.display()))?;
    folder.lock().context("lock the folder of the file")?;
    let before = match fs::metadata(&path) {
        Ok(metadata) => Some(metadata),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("look at {}", path.display())),
    };
    let mut text = if before.is_some() { super::load(&path)? } else { String::new() };
    if !text.trim().is_empty() {
        let gap = if text.ends_with('\n') { "\n" } else { "\n\n" };
        text.push_str(gap);
    }
    text.push_str(&block(token));
    super::parse(&path, &text)?;
    let mut name = path.clone().into_os_string();
    name.push(format!(".{:016x}", rand::random::<u64>()));
    let new = PathBuf::from(name);
    let replaced =
        write(&new, &text, before.as_ref()).and_then(|()| fs::rename(&new, &path).context("rename it"));
    if replaced.is_err() {
        // Nothing to be done where even that fails.
        let _left = fs::remove_file(&new);
    }
    replaced.with_context(|| format!("write {}", path.display()))?;
    folder.sync_all().context("sync the folder of the file")
}

/// Where a link leads, so that it stays one.
fn real(path: &Path) -> Result<PathBuf> {
    match fs::canonicalize(path) {
        Ok(real) => Ok(real),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(path.to_owned()),
        Err(error) => Err(error).with_context(|| format!("look at {}", path.display())),
    }
}

fn write(path: &Path, text: &str, before: Option<&fs::Metadata>) -> Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    let own = file.metadata()?;
    if let Some(before) = before
        && (before.uid(), before.gid()) != (own.uid(), own.gid())
    {
        // The server that reads it may be another user.
        chown(path, Some(before.uid()), Some(before.gid())).context("give it to the file's owner")?;
    }
    Ok(file.sync_all()?)
}

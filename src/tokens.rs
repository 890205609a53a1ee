//! The file with what is known of each token: tables `[[token]]` with a hash, never a token itself.
//!
//! Not here: judging a call. Invariant: a file that others may read or change is not used, and no message holds a
//! value of it.

mod append;
mod follow;
#[cfg(test)]
mod tests;

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use millpond_api::{Scope, Tenants, Token, TokenHash, Tokens, parse_time};
use millpond_schemas::{Tenant, UnixMillis};
use toml::de::{DeArray, DeTable, DeValue};

pub use append::{append, block};
pub use follow::{Follower, open};

use crate::settings::{SettingsError, closest, line_of};

/// Largest file, bytes: far above a token for each of many thousands.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Longest name of a token, characters.
const NAME_CHARS_MAX: usize = 64;
const MEMBERS: [&str; 6] = ["hash", "tenant", "tenants", "scopes", "name", "expires_at"];
const TENANT_RULE: &str = "1 to 63 of a-z 0-9 _ -, beginning with a letter or digit";
/// In place of a tenant: any.
const ANY: &str = "*";

/// Reads the file.
///
/// # Errors
/// [`SettingsError::Unsafe`]: others may read or change it. [`SettingsError::Invalid`]: it cannot be read, is wrong, or
/// holds no token.
pub fn read(path: &Path) -> Result<Tokens, SettingsError> {
    parse(path, &load(path)?)
}

/// The text of a file that only its owner may read and change.
fn load(path: &Path) -> Result<String, SettingsError> {
    let told = |error: &io::Error| {
        SettingsError::Invalid(vec![format!("{}: cannot be read: {error}", path.display())])
    };
    let file = File::open(path).map_err(|error| told(&error))?;
    let mode = file.metadata().map_err(|error| told(&error))?.permissions().mode();
    if mode & 0o077 != 0 {
        let path = path.display();
        let why = format!("{path}: others may read or change it; run: chmod 600 {path}");
        return Err(SettingsError::Unsafe(why));
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(|error| told(&error))?;
    Ok(text)
}

fn parse(path: &Path, text: &str) -> Result<Tokens, SettingsError> {
    let tokens = parse_any(path, text)?;
    if tokens.is_empty() {
        let path = path.display();
        return Err(SettingsError::Invalid(vec![format!(
            "{path}: there is no [[token]] in it; run: millpond token new --tenant T --scope read --file {path}"
        )]));
    }
    Ok(tokens)
}

/// The same; there may be none.
fn parse_any(path: &Path, text: &str) -> Result<Tokens, SettingsError> {
    let at = |byte: usize| format!("{}:{}", path.display(), line_of(text, byte));
    let table = DeTable::parse(text).map_err(|error| {
        let place = at(error.span().map_or(0, |span| span.start));
        SettingsError::Invalid(vec![format!("{place}: {}", error.message())])
    })?;
    let (mut tokens, mut problems) = (Vec::new(), Vec::new());
    for (key, value) in table.get_ref() {
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("token", DeValue::Array(tables)) => {
                for table in tables {
                    let read = match table.get_ref() {
                        DeValue::Table(table) => token(table),
                        _ => Err("token is not a table such as [[token]]".to_owned()),
                    };
                    let place = at(table.span().start);
                    read.map_or_else(
                        |why| problems.push(format!("{place}: {why}")),
                        |token| tokens.push(token),
                    );
                }
            }
            ("token", _) => {
                problems.push(format!("{}: token is not a table [[token]]", at(key.span().start)));
            }
            (name, _) => {
                problems.push(format!("{}: {}", at(key.span().start), unknown("", name, &["token"])));
            }
        }
    }
    if !problems.is_empty() {
        return Err(SettingsError::Invalid(problems));
    }
    Tokens::new(tokens).map_err(|hash| {
        SettingsError::Invalid(vec![format!("{}: the token {hash} is there twice", path.display())])
    })
}

fn unknown(section: &str, name: &str, known: &[&str]) -> String {
    let meant = closest(name, known.iter().copied());
    let hint = meant.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
    format!("unknown key {section}{name}{hint}")
}

fn token(table: &DeTable<'_>) -> Result<Token, String> {
    let (mut hash, mut tenants, mut scopes, mut name, mut expires_at) = (None, None, None, None, None);
    for (key, value) in table {
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("hash", value) => {
                let read = value.as_str().and_then(TokenHash::parse);
                hash = Some(read.ok_or("token.hash is not sha256: and 64 hexadecimal digits")?);
            }
            ("tenant" | "tenants", _) if tenants.is_some() => {
                return Err("a token has tenant or tenants, not both".to_owned());
            }
            ("tenant", DeValue::String(text)) if text == ANY => tenants = Some(Tenants::Any),
            ("tenant", value) => tenants = Some(Tenants::These(vec![tenant(value)?])),
            ("tenants", DeValue::Array(items)) if !items.is_empty() => {
                let tenants_of = items.iter().map(|item| tenant(item.get_ref()));
                tenants = Some(Tenants::These(tenants_of.collect::<Result<_, _>>()?));
            }
            ("tenants", _) => return Err("token.tenants is not a list of tenants".to_owned()),
            ("scopes", DeValue::Array(items)) => scopes = Some(scopes_of(items)?),
            ("name", value) => name = Some(name_of(value)?),
            ("expires_at", value) => expires_at = Some(moment(value)?),
            ("scopes", _) => return Err("token.scopes is not a list of read, write, admin".to_owned()),
            (name, _) => return Err(unknown("token.", name, &MEMBERS)),
        }
    }
    let scopes =
        scopes.filter(|scopes| !scopes.is_empty()).ok_or("a token has scopes: read, write, admin")?;
    let tenants = match tenants {
        Some(tenants) => tenants,
        None if scopes == [Scope::Admin] => Tenants::These(Vec::new()),
        None => return Err("a token has a tenant, unless admin is all that it may do".to_owned()),
    };
    Ok(Token { hash: hash.ok_or("a token has a hash")?, tenants, scopes, name, expires_at })
}

fn tenant(value: &DeValue<'_>) -> Result<Tenant, String> {
    let tenant = value.as_str().and_then(|text| Tenant::new(text.to_owned()).ok());
    tenant.ok_or_else(|| format!("a tenant is {TENANT_RULE}; or tenant = \"{ANY}\" for any"))
}

fn scopes_of(items: &DeArray<'_>) -> Result<Vec<Scope>, String> {
    let scope = |item: &DeValue<'_>| item.as_str().and_then(Scope::parse);
    let scopes: Option<Vec<_>> = items.iter().map(|item| scope(item.get_ref())).collect();
    scopes.ok_or_else(|| "token.scopes holds something else than read, write, admin".to_owned())
}

fn name_of(value: &DeValue<'_>) -> Result<String, String> {
    let name = value.as_str().filter(|name| is_name(name)).map(str::to_owned);
    name.ok_or_else(|| format!("token.name is not 1 to {NAME_CHARS_MAX} printable ASCII characters"))
}

/// Whether logs can call a token so.
pub fn is_name(name: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&name.len()) && name.bytes().all(|b| (b' '..=b'~').contains(&b))
}

fn moment(value: &DeValue<'_>) -> Result<UnixMillis, String> {
    let text = match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Datetime(moment) => moment.to_string(),
        _ => String::new(),
    };
    parse_time(&text).ok_or_else(|| "token.expires_at is not such as 2030-01-31T12:00:00Z".to_owned())
}

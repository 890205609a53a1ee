//! `millpond token`: makes tokens, and hashes of them for the server's file.
//!
//! Invariant: a token is printed once, on standard output, and kept nowhere.

use std::{
    io::{self, Read, Write},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::{Args, Subcommand, ValueEnum};
use millpond::tokens;
use millpond_api::{Scope, Tenants, Token, TokenHash};
use millpond_log::Clock;
use millpond_schemas::{Tenant, UnixMillis, limits::EXPIRES_AT_MS_MAX};

use crate::{
    client_args::duration,
    exit::{Exit, Misuse},
    output,
};

const EXAMPLES: &str = "\
Examples:
  umask 077; millpond token new --tenant acme --scope read --scope write --file tokens.toml > acme.token
  millpond --tokens-file tokens.toml                       serve with it, and in another terminal:
  millpond put greeting hello --token-file acme.token
  millpond token new --scope admin --name ops --expires 90d --file tokens.toml
  millpond token new --tenant acme --scope read > acme.token 2>> tokens.toml
  millpond token hash < acme.token                         of a token that was made elsewhere
  millpond token list --file tokens.toml

A running server follows its file: a token counts within two seconds, and one that is taken out of it no longer does.";

/// What tokens begin with, so that a scan for secrets finds one that leaked.
const PREFIX: &str = "mlp_";
const TOKEN_BYTES: usize = 32;
/// Shortest token that is hashed, characters: a short one could be found from its hash.
const TOKEN_CHARS_MIN: usize = 32;
/// Longest, characters: a server looks at no more.
const TOKEN_CHARS_MAX: usize = 512;

/// Arguments of `token`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a token: it goes to standard output, what the server needs of it to standard error or into a file
    #[command(after_help = EXAMPLES)]
    New(NewArgs),
    /// Read a token from standard input and print its hash
    #[command(after_help = EXAMPLES)]
    Hash,
    /// Print what a file says of each of its tokens
    #[command(after_help = EXAMPLES)]
    List {
        /// The server's file of tokens
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
struct NewArgs {
    /// Whose keys it is for; several times for several, the first of which a call means that names none; * for any
    #[arg(long, value_name = "TENANT")]
    tenant: Vec<String>,
    /// What it allows; several times for several
    #[arg(long, value_enum, required = true)]
    scope: Vec<ScopeArg>,
    /// What the server's log calls it
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// How long it is valid [default: for ever]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    expires: Option<Duration>,
    /// Append it to the server's file of tokens, which is made when there is none
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ScopeArg {
    /// Calls that change nothing
    Read,
    /// Calls that change something
    Write,
    /// /admin on the ops listener
    Admin,
}

/// Makes, hashes or lists.
pub(crate) fn run(args: TokenArgs) -> Result<Exit> {
    match args.what {
        What::New(args) => new(args)?,
        What::Hash => {
            let mut text = String::new();
            let most = u64::try_from(TOKEN_CHARS_MAX + 2).expect("a small number");
            io::stdin().take(most).read_to_string(&mut text).context("read standard input")?;
            output::line(&hash_of(text.trim_end_matches(['\n', '\r']))?.to_string())?;
        }
        What::List { file } => list(&file)?,
    }
    Ok(Exit::Done)
}

fn new(args: NewArgs) -> Result<()> {
    let secret = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; TOKEN_BYTES]>()));
    let file = args.file.clone();
    let token = token(args, TokenHash::of(secret.as_bytes()))?;
    match file {
        // The server knows it before anybody has it.
        Some(file) => tokens::append(&file, &token).context("append the token")?,
        None => io::stderr().write_all(tokens::block(&token).as_bytes())?,
    }
    Ok(output::line(&secret)?)
}

fn token(args: NewArgs, hash: TokenHash) -> Result<Token, Misuse> {
    let mut scopes = Vec::new();
    for scope in args.scope {
        let scope = match scope {
            ScopeArg::Read => Scope::Read,
            ScopeArg::Write => Scope::Write,
            ScopeArg::Admin => Scope::Admin,
        };
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    if let Some(name) = args.name.as_deref().filter(|name| !tokens::is_name(name)) {
        return Err(Misuse(format!("--name {name:?} is not 1 to 64 printable ASCII characters")));
    }
    let expires_at = args.expires.map(expiry).transpose()?;
    Ok(Token { hash, tenants: tenants(&args.tenant, &scopes)?, scopes, name: args.name, expires_at })
}

fn tenants(names: &[String], scopes: &[Scope]) -> Result<Tenants, Misuse> {
    match names {
        [] if scopes == [Scope::Admin] => Ok(Tenants::These(Vec::new())),
        [] => Err(Misuse("say whose keys it is for, with --tenant".to_owned())),
        [any] if any == "*" => Ok(Tenants::Any),
        names => {
            let tenant = |name: &String| {
                Tenant::new(name.clone()).map_err(|error| Misuse(format!("--tenant {name:?}: {error}")))
            };
            Ok(Tenants::These(names.iter().map(tenant).collect::<Result<_, _>>()?))
        }
    }
}

fn expiry(after: Duration) -> Result<UnixMillis, Misuse> {
    let far = || Misuse("--expires is longer than any calendar".to_owned());
    let after_ms = i64::try_from(after.as_millis()).map_err(|_| far())?;
    let at =
        Clock::System.now().0.checked_add(after_ms).filter(|at| *at <= EXPIRES_AT_MS_MAX).ok_or_else(far)?;
    // To the second: it is read by people.
    Ok(UnixMillis(at / 1000 * 1000))
}

fn hash_of(secret: &str) -> Result<TokenHash, Misuse> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    let sound = (TOKEN_CHARS_MIN..=TOKEN_CHARS_MAX).contains(&secret.len()) && secret.bytes().all(plain);
    if sound {
        return Ok(TokenHash::of(secret.as_bytes()));
    }
    let why =
        format!("a token is {TOKEN_CHARS_MIN} to {TOKEN_CHARS_MAX} characters of A-Z a-z 0-9 - . _ ~ + / =");
    Err(Misuse(why))
}

fn list(file: &std::path::Path) -> Result<()> {
    let known = tokens::read(file)?;
    let mut lines: Vec<String> = known.iter().map(tokens::block).collect();
    lines.sort_unstable();
    Ok(output::line(lines.join("\n").trim_end())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_could_be_guessed_from_its_hash_is_refused() {
        assert!(hash_of(&"x".repeat(32)).is_ok());
        for bad in
            ["", "short", &"x".repeat(513), &" ".repeat(40), &"é".repeat(40), &format!("{:x<40}\n", "")]
        {
            assert!(hash_of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_an_admin_is_nobodys() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(tenants(&[], &[Scope::Admin]).ok(), Some(Tenants::These(Vec::new())));
        assert!(tenants(&[], &[Scope::Admin, Scope::Read]).is_err());
        assert_eq!(tenants(&names(&["*"]), &[Scope::Read]).ok(), Some(Tenants::Any));
        assert!(tenants(&names(&["a", "*"]), &[Scope::Read]).is_err());
        assert!(tenants(&names(&["A"]), &[Scope::Read]).is_err());
    }
}

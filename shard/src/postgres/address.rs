//! An address and what makes a connection of it.
//!
//! Invariant: no password is part of an address, an error or a log line.

use std::{fmt, str::FromStr};

use sqlx::{ConnectOptions, postgres::PgConnectOptions};

use super::PostgresConfig;

/// Parameters that an address may have.
const PARAMETERS: [&str; 5] = ["host", "sslmode", "sslrootcert", "sslcert", "sslkey"];

/// A password; never shown.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    /// Keeps `text` from being shown.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// Why an address is none. Holds nothing of the address: there may be a password in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressInvalid {
    /// It carries a secret.
    #[error("an address holds no password: put it into the file that PGPASSFILE names, or into PGPASSWORD")]
    Password,
    /// It is no address, or says too little.
    #[error("an address is postgres://user@host:port/database")]
    Shape,
    /// An unknown parameter.
    #[error("an address has no parameter but host, sslmode, sslrootcert, sslcert and sslkey")]
    Parameter,
}

/// Checks the address. The password is looked for anew each time, so that one that was changed is found.
pub(super) fn options(config: &PostgresConfig) -> Result<PgConnectOptions, AddressInvalid> {
    check(&config.address)?;
    let options = PgConnectOptions::from_str(&config.address).map_err(|_| AddressInvalid::Shape)?;
    let options = match &config.password {
        Some(Password(password)) => options.password(password),
        None => options,
    };
    Ok(options.application_name(&config.application_name).disable_statement_logging())
}

fn check(address: &str) -> Result<(), AddressInvalid> {
    let schemes = ["postgres://", "postgresql://"];
    let rest = schemes.iter().find_map(|scheme| address.strip_prefix(scheme)).ok_or(AddressInvalid::Shape)?;
    let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    // A password may hold any of these unescaped, so it is looked for in all that comes before the last `@`.
    if rest.rsplit_once('@').is_some_and(|(user, _)| user.contains(':')) {
        return Err(AddressInvalid::Password);
    }
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        let name = parameter.split_once('=').map_or(parameter, |(name, _)| name);
        match name {
            "password" => return Err(AddressInvalid::Password),
            name if !PARAMETERS.contains(&name) => return Err(AddressInvalid::Parameter),
            _ => {}
        }
    }
    let (server, database) = place.split_once('/').ok_or(AddressInvalid::Shape)?;
    let (user, host) = server.rsplit_once('@').ok_or(AddressInvalid::Shape)?;
    if user.is_empty() || database.is_empty() || host.is_empty() {
        Err(AddressInvalid::Shape)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::Kind;

    fn of(address: &str) -> Result<PgConnectOptions, AddressInvalid> {
        options(&PostgresConfig::new(address, Kind::Primary))
    }

    #[test]
    fn an_address_names_user_place_and_database() {
        let there = of("postgres://me@db.example:5433/pond?sslmode=disable").unwrap();
        assert_eq!((there.get_username(), there.get_host(), there.get_port()), ("me", "db.example", 5433));
        assert_eq!((there.get_database(), there.get_application_name()), (Some("pond"), Some("millpond")));
        let socket = of("postgres://me@localhost/pond?host=/run/postgresql").unwrap();
        assert_eq!(socket.get_socket().map(PathBuf::as_path), Some(Path::new("/run/postgresql")));
        // No URL has a user and no host.
        assert_eq!(of("postgres://me@/pond?host=/run/postgresql").unwrap_err(), AddressInvalid::Shape);
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_not_repeated() {
        for address in [
            "postgres://me:hunter2@host/pond",
            "postgres://me:hunter/2@host/pond",
            "postgres://me:hunter@2?@host/pond",
            "postgres://me:@host/pond",
            "postgresql://me@host/pond?sslmode=disable&password=hunter2",
        ] {
            let error = of(address).unwrap_err();
            assert_eq!(error, AddressInvalid::Password, "{address}");
            assert!(error.to_string().contains("PGPASSFILE") && !error.to_string().contains("hunter"));
        }
        let mut config = PostgresConfig::new("postgres://me@host/pond", Kind::Primary);
        config.password = Some(Password::new("hunter2"));
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn other_texts_are_no_addresses() {
        for address in [
            "",
            "host",
            "mysql://me@host/pond",
            "postgres://host/pond",
            "postgres://me@host",
            "postgres://me@/pond",
        ] {
            assert_eq!(of(address).unwrap_err(), AddressInvalid::Shape, "{address}");
        }
        assert_eq!(of("postgres://me@host/pond?pass%77ord=x").unwrap_err(), AddressInvalid::Parameter);
        assert_eq!(of("postgres://me@host/pond?options=-cx").unwrap_err(), AddressInvalid::Parameter);
    }
}

//! What Postgres' SQLSTATEs mean for the caller. The codes: postgresql.org/docs/current/errcodes-appendix.html.

use sqlx::error::DatabaseError;

use crate::{
    Error,
    error::{Class, classify},
};

/// Turns sqlx's error into ours, for `map_err`.
pub(super) fn during(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Error {
    move |error| classify(doing, error, class)
}

pub(super) const LOCK_NOT_AVAILABLE: &str = "55P03";
pub(super) const UNDEFINED_TABLE: &str = "42P01";
pub(super) const NO_DATABASE: &str = "3D000";
/// A user that may not come in: unknown, or its password is another one.
pub(super) const NO_LOGIN: [&str; 2] = ["28000", "28P01"];
pub(super) const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// Whether it is the database that says this.
pub(super) fn says(error: &sqlx::Error, code: &str) -> bool {
    error.as_database_error().and_then(DatabaseError::code).is_some_and(|said| said == code)
}

fn class(error: &dyn DatabaseError) -> Class {
    let code = error.code().unwrap_or_default();
    // A table was altered since the statement was prepared; on a new connection it is prepared anew.
    let replanned = code == "0A000" && error.message().contains("cached plan");
    if replanned { Class::Unavailable } else { by_code(&code) }
}

fn by_code(code: &str) -> Class {
    match (code.get(..2).unwrap_or_default(), code) {
        // Connections; rollbacks, recovery conflicts among them; resources; locks; operators; the system.
        // And: a replica, or one that was a primary; a transaction that waited too long for its client.
        ("08" | "40" | "53" | "55" | "57" | "58", _) | (_, "25006" | "25P03" | "25P04") => Class::Unavailable,
        // A value; a constraint; a limit of the program.
        ("22" | "23" | "54", _) => Class::Refused,
        // Data or an index is corrupted.
        (_, "XX001" | "XX002") => Class::Corrupt,
        _ => Class::Schema,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_mean_what_the_caller_does_next() {
        let cases = [
            (
                Class::Unavailable,
                vec![
                    "08006", "40001", "40P01", "53100", "53300", "55P03", "57014", "57P01", "57P03", "58030",
                    "25006", "25P03",
                ],
            ),
            (Class::Refused, vec!["22021", "23505", "23514", "54000"]),
            (Class::Corrupt, vec!["XX001", "XX002"]),
            (Class::Schema, vec!["42501", "42P01", "42703", "28P01", "3D000", "0A000", "XX000", "25P02", ""]),
        ];
        for (class, codes) in cases {
            for code in codes {
                assert_eq!(by_code(code), class, "{code}");
            }
        }
    }
}

//! A bearer token: read from where nobody else can, and shown nowhere.
//!
//! Invariant: it has neither Debug nor Display, and the header that carries it is marked as sensitive.

use std::{fs::File, io::Read, path::Path};

use http::HeaderValue;
use xxhash_rust::xxh3::xxh3_64;

use crate::Error;

/// Longest token, bytes: a server looks at no more.
const BYTES_MAX: usize = 512;
/// Largest file that is read, bytes: a token, and room to see that there is more than one.
const FILE_BYTES_MAX: u64 = 4096;

/// What lets a client in. Sent with every call.
#[derive(Clone)]
pub struct Token(HeaderValue);

impl Token {
    /// Takes a token as `millpond token new` printed it.
    ///
    /// # Errors
    /// [`Error::Invalid`]: it is none. Does not tell it.
    pub fn new(token: &str) -> Result<Self, Error> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
        if !(1..=BYTES_MAX).contains(&token.len()) || !token.bytes().all(plain) {
            let why = format!(
                "a token is 1 to {BYTES_MAX} characters of A-Z a-z 0-9 - . _ ~ + / =, and nothing else"
            );
            return Err(Error::invalid(why));
        }
        let mut value = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| Error::invalid("a token is printable ASCII"))?;
        value.set_sensitive(true);
        Ok(Self(value))
    }

    /// Reads a file that holds a token and nothing else but a newline.
    ///
    /// # Errors
    /// [`Error::Invalid`]: it cannot be read, others may read or change it, or it holds no token.
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        let shown = path.display();
        let unreadable = |error| Error::invalid(format!("the token file {shown} cannot be read: {error}"));
        let file = File::open(path).map_err(unreadable)?;
        refuse_shared(&file.metadata().map_err(unreadable)?, path)?;
        let mut text = String::new();
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
        let token = Self::new(text.trim_end_matches(['\n', '\r']));
        token.map_err(|error| Error::invalid(format!("the token file {shown}: {error}")))
    }

    /// The value of `Authorization`.
    pub(crate) fn header(&self) -> &HeaderValue {
        &self.0
    }

    /// Tells tokens apart, and says nothing of them: 64 bits of more than 200.
    pub(crate) fn fingerprint(&self) -> u64 {
        xxh3_64(self.0.as_bytes())
    }
}

#[cfg(unix)]
fn refuse_shared(metadata: &std::fs::Metadata, path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    if metadata.permissions().mode() & 0o077 != 0 {
        let path = path.display();
        let why = format!("others may read or change the token file {path}; run: chmod 600 {path}");
        return Err(Error::invalid(why));
    }
    Ok(())
}

#[cfg(not(unix))]
fn refuse_shared(_: &std::fs::Metadata, _: &Path) -> Result<(), Error> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_token_is_refused_untold() {
        for bad in ["", "a b", "a\nb", "é", &"x".repeat(513), "SECRET\n"] {
            let Err(Error::Invalid(why)) = Token::new(bad) else { panic!("{bad} is refused") };
            assert!(!why.contains("SECRET"), "{why}");
        }
        let token = Token::new("mlp_A-z.0_9~+/=").ok().unwrap();
        assert_eq!(token.header(), "Bearer mlp_A-z.0_9~+/=");
        assert!(token.header().is_sensitive());
        assert_eq!(format!("{:?}", token.header()), "Sensitive");
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_may_read_is_refused_with_what_to_type() {
        use std::{fs, os::unix::fs::PermissionsExt};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, "SECRET\r\n").unwrap();
        for (mode, taken) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o622, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let read = Token::from_file(&path).map(|token| token.header().clone());
            match read {
                Ok(header) => assert!(taken && header == "Bearer SECRET", "{mode:o}"),
                Err(error) => {
                    let why = error.to_string();
                    assert!(
                        !taken && why.contains("chmod 600") && !why.contains("SECRET"),
                        "{mode:o}: {why}"
                    );
                }
            }
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "SECRET\nSECRET\n").unwrap();
        let Err(Error::Invalid(why)) = Token::from_file(&path) else { panic!("two lines are refused") };
        assert!(!why.contains("SECRET"), "{why}");
        assert!(Token::from_file(&dir.path().join("none")).is_err());
    }
}

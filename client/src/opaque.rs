//! Bytes in JSON: a string where they are UTF-8, else base64 under `<name>_b64`.
//!
//! Invariant: what is inserted is taken out again, byte for byte.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::{Map, Value};

use crate::Error;

/// Adds bytes under the name that says how they stand.
pub(crate) fn insert(to: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => to.insert(name.to_owned(), text.into()),
        Err(_) => to.insert(format!("{name}_b64"), STANDARD.encode(bytes).into()),
    };
}

/// Takes the bytes of one of two fields, of which at most one may be there.
pub(crate) fn either(text: Option<String>, base64: Option<&str>) -> Result<Option<Bytes>, Error> {
    match (text, base64) {
        (None, None) => Ok(None),
        (Some(text), None) => Ok(Some(text.into())),
        (None, Some(base64)) => {
            let bytes = STANDARD.decode(base64);
            bytes.map(|bytes| Some(bytes.into())).map_err(|_| Error::Protocol("base64 that is none".into()))
        }
        (Some(_), Some(_)) => Err(Error::Protocol("bytes that come twice".into())),
    }
}

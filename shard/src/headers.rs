//! A record's headers as one column: per header a 4-byte length and the name, a 4-byte length and the value.
//!
//! Invariant: what was packed comes back equal, in order; other bytes are refused, never a panic.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use millpond_schemas::ByteString;

/// A `headers` column is not one.
#[derive(Debug, thiserror::Error)]
#[error("packed headers cannot be read")]
pub(crate) struct HeadersInvalid;

pub(crate) fn pack(headers: &[(ByteString, Bytes)]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    let mut part = |part: &[u8]| {
        bytes.put_u32(u32::try_from(part.len()).expect("a record is far below 4 GiB"));
        bytes.put_slice(part);
    };
    for (name, value) in headers {
        part(name.as_bytes());
        part(value);
    }
    bytes.into()
}

pub(crate) fn unpack(mut bytes: Bytes) -> Result<Vec<(ByteString, Bytes)>, HeadersInvalid> {
    let mut headers = Vec::new();
    while bytes.has_remaining() {
        let name = ByteString::try_from(take(&mut bytes)?).map_err(|_| HeadersInvalid)?;
        headers.push((name, take(&mut bytes)?));
    }
    Ok(headers)
}

fn take(bytes: &mut Bytes) -> Result<Bytes, HeadersInvalid> {
    let length = bytes.try_get_u32().map_err(|_| HeadersInvalid)? as usize;
    if length > bytes.remaining() {
        return Err(HeadersInvalid);
    }
    Ok(bytes.split_to(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_headers_come_back() {
        for headers in [
            vec![],
            vec![(ByteString::new(), Bytes::new())],
            vec![("a".into(), Bytes::from_static(b"\0\xff")), ("a".into(), Bytes::from_static(b"2"))],
        ] {
            assert_eq!(unpack(pack(&headers).into()).unwrap(), headers);
        }
    }

    #[test]
    fn cut_headers_are_refused() {
        let whole = pack(&[("name".into(), Bytes::from_static(b"value"))]);
        for length in 1..whole.len() {
            assert!(unpack(whole[..length].to_vec().into()).is_err(), "{length} bytes");
        }
    }
}

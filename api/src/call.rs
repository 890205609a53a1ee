//! Who calls, and which key: the tenant from its header, the key from the raw path.
//!
//! Invariant: every record key that a handler touches was made here.

use http::{HeaderMap, request::Parts};
use millpond_schemas::{MutationId, PartitionId, RecordKey, Tenant};

use crate::{
    headers::{self, IDEMPOTENCY_KEY, KV_TENANT},
    key_path,
    problem::{Code, Problem},
    state::State,
    submit::random_id,
};

/// Owner of keys when nobody is named.
const TENANT_DEFAULT: &str = "default";
/// Longest Idempotency-Key, bytes.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// A key that is called.
#[derive(Clone, Debug)]
pub(crate) struct Called {
    /// Tenant and key.
    pub(crate) key: RecordKey,
    /// Where it belongs.
    pub(crate) partition: PartitionId,
}

impl Called {
    /// The key behind `root` in the path.
    pub(crate) fn of(app: &State, head: &Parts, root: &str) -> Result<Self, Problem> {
        let key = key_path::key_of(head.uri.path(), root, &tenant(&head.headers)?)?;
        let partition = app.partition_of(&key);
        Ok(Self { key, partition })
    }
}

/// The tenant that `KV-Tenant` names, or the default one.
pub(crate) fn tenant(headers: &HeaderMap) -> Result<Tenant, Problem> {
    let name = headers::single(headers, &KV_TENANT, Code::TenantInvalid)?.unwrap_or(TENANT_DEFAULT);
    Tenant::new(name.to_owned()).map_err(|error| Problem::new(Code::TenantInvalid, error.to_string()))
}

/// The Idempotency-Key of a call: 1 to 255 printable ASCII characters, literally.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let code = Code::IdempotencyKeyInvalid;
    match headers::single(headers, &IDEMPOTENCY_KEY, code)? {
        Some(text) if !is_idempotency_key(text) => {
            Err(Problem::new(code, "an Idempotency-Key is 1 to 255 printable ASCII characters"))
        }
        text => Ok(text),
    }
}

/// The id of a mutation of this key: durable with an Idempotency-Key, else random.
pub(crate) fn mutation_id(headers: &HeaderMap, key: &RecordKey) -> Result<MutationId, Problem> {
    let text = idempotency_key(headers)?;
    Ok(text.map_or_else(random_id, |text| MutationId::of_idempotency_key(key, text)))
}

/// Whether it is 1 to 255 printable ASCII characters.
pub(crate) fn is_idempotency_key(text: &str) -> bool {
    (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| (b' '..=b'~').contains(&b))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_tenant_is_named_once_or_not_at_all() {
        let of = |names: &[&str]| {
            let lines = names.iter().map(|name| (KV_TENANT.clone(), HeaderValue::from_str(name).unwrap()));
            tenant(&lines.collect()).map(|tenant| tenant.to_string()).map_err(|problem| problem.code())
        };
        assert_eq!(of(&[]).as_deref(), Ok("default"));
        assert_eq!(of(&["acme-1"]).as_deref(), Ok("acme-1"));
        for bad in [&["Acme"][..], &[""], &["a/b"], &["a", "a"]] {
            assert_eq!(of(bad), Err(Code::TenantInvalid), "{bad:?}");
        }
    }

    #[test]
    fn an_idempotency_key_makes_a_durable_id_of_its_key_alone() {
        let key = |key: &[u8]| RecordKey::new(&Tenant::new("default").unwrap(), key).unwrap();
        let id = |text: &str, of: &[u8]| {
            let value = HeaderValue::from_str(text).unwrap();
            mutation_id(&HeaderMap::from_iter([(IDEMPOTENCY_KEY.clone(), value)]), &key(of))
                .map_err(|problem| problem.code())
        };
        assert_eq!(id("x y", b"a"), id("x y", b"a"));
        assert!(id("x", b"a").unwrap().durable);
        assert_ne!(id("x", b"a"), id("x", b"b"));
        assert!(id(&"k".repeat(255), b"a").is_ok());
        assert_eq!(id(&"k".repeat(256), b"a"), Err(Code::IdempotencyKeyInvalid));
        assert_eq!(id("", b"a"), Err(Code::IdempotencyKeyInvalid));
        assert!(!mutation_id(&HeaderMap::new(), &key(b"a")).unwrap().durable);
    }
}

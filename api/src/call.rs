//! Who calls, and which key: the tenant from the token or its header, the key from the raw path.
//!
//! Invariant: every record key that a handler touches was made here.

use http::{HeaderMap, request::Parts};
use millpond_schemas::{MutationId, PartitionId, RecordKey, Tenant};

use crate::{
    auth::Caller,
    headers::{self, IDEMPOTENCY_KEY, KV_TENANT},
    key_path,
    problem::{Code, Problem},
    state::State,
    submit::random_id,
};

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
        let key = key_path::key_of(head.uri.path(), root, &tenant(app, head)?)?;
        let partition = app.partition_of(&key);
        Ok(Self { key, partition })
    }
}

/// Whose keys a call is about: as its token says, or where there are no tokens, as `KV-Tenant` does.
pub(crate) fn tenant(app: &State, head: &Parts) -> Result<Tenant, Problem> {
    if app.auth.is_none() {
        return Ok(named_tenant(&head.headers)?.unwrap_or_else(tenant_default));
    }
    let caller = head.extensions.get::<Caller>();
    // A route that nobody stands in front of answers nobody.
    caller.map(|caller| caller.tenant.clone()).ok_or_else(|| Problem::new(Code::Internal, ""))
}

/// The tenant that `KV-Tenant` names.
pub(crate) fn named_tenant(headers: &HeaderMap) -> Result<Option<Tenant>, Problem> {
    let name = headers::single(headers, &KV_TENANT, Code::TenantInvalid)?;
    let tenant = name.map(|name| Tenant::new(name.to_owned())).transpose();
    tenant.map_err(|error| Problem::new(Code::TenantInvalid, error.to_string()))
}

/// Owner of keys when nobody is named.
pub(crate) fn tenant_default() -> Tenant {
    Tenant::new(TENANT_DEFAULT).expect("it is a tenant's name")
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
            let named = named_tenant(&lines.collect()).map_err(|problem| problem.code());
            named.map(|tenant| tenant.map(|tenant| tenant.to_string()))
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&["acme-1"]), Ok(Some("acme-1".to_owned())));
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

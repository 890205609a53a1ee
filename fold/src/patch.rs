//! What PATCH operations make of a value: increment, append, JSON merge patch, JSON patch.
//!
//! Invariant: a function of the old bytes, the operation and the limit; numbers keep every digit.

use bytes::{BufMut, Bytes, BytesMut};
use json_patch::{Patch, PatchErrorKind, PatchOperation, jsonptr::Pointer};
use millpond_schemas::{Op, Rejection, limits::JSON_DEPTH_MAX};
use serde_json::Value;

/// A new value, with the content type that it has when the key did not exist.
pub(crate) struct Patched {
    pub(crate) value: Bytes,
    pub(crate) content_type_new: &'static str,
}

/// Applies a patch operation to the value of a live row, or to nothing.
pub(crate) fn patched(op: &Op, old: Option<&Bytes>, value_bytes_max: usize) -> Result<Patched, Rejection> {
    let (value, content_type_new) = match op {
        Op::Increment { by, initial } => (increment(old, *by, *initial)?, "text/plain"),
        Op::Append { value } => (append(old, value, value_bytes_max)?, "application/octet-stream"),
        Op::MergePatch { patch } => (merge(old, patch)?, "application/json"),
        Op::JsonPatch { patch } => (json_patch(old, patch, value_bytes_max)?, "application/json"),
        Op::Put { .. } | Op::Delete | Op::Ttl { .. } => unreachable!("not a patch"),
    };
    if value.len() > value_bytes_max {
        return Err(Rejection::ValueTooLarge);
    }
    Ok(Patched { value, content_type_new })
}

fn increment(old: Option<&Bytes>, by: i64, initial: i64) -> Result<Bytes, Rejection> {
    let from = old.map_or(Ok(initial), |bytes| decimal(bytes).ok_or(Rejection::WrongType))?;
    let sum = from.checked_add(by).ok_or(Rejection::IncrementOverflow)?;
    Ok(sum.to_string().into())
}

/// An optional minus and digits, within 64 bits.
fn decimal(bytes: &[u8]) -> Option<i64> {
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

fn append(old: Option<&Bytes>, tail: &Bytes, value_bytes_max: usize) -> Result<Bytes, Rejection> {
    let Some(old) = old else { return Ok(tail.clone()) };
    if old.len() + tail.len() > value_bytes_max {
        return Err(Rejection::ValueTooLarge);
    }
    let mut joined = BytesMut::with_capacity(old.len() + tail.len());
    joined.put_slice(old);
    joined.put_slice(tail);
    Ok(joined.freeze())
}

fn parse(bytes: &Bytes) -> Result<Value, Rejection> {
    serde_json::from_slice(bytes).map_err(|_| Rejection::WrongType)
}

fn merge(old: Option<&Bytes>, patch: &Bytes) -> Result<Bytes, Rejection> {
    let mut document = old.map_or(Ok(Value::Null), parse)?;
    json_patch::merge(&mut document, &parse(patch)?);
    Ok(serialise(&document))
}

fn json_patch(old: Option<&Bytes>, patch: &Bytes, value_bytes_max: usize) -> Result<Bytes, Rejection> {
    let Patch(operations) = serde_json::from_slice(patch).map_err(|_| Rejection::WrongType)?;
    let mut document = match old {
        Some(bytes) => parse(bytes)?,
        None if adds_root(operations.first()) => Value::Null,
        None => return Err(Rejection::WrongType),
    };
    let mut bounds = Bounds { bytes_left: value_bytes_max };
    for operation in operations {
        bounds.check(&document, &operation)?;
        step(&mut document, operation)?;
    }
    Ok(serialise(&document))
}

fn adds_root(first: Option<&PatchOperation>) -> bool {
    matches!(first, Some(PatchOperation::Add(add)) if add.path.is_root())
}

/// What one patch may do. Without it a short one could double a document without end, carry a large subtree about
/// for minutes, or nest deeper than the stack.
struct Bounds {
    /// Of what it may still copy and move, written out.
    bytes_left: usize,
}

impl Bounds {
    /// Counts what an operation is about to copy or move, and how deep it would put a value.
    fn check(&mut self, document: &Value, operation: &PatchOperation) -> Result<(), Rejection> {
        let resolve = |from: &Pointer| from.resolve(document).map_err(|_| Rejection::PatchPathMissing);
        let (path, placed) = match operation {
            PatchOperation::Add(op) => (&op.path, &op.value),
            PatchOperation::Replace(op) => (&op.path, &op.value),
            PatchOperation::Copy(op) => (&op.path, self.take(resolve(&op.from)?)?),
            PatchOperation::Move(op) => (&op.path, self.take(resolve(&op.from)?)?),
            PatchOperation::Remove(_) | PatchOperation::Test(_) => return Ok(()),
        };
        if path.count() + depth(placed) > JSON_DEPTH_MAX {
            return Err(Rejection::ValueTooLarge);
        }
        Ok(())
    }

    fn take<'a>(&mut self, source: &'a Value) -> Result<&'a Value, Rejection> {
        let left = self.bytes_left.checked_sub(serialise(source).len());
        self.bytes_left = left.ok_or(Rejection::ValueTooLarge)?;
        Ok(source)
    }
}

/// How many arrays and objects lie within one another.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn step(document: &mut Value, operation: PatchOperation) -> Result<(), Rejection> {
    if let PatchOperation::Test(test) = &operation {
        let found = test.path.resolve(document).map_err(|_| Rejection::PatchPathMissing)?;
        return if equal(found, &test.value) { Ok(()) } else { Err(Rejection::PatchTestFailed) };
    }
    json_patch::patch_unsafe(document, &[operation]).map_err(|error| match error.kind {
        PatchErrorKind::TestFailed => Rejection::PatchTestFailed,
        _ => Rejection::PatchPathMissing,
    })
}

fn serialise(document: &Value) -> Bytes {
    serde_json::to_vec(document).expect("a JSON value serialises").into()
}

/// Equality of RFC 6902, 4.6: numbers by their value, objects without regard to order.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.to_string(), b.to_string());
            a == b || Decimal::parse(&a).is_some_and(|a| Some(a) == Decimal::parse(&b))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| equal(a, b)))
        }
        _ => a == b,
    }
}

/// `±digits × 10^exponent`, with no zero at either end of `digits`; zero has none.
#[derive(PartialEq)]
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    /// Of a JSON number; none when its exponent leaves 64 bits.
    fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let mut exponent: i64 = exponent.parse().ok()?;
        let (negative, mantissa) = mantissa.strip_prefix('-').map_or((false, mantissa), |rest| (true, rest));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        exponent = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?;
        let all = format!("{whole}{fraction}");
        let kept = all.trim_end_matches('0');
        exponent = exponent.checked_add(i64::try_from(all.len() - kept.len()).ok()?)?;
        let digits = kept.trim_start_matches('0').to_owned();
        let (negative, exponent) = if digits.is_empty() { (false, 0) } else { (negative, exponent) };
        Some(Self { negative, digits, exponent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(op: &Op, old: Option<&'static str>) -> Result<String, Rejection> {
        let old = old.map(Bytes::from);
        patched(op, old.as_ref(), 100).map(|p| String::from_utf8(p.value.to_vec()).unwrap())
    }

    #[test]
    fn increment_works_on_a_decimal_and_nothing_else() {
        let add = |old, by| run(&Op::Increment { by, initial: 10 }, old);
        assert_eq!(add(None, 5), Ok("15".into()));
        assert_eq!(add(Some("-7"), 7), Ok("0".into()));
        assert_eq!(add(Some("9223372036854775807"), 1), Err(Rejection::IncrementOverflow));
        for bad in ["", "-", "+1", " 1", "1.0", "1e3", "0x1", "9223372036854775808"] {
            assert_eq!(add(Some(bad), 1), Err(Rejection::WrongType), "{bad}");
        }
    }

    #[test]
    fn merge_patch_keeps_every_digit_and_the_order_of_names() {
        let merge = |old, patch: &'static str| run(&Op::MergePatch { patch: patch.into() }, old);
        assert_eq!(
            merge(Some("{\"z\":12345678901234567890123,\"a\":1e400}"), "{\"b\":0.10}"),
            Ok("{\"z\":12345678901234567890123,\"a\":1e+400,\"b\":0.10}".into())
        );
        assert_eq!(merge(None, "{\"a\":null,\"b\":1}"), Ok("{\"b\":1}".into()));
        assert_eq!(merge(Some("no"), "{}"), Err(Rejection::WrongType));
    }

    #[test]
    fn json_patch_tests_numbers_by_value() {
        let patch = |old, patch: &'static str| run(&Op::JsonPatch { patch: patch.into() }, old);
        let test = "[{\"op\":\"test\",\"path\":\"/a\",\"value\":1.0},{\"op\":\"replace\",\"path\":\"/a\",\"value\":12345678901234567890123}]";
        assert_eq!(patch(Some("{\"a\":10e-1}"), test), Ok("{\"a\":12345678901234567890123}".into()));
        assert_eq!(patch(Some("{\"a\":2}"), test), Err(Rejection::PatchTestFailed));
        assert_eq!(patch(Some("{}"), test), Err(Rejection::PatchPathMissing));
        assert_eq!(patch(None, test), Err(Rejection::WrongType));
        assert_eq!(patch(None, "[{\"op\":\"add\",\"path\":\"\",\"value\":[]}]"), Ok("[]".into()));
    }

    #[test]
    fn copies_cannot_grow_a_document_without_bound() {
        let copy = "{\"op\":\"copy\",\"from\":\"\",\"path\":\"/a\"}";
        let patch = format!("[{}]", [copy; 900].join(","));
        let op = Op::JsonPatch { patch: patch.into() };
        assert_eq!(run(&op, Some("{\"b\":\"0123456789\"}")), Err(Rejection::ValueTooLarge));
        let copies = |count| {
            let copy = "{\"op\":\"copy\",\"from\":\"/b\",\"path\":\"/a\"}";
            let patch = format!("[{}]", vec![copy; count].join(","));
            run(&Op::JsonPatch { patch: patch.into() }, Some("{\"b\":\"01234567\"}"))
        };
        assert_eq!(copies(10), Ok("{\"b\":\"01234567\",\"a\":\"01234567\"}".into()));
        assert_eq!(copies(11), Err(Rejection::ValueTooLarge));
    }

    #[test]
    fn no_patch_nests_deeper_than_any_could_be_written() {
        let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
        let patch = |old: String, op: &str, path_depth| {
            let rest = format!("\"from\":\"/0\",\"value\":{}", nested(3));
            let path = "/0".repeat(path_depth);
            let patch = format!("[{{\"op\":\"{op}\",\"path\":\"{path}\",{rest}}}]");
            patched(&Op::JsonPatch { patch: patch.into() }, Some(&old.into()), 10_000).map(|_| ())
        };
        for op in ["add", "replace"] {
            assert_eq!(patch(nested(63), op, 61), Ok(()), "{op}");
            assert_eq!(patch(nested(64), op, 62), Err(Rejection::ValueTooLarge), "{op}");
        }
        // Two items, the first of which has a depth of 3 and goes into the second.
        let pair = |depth| format!("[{},{}]", nested(3), nested(depth));
        let into = |op: &str, path_depth: usize| {
            let path = "/1".to_owned() + &"/0".repeat(path_depth - 1);
            let patch = format!("[{{\"op\":\"{op}\",\"path\":\"{path}\",\"from\":\"/0\"}}]");
            patched(&Op::JsonPatch { patch: patch.into() }, Some(&pair(63).into()), 10_000).map(|_| ())
        };
        assert_eq!(into("copy", 61), Ok(()));
        for op in ["copy", "move"] {
            assert_eq!(into(op, 62), Err(Rejection::ValueTooLarge), "{op}");
        }
    }
}

//! RFC 7396 and RFC 6902 over `serde_json::Value`, by the letter.
//!
//! Invariant: a patch works on its own document; one that fails leaves nothing behind.

use millpond_schemas::{Rejection, limits};
use serde_json::{Map, Number, Value};

/// RFC 7396, section 2.
pub(super) fn merge(target: Option<Value>, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut target = match target {
        Some(Value::Object(target)) => target,
        _ => Map::new(),
    };
    for (name, value) in patch {
        if value.is_null() {
            target.swap_remove(name);
        } else {
            let merged = merge(target.get(name).cloned(), value);
            target.insert(name.clone(), merged);
        }
    }
    Value::Object(target)
}

/// RFC 6902. Without a document the first operation has to make one. What it copies and moves stays within the limit.
pub(super) fn apply(document: Option<Value>, patch: &Value, bytes_max: u64) -> Result<Value, Rejection> {
    let operations = patch.as_array().expect("a decoded patch is an array");
    let makes_one = |operation: &Value| text(operation, "op") == "add" && text(operation, "path").is_empty();
    let mut document = match document {
        Some(document) => document,
        None if operations.first().is_some_and(makes_one) => Value::Null,
        None => return Err(Rejection::WrongType),
    };
    let mut carried_bytes = 0;
    for operation in operations {
        carried_bytes += bounded(&mut document, operation)?;
        if carried_bytes > bytes_max {
            return Err(Rejection::ValueTooLarge);
        }
        document = step(document, operation)?;
    }
    Ok(document)
}

/// How many bytes an operation is about to copy or move; refused where that would lie too deep.
fn bounded(document: &mut Value, operation: &Value) -> Result<u64, Rejection> {
    let (placed, carried_bytes) = match text(operation, "op") {
        "add" | "replace" => (operation.get("value").cloned().expect("a decoded patch has it"), 0),
        "copy" | "move" => {
            let placed = find(document, &tokens(text(operation, "from")))?.clone();
            let bytes = super::change::text(&placed).len() as u64;
            (placed, bytes)
        }
        _ => return Ok(0),
    };
    if tokens(text(operation, "path")).len() + depth(&placed) > limits::JSON_DEPTH_MAX {
        return Err(Rejection::ValueTooLarge);
    }
    Ok(carried_bytes)
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn step(mut document: Value, operation: &Value) -> Result<Value, Rejection> {
    let path = tokens(text(operation, "path"));
    let value = || operation.get("value").cloned().expect("a decoded patch has it");
    match text(operation, "op") {
        "add" => add(&mut document, &path, value())?,
        "remove" => drop(remove(&mut document, &path)?),
        "replace" => *find(&mut document, &path)? = value(),
        "copy" => {
            let copied = find(&mut document, &tokens(text(operation, "from")))?.clone();
            add(&mut document, &path, copied)?;
        }
        "move" => {
            let from = tokens(text(operation, "from"));
            if path.len() > from.len() && path.starts_with(&from) {
                return Err(Rejection::PatchPathMissing);
            }
            let moved = remove(&mut document, &from)?;
            add(&mut document, &path, moved)?;
        }
        "test" => {
            if !equal(find(&mut document, &path)?, &value()) {
                return Err(Rejection::PatchTestFailed);
            }
        }
        _ => unreachable!("a decoded patch has known operations"),
    }
    Ok(document)
}

fn text<'a>(operation: &'a Value, member: &str) -> &'a str {
    operation.get(member).and_then(Value::as_str).expect("a decoded patch has it")
}

/// RFC 6901.
fn tokens(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|token| token.replace("~1", "/").replace("~0", "~")).collect()
}

fn find<'a>(document: &'a mut Value, path: &[String]) -> Result<&'a mut Value, Rejection> {
    let mut place = document;
    for token in path {
        let next = match place {
            Value::Object(members) => members.get_mut(token),
            Value::Array(items) => match index(token) {
                Some(index) => items.get_mut(index),
                None => None,
            },
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        };
        place = next.ok_or(Rejection::PatchPathMissing)?;
    }
    Ok(place)
}

fn add(document: &mut Value, path: &[String], value: Value) -> Result<(), Rejection> {
    let Some((last, parent)) = path.split_last() else {
        *document = value;
        return Ok(());
    };
    match find(document, parent)? {
        Value::Object(members) => drop(members.insert(last.clone(), value)),
        Value::Array(items) => {
            let at = if last == "-" { Some(items.len()) } else { index(last) };
            let at = at.filter(|at| *at <= items.len()).ok_or(Rejection::PatchPathMissing)?;
            items.insert(at, value);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            return Err(Rejection::PatchPathMissing);
        }
    }
    Ok(())
}

/// Nothing would be left without the root, so that cannot go.
fn remove(document: &mut Value, path: &[String]) -> Result<Value, Rejection> {
    let (last, parent) = path.split_last().ok_or(Rejection::PatchPathMissing)?;
    match find(document, parent)? {
        Value::Object(members) => members.swap_remove(last).ok_or(Rejection::PatchPathMissing),
        Value::Array(items) => {
            let at = index(last).filter(|at| *at < items.len()).ok_or(Rejection::PatchPathMissing)?;
            Ok(items.remove(at))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            Err(Rejection::PatchPathMissing)
        }
    }
}

/// An array index: digits without leading zeros.
fn index(token: &str) -> Option<usize> {
    let canonical = token == "0" || !token.starts_with('0');
    (canonical && token.bytes().all(|byte| byte.is_ascii_digit())).then(|| token.parse().ok()).flatten()
}

/// RFC 6902, section 4.6: numbers by value, members in any order.
fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => match (decimal(left), decimal(right)) {
            (Some(left), Some(right)) => left == right,
            _ => left == right,
        },
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| equal(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            let same = |(name, value)| right.get(name).is_some_and(|other| equal(value, other));
            left.len() == right.len() && left.iter().all(same)
        }
        (left, right) => left == right,
    }
}

/// A number as sign, digits without zeros at either end, and a power of ten, exact however it was written.
/// None with an exponent beyond 64 bits: such numbers are compared as they are written.
fn decimal(number: &Number) -> Option<(bool, String, i128)> {
    let text = number.to_string().to_ascii_lowercase();
    let (negative, text) = text.strip_prefix('-').map_or((false, text.as_str()), |rest| (true, rest));
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let exponent: i128 = exponent.parse::<i64>().ok()?.into();
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let kept = digits.trim_end_matches('0');
    if kept.is_empty() {
        return Some((false, String::new(), 0));
    }
    let power = exponent - fraction.len() as i128 + (digits.len() - kept.len()) as i128;
    Some((negative, kept.trim_start_matches('0').to_owned(), power))
}

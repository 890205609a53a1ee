//! Strict checks of JSON that comes as an operation: depth, duplicate names, and the form of a JSON Patch.
//!
//! Not a parser of its own: `serde_json` reads, this refuses what it would let pass.
//! Invariant: what passes here parses wherever it is applied.

use std::{collections::HashSet, fmt};

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::limits::{JSON_DEPTH_MAX, JSON_PATCH_OPERATIONS_MAX};

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct JsonInvalid {
    /// JSON Pointer to the place, as far as it was reached.
    pub pointer: String,
    /// What is wrong there; holds no user bytes.
    pub message: &'static str,
}

impl JsonInvalid {
    fn new(pointer: impl Into<String>, message: &'static str) -> Self {
        Self { pointer: pointer.into(), message }
    }
}

/// Checks that `text` is one JSON value, at most [`JSON_DEPTH_MAX`] deep, without duplicate names.
pub fn check(text: &[u8]) -> Result<(), JsonInvalid> {
    let mut walk = Walk { path: Vec::new(), objects: 0, failed: None };
    let mut reader = serde_json::Deserializer::from_slice(text);
    let read = Node { walk: &mut walk }.deserialize(&mut reader).and_then(|()| reader.end());
    match (read, walk.failed) {
        (Ok(()), None) if walk.objects != objects(text) => Err(JsonInvalid::new("", "reserved name")),
        (Ok(()), None) => Ok(()),
        (_, Some(failed)) => Err(failed),
        (Err(_), None) => Err(JsonInvalid::new(pointer(&walk.path), "not valid JSON")),
    }
}

/// Checks a JSON Patch (RFC 6902): an array of known operations with the members that each needs.
pub fn check_patch(text: &[u8]) -> Result<(), JsonInvalid> {
    check(text)?;
    let value: Value = serde_json::from_slice(text).map_err(|_| JsonInvalid::new("", "not valid JSON"))?;
    let Value::Array(operations) = value else {
        return Err(JsonInvalid::new("", "a JSON Patch is an array"));
    };
    if operations.len() > JSON_PATCH_OPERATIONS_MAX {
        return Err(JsonInvalid::new("", "a JSON Patch has at most 1000 operations"));
    }
    operations.iter().enumerate().try_for_each(|(index, operation)| {
        check_operation(operation)
            .map_err(|(member, message)| JsonInvalid::new(format!("/{index}{member}"), message))
    })
}

fn check_operation(operation: &Value) -> Result<(), (&'static str, &'static str)> {
    let op = operation.get("op").and_then(Value::as_str).ok_or(("", "an operation has a string `op`"))?;
    is_pointer(operation.get("path")).ok_or(("/path", "`path` is a JSON Pointer"))?;
    match op {
        "add" | "replace" | "test" => {
            operation.get("value").map(drop).ok_or(("", "this operation has a `value`"))
        }
        "move" | "copy" => is_pointer(operation.get("from")).ok_or(("/from", "`from` is a JSON Pointer")),
        "remove" => Ok(()),
        _ => Err(("/op", "`op` is add, remove, replace, move, copy or test")),
    }
}

fn is_pointer(value: Option<&Value>) -> Option<()> {
    let text = value?.as_str()?;
    let mut tildes = text.match_indices('~').map(|(at, _)| text.as_bytes().get(at + 1));
    let valid =
        (text.is_empty() || text.starts_with('/')) && tildes.all(|next| matches!(next, Some(b'0' | b'1')));
    valid.then_some(())
}

/// How many objects a valid JSON text writes out.
fn objects(text: &[u8]) -> usize {
    let (mut count, mut in_string, mut escaped) = (0, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            b'{' if !in_string => count += 1,
            _ => {}
        }
    }
    count
}

fn pointer(path: &[String]) -> String {
    path.iter().fold(String::new(), |mut text, step| {
        text.push('/');
        text.push_str(&step.replace('~', "~0").replace('/', "~1"));
        text
    })
}

/// What `serde_json` calls a number: it hands one over as an object with this one name.
const NUMBER: &str = "$serde_json::private::Number";
/// Names that `serde_json` would take for something else than a member.
const RESERVED: &str = "$serde_json::private::";

struct Walk {
    path: Vec<String>,
    /// Objects met so far, less those that `serde_json` takes for numbers.
    objects: usize,
    failed: Option<JsonInvalid>,
}

impl Walk {
    fn fail<E: de::Error>(&mut self, message: &'static str) -> E {
        self.failed = Some(JsonInvalid::new(pointer(&self.path), message));
        E::custom(message)
    }
}

/// One value at the end of the walk's path.
struct Node<'a> {
    walk: &'a mut Walk,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.walk.path.len() > JSON_DEPTH_MAX {
            return Err(self.walk.fail("nested too deep"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        for index in 0usize.. {
            self.walk.path.push(index.to_string());
            if items.next_element_seed(Node { walk: self.walk })?.is_none() {
                self.walk.path.pop();
                break;
            }
            self.walk.path.pop();
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            if names.is_empty() && name == NUMBER {
                return members.next_value_seed(Node { walk: self.walk });
            }
            self.walk.path.push(name.clone());
            if name.starts_with(RESERVED) {
                return Err(self.walk.fail("reserved name"));
            }
            if !names.insert(name) {
                return Err(self.walk.fail("duplicate name"));
            }
            members.next_value_seed(Node { walk: self.walk })?;
            self.walk.path.pop();
        }
        self.walk.objects += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> (String, &'static str) {
        let error = check(text.as_bytes()).unwrap_err();
        (error.pointer, error.message)
    }

    #[test]
    fn what_is_json_passes() {
        for text in [
            "1",
            "1e400",
            "123456789012345678901234567890",
            "{\"a\":[1,{\"b\":null}]}",
            "\"\\u0000\"",
            " [] ",
        ] {
            assert_eq!(check(text.as_bytes()), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_is_not_is_refused_with_its_place() {
        assert_eq!(at("{\"a\":{\"b\":1,\"b\":2}}"), ("/a/b".into(), "duplicate name"));
        assert_eq!(at("{\"a/b\":[0,NaN]}"), ("/a~1b/1".into(), "not valid JSON"));
        assert_eq!(at("[\"\\ud800\"]"), ("/0".into(), "not valid JSON"));
        assert_eq!(at("1 2"), (String::new(), "not valid JSON"));
        assert_eq!(at(&("[".repeat(66) + &"]".repeat(66))).1, "nested too deep");
        assert_eq!(check(("[".repeat(64) + &"]".repeat(64)).as_bytes()), Ok(()));
        assert_eq!(check(("[".repeat(64) + "1" + &"]".repeat(64)).as_bytes()), Ok(()));
        assert_eq!(at(&("[".repeat(65) + "1" + &"]".repeat(65))).1, "nested too deep");
    }

    #[test]
    fn names_that_the_parser_takes_for_something_else_are_refused() {
        for text in [
            "{\"$serde_json::private::Number\":\"1\"}",
            "{\"$serde_json::private::Number\":\"x\"}",
            "[1,{\"\\u0024serde_json::private::Number\":{}}]",
            "{\"a\":{\"$serde_json::private::RawValue\":\"[1]\"}}",
            "{\"{\":1,\"a\":{\"$serde_json::private::Number\":\"1\",\"b\":2}}",
        ] {
            assert!(check(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(check(b"{\"a\\\"{\":[{},{\"b\":\"{\"}],\"Number\":1}"), Ok(()));
    }

    #[test]
    fn a_patch_that_could_never_apply_is_refused_with_its_place() {
        let at = |text: &str| check_patch(text.as_bytes()).unwrap_err().pointer;
        assert_eq!(at("{}"), "");
        assert_eq!(
            at("[{\"op\":\"add\",\"path\":\"/a\",\"value\":1},{\"op\":\"frob\",\"path\":\"\"}]"),
            "/1/op"
        );
        assert_eq!(at("[{\"op\":\"add\",\"path\":\"a\",\"value\":1}]"), "/0/path");
        assert_eq!(at("[{\"op\":\"add\",\"path\":\"/~2\",\"value\":1}]"), "/0/path");
        assert_eq!(at("[{\"op\":\"add\",\"path\":\"/a\"}]"), "/0");
        assert_eq!(at("[{\"op\":\"move\",\"path\":\"/a\"}]"), "/0/from");
        assert_eq!(check_patch(b"[{\"op\":\"test\",\"path\":\"/a~01\",\"value\":null}]"), Ok(()));
    }
}

//! The bodies of PATCH: which operation, and whether it could ever apply.
//!
//! Invariant: what passes here is judged only against the row, in log order.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use millpond_schemas::{Op, json};

use crate::{
    fields::Fields,
    headers::{self, ACCEPT_PATCH},
    problem::{Code, Problem},
};

const MERGE: &str = "application/merge-patch+json";
const JSON: &str = "application/json-patch+json";
const OWN: &str = "application/vnd.millpond.op+json";
/// The three, as `Accept-Patch` lists them.
const ACCEPTED: &str =
    "application/merge-patch+json, application/json-patch+json, application/vnd.millpond.op+json";

/// The forms of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// RFC 7396.
    Merge,
    /// RFC 6902.
    Json,
    /// An operation of ours.
    Own,
}

impl Form {
    /// Which one the Content-Type says.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let text = headers::single(headers, &header::CONTENT_TYPE, Code::ContentTypeInvalid)?;
        let essence = text.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        let forms = [(MERGE, Self::Merge), (JSON, Self::Json), (OWN, Self::Own)];
        let found = forms.into_iter().find(|(name, _)| essence.eq_ignore_ascii_case(name));
        found.map(|(_, form)| form).ok_or_else(|| {
            Problem::new(Code::MediaTypeUnsupported, "the content type names the kind of patch")
                .header(ACCEPT_PATCH.clone(), HeaderValue::from_static(ACCEPTED))
        })
    }

    /// Most bytes of a body whose value may have `value_bytes_max`.
    pub(crate) fn body_bytes_max(self, value_bytes_max: usize) -> usize {
        match self {
            Self::Merge | Self::Json => value_bytes_max,
            // In JSON a byte takes at most six: \u00XX.
            Self::Own => value_bytes_max * 6 + 1024,
        }
    }

    /// The operation in a body.
    ///
    /// # Errors
    /// `value-invalid` with a pointer, `unknown-field`, or `value-too-large` for what is to be appended.
    pub(crate) fn op(self, body: Bytes, value_bytes_max: usize) -> Result<Op, Problem> {
        match self {
            Self::Merge => {
                json::check(&body).map_err(Problem::of_json)?;
                Ok(Op::MergePatch { patch: body })
            }
            Self::Json => {
                json::check_patch(&body).map_err(Problem::of_json)?;
                Ok(Op::JsonPatch { patch: body })
            }
            Self::Own => own(&Fields::parse(&body)?, value_bytes_max),
        }
    }
}

fn own(fields: &Fields, value_bytes_max: usize) -> Result<Op, Problem> {
    match fields.text("op")? {
        Some("increment") => {
            fields.only(&["op", "by", "initial"])?;
            increment(fields)
        }
        Some("append") => {
            fields.only(&["op", "value", "value_b64"])?;
            append(fields, value_bytes_max)
        }
        _ => Err(Problem::new(Code::ValueInvalid, "op is increment or append").at("/op")),
    }
}

/// `by` and `initial`, defaults 1 and 0.
fn increment(fields: &Fields) -> Result<Op, Problem> {
    let (by, initial) = (fields.integer("by")?.unwrap_or(1), fields.integer("initial")?.unwrap_or(0));
    Ok(Op::Increment { by, initial })
}

/// `value` or `value_b64`.
fn append(fields: &Fields, value_bytes_max: usize) -> Result<Op, Problem> {
    let value = fields.bytes("value")?;
    let value = value
        .ok_or_else(|| Problem::new(Code::ValueInvalid, "append takes value or value_b64").at("/value"))?;
    if value.len() > value_bytes_max {
        let detail = format!("at most {value_bytes_max} bytes");
        return Err(Problem::new(Code::ValueTooLarge, detail).limit(value_bytes_max));
    }
    Ok(Op::Append { value })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn form(content_type: &str) -> Result<Form, Code> {
        let value = HeaderValue::from_str(content_type).unwrap();
        Form::of(&HeaderMap::from_iter([(header::CONTENT_TYPE, value)])).map_err(|problem| problem.code())
    }

    fn op(form: Form, body: &str) -> Result<Op, Code> {
        form.op(Bytes::copy_from_slice(body.as_bytes()), 16).map_err(|problem| problem.code())
    }

    #[test]
    fn the_content_type_decides() {
        assert_eq!(form(MERGE), Ok(Form::Merge));
        assert_eq!(form("Application/JSON-Patch+JSON; charset=utf-8"), Ok(Form::Json));
        assert_eq!(form(OWN), Ok(Form::Own));
        assert_eq!(form("application/json"), Err(Code::MediaTypeUnsupported));
        assert_eq!(Form::of(&HeaderMap::new()).unwrap_err().code(), Code::MediaTypeUnsupported);
    }

    #[test]
    fn our_operations_have_defaults() {
        assert_eq!(op(Form::Own, r#"{"op":"increment"}"#), Ok(Op::Increment { by: 1, initial: 0 }));
        assert_eq!(
            op(Form::Own, r#"{"op":"increment","by":-5,"initial":7}"#),
            Ok(Op::Increment { by: -5, initial: 7 })
        );
        assert_eq!(
            op(Form::Own, r#"{"op":"append","value":"é"}"#),
            Ok(Op::Append { value: Bytes::from_static("é".as_bytes()) })
        );
        assert_eq!(
            op(Form::Own, r#"{"op":"append","value_b64":""}"#),
            Ok(Op::Append { value: Bytes::new() })
        );
    }

    #[test]
    fn what_could_never_apply_is_refused() {
        for (form, body, code) in [
            (Form::Own, r#"{"op":"increment","by":1.5}"#, Code::ValueInvalid),
            (Form::Own, r#"{"op":"increment","by":"1"}"#, Code::ValueInvalid),
            (Form::Own, r#"{"op":"increment","value":"1"}"#, Code::UnknownField),
            (Form::Own, r#"{"op":"append"}"#, Code::ValueInvalid),
            (Form::Own, r#"{"op":"append","value":5}"#, Code::ValueInvalid),
            (Form::Own, r#"{"op":"append","value":"12345678901234567"}"#, Code::ValueTooLarge),
            (Form::Own, r#"{"op":"explode"}"#, Code::ValueInvalid),
            (Form::Own, r#"{"by":1}"#, Code::ValueInvalid),
            (Form::Merge, "{", Code::ValueInvalid),
            (Form::Merge, "", Code::ValueInvalid),
            (Form::Merge, r#"{"a":1,"a":2}"#, Code::ValueInvalid),
            (Form::Json, r"{}", Code::ValueInvalid),
            (Form::Json, r#"[{"op":"add","path":"/a"}]"#, Code::ValueInvalid),
        ] {
            assert_eq!(op(form, body), Err(code), "{body}");
        }
    }

    #[test]
    fn a_patch_stays_the_bytes_that_were_sent() {
        let body = "{ \"a\" : 1.0 }";
        assert_eq!(op(Form::Merge, body), Ok(Op::MergePatch { patch: Bytes::from_static(body.as_bytes()) }));
        let body = "[]";
        assert_eq!(op(Form::Json, body), Ok(Op::JsonPatch { patch: Bytes::from_static(body.as_bytes()) }));
    }

    proptest! {
        #[test]
        fn foreign_bodies_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            for form in [Form::Merge, Form::Json, Form::Own] {
                let _ = form.op(bytes.clone().into(), 1024);
            }
        }
    }
}

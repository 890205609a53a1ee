//! Every way that a mutation can end, and what its caller is told.

use http_body_util::BodyExt;
use millpond_schemas::{DeadReason, Refusal, Rejected, Rejection, Version};

use super::*;
use crate::problem::Code;

const PUT: Asked = Asked::Put { if_absent: false, expires_at: false };

fn position(text: &str) -> Position {
    text.parse().unwrap()
}

fn accepted() -> Accepted {
    Accepted { position: position("1-3-42"), expires_at: None }
}

fn settled(outcome: Outcome) -> Settled {
    Settled { position: position("1-3-42"), outcome, duplicate: false }
}

fn effect(value: Option<&'static str>, changed: bool) -> Outcome {
    Outcome::Applied(Some(Effect {
        changed,
        version: Version::new(millpond_schemas::Generation(1), millpond_schemas::Offset(40)),
        expires_at: Some(UnixMillis(0)),
        value: value.map(Bytes::from),
        content_type: value.map(|_| "text/plain".to_owned()).unwrap_or_default(),
    }))
}

/// Status, some headers, body.
async fn shown(answer: Answer) -> (u16, [Option<String>; 4], String) {
    let response = answer.into_response();
    let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let headers = ["kv-position", "etag", "location", "kv-duplicate"].map(header);
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, headers, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn accepted_names_where_to_ask_and_has_no_etag() {
    assert_eq!(
        shown(Answer::accepted(accepted())).await,
        (
            202,
            [Some("1-3-42".to_owned()), None, Some("/mutations/1-3-42".to_owned()), None],
            r#"{"position":"1-3-42","status":"accepted"}"#.to_owned()
        )
    );
}

#[tokio::test]
async fn a_put_that_applied_is_200_or_201_with_its_etag() {
    for (if_absent, status) in [(false, 200), (true, 201)] {
        let asked = Asked::Put { if_absent, expires_at: false };
        let answer = Answer::settled(asked, accepted(), settled(Outcome::Applied(None))).unwrap();
        assert_eq!(
            shown(answer).await,
            (
                status,
                [Some("1-3-42".to_owned()), Some("\"1-3-42\"".to_owned()), None, None],
                r#"{"position":"1-3-42","status":"applied"}"#.to_owned()
            )
        );
    }
}

#[tokio::test]
async fn a_delete_that_applied_is_204_with_its_position() {
    let answer = Answer::settled(Asked::Delete, accepted(), settled(Outcome::Applied(None))).unwrap();
    assert_eq!(shown(answer).await, (204, [Some("1-3-42".to_owned()), None, None, None], String::new()));
}

#[tokio::test]
async fn a_patch_gives_the_new_value_or_only_its_etag() {
    let answer = Answer::settled(Asked::Patch, accepted(), settled(effect(Some("7"), true))).unwrap();
    let headers = [Some("1-3-42".to_owned()), Some("\"1-3-40\"".to_owned()), None, None];
    assert_eq!(shown(answer).await, (200, headers.clone(), "7".to_owned()));
    let answer = Answer::settled(Asked::Patch, accepted(), settled(effect(None, true))).unwrap();
    assert_eq!(shown(answer).await, (204, headers, String::new()));
}

#[tokio::test]
async fn a_ttl_change_without_effect_keeps_the_etag_and_says_so() {
    let answer = Answer::settled(Asked::Ttl, accepted(), settled(effect(None, false))).unwrap();
    assert_eq!(
        shown(answer).await,
        (
            200,
            [Some("1-3-42".to_owned()), Some("\"1-3-40\"".to_owned()), None, None],
            concat!(
                r#"{"position":"1-3-42","status":"applied","changed":false,"#,
                r#""expires_at":"1970-01-01T00:00:00.000Z"}"#
            )
            .to_owned()
        )
    );
}

#[tokio::test]
async fn a_repeat_is_answered_as_the_first_one_and_says_so() {
    let first = Settled { position: position("1-3-7"), outcome: Outcome::Applied(None), duplicate: true };
    let answer = Answer::settled(PUT, accepted(), first).unwrap();
    let (status, headers, _) = shown(answer).await;
    assert_eq!(
        (status, headers),
        (200, [Some("1-3-7".to_owned()), Some("\"1-3-7\"".to_owned()), None, Some("true".to_owned())])
    );
}

#[test]
fn a_repeat_does_not_guess_when_the_first_ones_ttl_ends() {
    let accepted = Accepted { expires_at: Some(UnixMillis(9)), ..accepted() };
    let first = Settled { position: position("1-3-7"), outcome: Outcome::Applied(None), duplicate: true };
    let at = |expires_at: bool| {
        let asked = Asked::Put { if_absent: false, expires_at };
        Answer::settled(asked, accepted, first.clone()).unwrap().expires_at
    };
    assert_eq!((at(false), at(true)), (None, Some(UnixMillis(9))));
}

#[test]
fn rejections_and_dead_letters_are_problems() {
    let rejected = Outcome::Rejected(Rejected { rejection: Rejection::ConditionFailed, current: None });
    let problem = Answer::settled(PUT, accepted(), settled(rejected)).unwrap_err();
    assert_eq!(problem.code(), Code::ConditionFailed);
    let dead = Outcome::DeadLettered(Refusal::new(DeadReason::Sealed, "late"));
    let problem = Answer::settled(PUT, accepted(), settled(dead)).unwrap_err();
    assert_eq!(problem.code(), Code::DeadLettered);
}

#[test]
fn a_content_type_that_is_no_header_is_not_served() {
    assert_eq!(content_type_header("text/plain"), "text/plain");
    assert_eq!(content_type_header("a\r\nset-cookie: b"), CONTENT_TYPE_DEFAULT);
}

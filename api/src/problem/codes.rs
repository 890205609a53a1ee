//! The table of problems: code, status, what it says about the log, title, cause, and what to do.
//!
//! `docs/errors.md` is made from it. Invariant: codes are stable, and one code means one thing per status.

use http::StatusCode;

/// What a problem says about the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing was to be logged.
    None,
    /// The caller's fault, certainly not on the log.
    Refused,
    /// Certainly not on the log.
    NotAccepted,
    /// It may be on the log.
    Unknown,
    /// On the log, and without effect.
    Rejected,
}

impl Fate {
    /// As a problem tells it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Refused => "refused",
            Self::NotAccepted => "not-accepted",
            Self::Unknown => "unknown",
            Self::Rejected => "rejected",
        }
    }
}

macro_rules! problems {
    ($($name:ident $status:ident $fate:ident $code:literal $title:literal $cause:literal $remedy:literal;)+) => {
        /// Which problem. The codes are stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Code { $($name,)+ }

        impl Code {
            #[cfg(test)]
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The stable code.
            pub(crate) fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// Status of the answer.
            pub(crate) fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)+ }
            }

            /// What it says about the log, on a write.
            pub(crate) fn fate(self) -> Fate {
                match self { $(Self::$name => Fate::$fate,)+ }
            }

            /// What it is, in words.
            pub(crate) fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)+ }
            }

            /// When it happens, in Markdown.
            #[cfg(test)]
            pub(super) fn cause(self) -> &'static str {
                match self { $(Self::$name => $cause,)+ }
            }

            /// What to do about it, in Markdown.
            #[cfg(test)]
            pub(super) fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)+ }
            }
        }
    };
}

impl Code {
    /// Whether the same request may succeed later.
    pub(super) fn retryable(self) -> bool {
        let status = self.status();
        status == StatusCode::GATEWAY_TIMEOUT || self.retry_after()
    }

    /// Whether the answer says when to come back.
    pub(crate) fn retry_after(self) -> bool {
        matches!(self.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
    }
}

problems! {
    KeyInvalid BAD_REQUEST Refused "key-invalid" "The key is not valid"
        "The key is empty, longer than 1024 bytes after decoding, or a percent-escape or base64 of it is \
         broken."
        "Send a key of 1 to 1024 bytes, percent-encoded once.";
    TenantInvalid BAD_REQUEST Refused "tenant-invalid" "The tenant is not valid"
        "`KV-Tenant` came twice or is no tenant's name."
        "Send a name of 1 to 63 of `a-z 0-9 _ -` that begins with a letter or digit, or no `KV-Tenant`.";
    UnknownField BAD_REQUEST Refused "unknown-field" "A field or parameter is unknown"
        "A query parameter or a member of the JSON body is not one that this call knows, or came twice."
        "Compare its spelling with the reference; leave it out.";
    ConditionInvalid BAD_REQUEST Refused "condition-invalid" "A condition is not valid"
        "`If-Match` is not one strong ETag or `*`, `If-None-Match` on a write is not `*`, or both came."
        "Send the ETag as a read gave it, quotes included; on a write `If-None-Match` takes only `*`.";
    TtlInvalid BAD_REQUEST Refused "ttl-invalid" "The TTL or expiry is not valid"
        "A TTL or expiry is not readable, lies in the past or outside 1 s to 10 years, or two of them \
         differ."
        "Send one of `KV-TTL`, `?ttl=` or `KV-Expires-At`: `90`, `90s`, `15m`, `1500ms`, or an RFC 3339 \
         time.";
    IdempotencyKeyInvalid BAD_REQUEST Refused "idempotency-key-invalid" "The Idempotency-Key is not valid"
        "`Idempotency-Key` came twice, is empty, longer than 255 characters, or not printable ASCII."
        "Send 1 to 255 printable ASCII characters, such as a UUID.";
    ContentTypeInvalid BAD_REQUEST Refused "content-type-invalid" "The content type is not valid"
        "`Content-Type` came twice, is longer than 255 bytes or not printable ASCII."
        "Send one content type, or none: `application/octet-stream` is then stored.";
    PositionInvalid BAD_REQUEST Refused "position-invalid" "A position is not valid here"
        "A position is malformed, lies beyond the end of the log, or belongs to another generation; or a \
         session read names none."
        "Send positions as an answer gave them. Beyond the end: it comes from another log, or the log lost \
         its tail.";
    ConsistencyInvalid BAD_REQUEST Refused "consistency-invalid" "The consistency is not valid"
        "The consistency is none of the three, or contradicts `KV-Min-Position`."
        "Send `eventual`, `session` (with `KV-Min-Position`) or `strong`.";
    LimitInvalid BAD_REQUEST Refused "limit-invalid" "The limit is not valid"
        "`limit` is 0, above the largest that this call takes, or not a number."
        "Send a whole number from 1 to 1000.";
    CursorInvalid BAD_REQUEST Refused "cursor-invalid" "The cursor is not valid"
        "`cursor` was not made by this deployment, is for another tenant, or comes with another query."
        "Send a `next_cursor` as an answer gave it, alone or with the query that it came from; `limit` may change.";
    PartitionUnknown BAD_REQUEST Refused "partition-unknown" "There is no such partition"
        "`partition` is not the number of a partition of this log."
        "Send a number from 0 to one below the number of partitions; `/admin/lag` lists them.";
    WaitInvalid BAD_REQUEST Refused "wait-invalid" "The wait is not valid"
        "`?wait=` is no duration."
        "Send a whole number of seconds, or one with `ms`, `s`, `m`, `h` or `d`.";
    BodyInvalid BAD_REQUEST Refused "body-invalid" "The body is not valid"
        "The body does not have the form that its content type promises, cannot be decoded from its content \
         encoding, or the request cannot be read as this call. In a batch: one operation of it."
        "Correct what `detail` and `pointer` name.";
    BodyIncomplete BAD_REQUEST Refused "body-incomplete" "The body ended early"
        "The connection ended, or the stream was reset, before the body was whole."
        "Send it again. Look for a proxy that cuts bodies off.";
    BatchEmpty BAD_REQUEST Refused "batch-empty" "The batch holds no operation"
        "A batch has no operation: no line that is not blank, no element, no record."
        "Send at least one operation.";
    ValueNotText BAD_REQUEST Refused "value-invalid" "The value is not a string"
        "`value` of a batch line is a number, an object or another JSON type, or `value_b64` is no base64."
        "Send the value as a JSON string, which is stored as its UTF-8 bytes, or as `value_b64`.";
    Unauthenticated UNAUTHORIZED Refused "unauthenticated" "No valid token"
        "The server takes calls with a token only, and this one came without, twice, malformed, unknown or \
         expired: which of these is told to the operator alone."
        "Send `Authorization: Bearer` with a token that `millpond token new` made and that has not expired.";
    RequestMalformed BAD_REQUEST Refused "request-malformed" "The request is not HTTP"
        "The request line, a header or the way in which its length is told cannot be read, or two of them contradict."
        "Use an HTTP library. The connection is closed after this answer.";
    HostInvalid BAD_REQUEST Refused "host-invalid" "There is no valid Host"
        "An HTTP/1.1 request has no `Host`, more than one, or one that cannot be a host."
        "Send one `Host`, as every HTTP library does.";
    Forbidden FORBIDDEN Refused "forbidden" "Not allowed here"
        "The token lacks the scope that `detail` names, or `/admin` was asked for beyond loopback on a server \
         without tokens."
        "Use a token with that scope; `/admin` is served on loopback, or to a token with the scope admin.";
    TenantUnknown NOT_FOUND Refused "tenant-unknown" "There is no such tenant for this token"
        "`KV-Tenant` names a tenant that the token is not for, whether it has keys or not; or the token is for \
         none."
        "Leave `KV-Tenant` out, or name a tenant of the token.";
    NotFound NOT_FOUND Rejected "not-found" "The key does not exist"
        "The key was never put, was deleted, or has expired."
        "Put it first. On a write the mutation is on the log, without effect.";
    RouteUnknown NOT_FOUND None "route-unknown" "There is nothing at this path"
        "No route has this path."
        "Look for a spelling mistake; keys are below `/kv/`.";
    PositionUnknown NOT_FOUND None "position-unknown" "No mutation has this position"
        "The position was never given to a mutation, or to one of another tenant."
        "Ask for a position that a write was answered with, as the same tenant.";
    MethodNotAllowed METHOD_NOT_ALLOWED None "method-not-allowed" "The path does not take this method"
        "The path exists, and does not take this method."
        "Use one of the methods that `Allow` names.";
    NotAcceptable NOT_ACCEPTABLE Refused "not-acceptable" "The answer has no format that the client accepts"
        "`Accept` names no format that the answer of this call has."
        "Leave `Accept` out, or name the format in `detail`.";
    BodyTimeout REQUEST_TIMEOUT Refused "body-timeout" "The body came too slowly"
        "No byte of the body came for 10 s, or fewer than 1 KiB a second after the first 10 s."
        "Send it again over a better connection, or in smaller parts.";
    WrongType CONFLICT Rejected "wrong-type" "The value is not what the operation works on"
        "The stored value is no decimal integer, or no JSON, or of another JSON type than the operation \
         works on."
        "Read the value; put one of the right form first.";
    PatchTestFailed CONFLICT Rejected "patch-test-failed" "A test of the patch failed"
        "A `test` operation of a JSON Patch did not hold."
        "Read the value again and decide anew.";
    PatchPathMissing CONFLICT Rejected "patch-path-missing" "A path of the patch is not in the value"
        "A JSON Patch names a path that the value does not have."
        "Read the value again; make the path's parents first.";
    IncrementOverflow CONFLICT Rejected "increment-overflow" "The sum leaves 64 bits"
        "The sum would not fit into a signed 64-bit integer."
        "Put a new value, or count in more than one key.";
    ValueOutgrown CONFLICT Rejected "value-too-large" "The value would grow past the limit"
        "An append or a patch would make the value longer than the limit."
        "Spread it over more keys.";
    DecisionRefused CONFLICT None "decision-refused" "That may not be done, as things stand"
        "An operator asked for what may only be done elsewhere or later: a skip of a record at which no partition \
         is halted, a retry of a dead letter that would be one again."
        "Read `detail`: it says where the partition stands and why. `millpond doctor` says what helps.";
    PositionGone GONE None "position-gone" "What became of this mutation is no longer kept"
        "The mutation was appended more than 24 h ago: its outcome is no longer kept."
        "Read the key itself.";
    ConditionFailed PRECONDITION_FAILED Rejected "condition-failed" "A condition did not hold"
        "`If-Match` or `If-None-Match` did not hold when the mutation's turn came."
        "Read the key again, decide anew, and send the new ETag. `current` is the version that was found.";
    ValueTooLarge PAYLOAD_TOO_LARGE Refused "value-too-large" "The value is too large"
        "The value, decoded, is longer than `limit`."
        "Spread it over more keys, or compress it before storing it.";
    BodyTooLarge PAYLOAD_TOO_LARGE Refused "body-too-large" "The body is too large"
        "The body, or the record that it makes, is longer than `limit`."
        "Send less in one call.";
    BatchTooLarge PAYLOAD_TOO_LARGE Refused "batch-too-large" "The batch is too large"
        "The batch has more operations or bytes than `limit`. Nothing of it was accepted."
        "Send it in more than one call; `/version` tells the limits.";
    TooManyKeys PAYLOAD_TOO_LARGE Refused "too-many-keys" "There are too many keys"
        "`keys` has more entries than one query takes; `limit` in the problem says how many."
        "Ask for the keys in several queries.";
    UriTooLong URI_TOO_LONG Refused "uri-too-long" "The URI is too long"
        "Path and query together are longer than `limit` bytes."
        "Send long keys as `key_b64` in a batch or a query.";
    MediaTypeUnsupported UNSUPPORTED_MEDIA_TYPE Refused "media-type-unsupported" "The content type is not taken here"
        "`Content-Type` is none that this call takes."
        "Use one that `Accept-Patch` or `Accept-Post` names.";
    EncodingUnsupported UNSUPPORTED_MEDIA_TYPE Refused "encoding-unsupported" "The content encoding is not taken here"
        "`Content-Encoding` is neither `gzip`, `zstd` nor `identity`, or there are two."
        "Use one that `Accept-Encoding` names, or none.";
    ExpectationFailed EXPECTATION_FAILED Refused "expectation-failed" "The expectation cannot be met"
        "`Expect` names something else than `100-continue`."
        "Leave `Expect` out.";
    ValueInvalid UNPROCESSABLE_ENTITY Refused "value-invalid" "The body could never apply"
        "A patch or operation is readable and could never apply: invalid JSON, a duplicate name, nested \
         too deep, or a member of the wrong type."
        "Correct what `detail` and `pointer` name.";
    IdempotencyConflict UNPROCESSABLE_ENTITY Rejected "idempotency-conflict" "The Idempotency-Key stands for another request"
        "The same Idempotency-Key was used for this key within 24 h with another method, body or \
         condition. The first effect stands."
        "Use a new Idempotency-Key for each intended change.";
    DeadLettered UNPROCESSABLE_ENTITY Rejected "dead-lettered" "The mutation can never apply"
        "The mutation is on the log and can never apply; `reason` says why. It is kept among the dead \
         letters."
        "Correct what `reason` names and send it anew.";
    HeadersTooLarge REQUEST_HEADER_FIELDS_TOO_LARGE Refused "headers-too-large" "The headers are too large"
        "Names and values of the headers together are longer than `limit` bytes, or there are more than \
         100."
        "Send fewer or shorter headers; look for cookies that do not belong here.";
    Internal INTERNAL_SERVER_ERROR None "internal" "The server failed"
        "A failure that should not be possible, such as a row that does not match its checksum."
        "Look for `request_id` in the server's log, and report it.";
    LogBackpressure SERVICE_UNAVAILABLE NotAccepted "log-backpressure" "The log's queue is full"
        "More is written than the log takes just now."
        "Send it again after `Retry-After`, and more slowly; use larger batches.";
    BacklogFull SERVICE_UNAVAILABLE NotAccepted "backlog-full" "Too much waits to be applied"
        "A database has been down or slow for so long that what waits for it has used up its share of the log \
         (`log.backlog_bytes_max`), or the log's disk is nearly full (`log.free_bytes_min`). Reads go on."
        "Send it again after `Retry-After`. An operator brings back the database, or gives the log more room.";
    LogUnavailable SERVICE_UNAVAILABLE NotAccepted "log-unavailable" "The log takes nothing just now"
        "The brokers cannot be reached, or the local disk takes no write."
        "Send it again after `Retry-After`. An operator looks at the log's health.";
    LogDiverged SERVICE_UNAVAILABLE NotAccepted "log-diverged" "The log is not the one that was written before"
        "The topic was made anew, or lost its tail. Nothing is accepted until the process is started again \
         on the right log."
        "An operator finds out what happened to the log. Clients keep what they have and try later.";
    ClockSkew SERVICE_UNAVAILABLE NotAccepted "clock-skew" "The log's clock and this api's are apart"
        "The log stamps records with a time that is more than 10 minutes from this api's own: a key would expire at \
         another time than was meant. Writes without a TTL are still taken."
        "Send it again after `Retry-After`. An operator sets the clock of the broker, or of this machine, right.";
    Overloaded SERVICE_UNAVAILABLE NotAccepted "overloaded" "Too much is on its way in or out"
        "The memory for bodies that are being read, for values that are being sent, or for pages of queries is taken."
        "Send it again after `Retry-After`; send fewer large bodies at once, and take answers as they come.";
    ShardUnavailable SERVICE_UNAVAILABLE None "shard-unavailable" "The shard does not answer"
        "No database of the key's shard answered in time. Writes without a condition are still taken."
        "Send it again after `Retry-After`. An operator looks at the shard.";
    OutcomeUnknown GATEWAY_TIMEOUT Unknown "outcome-unknown" "The mutation may be on the log, or not"
        "The log did not say in time whether it has the mutation."
        "Send it again with the same Idempotency-Key, or read the key before sending it again.";
    PositionNotReached GATEWAY_TIMEOUT None "position-not-reached" "The wanted position was not applied in time"
        "No database has applied the log up to where the read wants it; `lag_records` are missing."
        "Read again, wait longer, or read with `consistency=eventual`.";
}

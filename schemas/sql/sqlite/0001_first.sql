-- Tables of one shard. Every table contains `partition`, so that a copy is complete.
-- Times are milliseconds since the Unix epoch, UTC.

CREATE TABLE migration (
    version    INTEGER NOT NULL PRIMARY KEY, -- rises by one
    name       TEXT    NOT NULL,             -- of the file that holds it
    checksum   INTEGER NOT NULL,             -- of that file's text
    applied_at INTEGER NOT NULL              -- by this database's clock
) STRICT;

CREATE TABLE kv (
    partition    INTEGER NOT NULL, -- which log the key belongs to
    tenant       TEXT    NOT NULL, -- who owns the key; ASCII
    key          BLOB    NOT NULL, -- 1..=1024 bytes, ordered bytewise
    version      INTEGER NOT NULL, -- generation << 48 | offset of the mutation that last changed the row
    value        BLOB,             -- byte for byte as put; NULL on a tombstone
    content_type TEXT    NOT NULL, -- of the value; empty on a tombstone
    expires_at   INTEGER,          -- NULL: never; on a tombstone, when it became one
    created_at   INTEGER NOT NULL, -- when a put made the key exist
    updated_at   INTEGER NOT NULL, -- time of the record that last changed the row
    tombstone    INTEGER NOT NULL, -- 1: deleted or expired
    checksum     INTEGER NOT NULL, -- XXH3-64 over all the others but created_at
    PRIMARY KEY (tenant, key, partition),
    CHECK (tombstone = (value IS NULL))
) STRICT;

-- What is due: live rows to expire, tombstones to purge, each in the order that a Sweep or Purge takes them.
CREATE INDEX kv_due ON kv (partition, tombstone, expires_at, tenant, key) WHERE expires_at IS NOT NULL;

CREATE TABLE watermark (
    partition      INTEGER NOT NULL PRIMARY KEY, -- one row a copy
    generation     INTEGER NOT NULL, -- which life of the log
    log_id         BLOB    NOT NULL, -- which log; 16 bytes
    applied_offset INTEGER NOT NULL, -- the highest offset applied; -1: none
    digest_offset  INTEGER NOT NULL, -- the last real record at or below applied_offset
    applied_digest BLOB    NOT NULL, -- digest of the record at digest_offset; 16 bytes
    applied_time   INTEGER NOT NULL, -- clamped time of the record at digest_offset
    owner          INTEGER NOT NULL, -- offset of the Claim by which the writer owns the copy; -1: none
    claim          BLOB    NOT NULL, -- the Claim in force, encoded; empty: none
    sealed         INTEGER NOT NULL  -- 1: a Seal was applied
) STRICT;

CREATE TABLE outcome (
    partition   INTEGER NOT NULL, -- which log
    generation  INTEGER NOT NULL, -- which life of it
    from_offset INTEGER NOT NULL, -- first offset of the flush
    to_offset   INTEGER NOT NULL, -- last offset of the flush
    time        INTEGER NOT NULL, -- clamped time of the record at to_offset
    range       BLOB    NOT NULL, -- millpond.v1.OutcomeRange: what differs from plain success
    PRIMARY KEY (partition, generation, from_offset)
) STRICT;

CREATE TABLE seen (
    partition   INTEGER NOT NULL, -- which log
    generation  INTEGER NOT NULL, -- which life of it
    from_offset INTEGER NOT NULL, -- offset of the first id
    to_offset   INTEGER NOT NULL, -- offset of the last id
    time        INTEGER NOT NULL, -- clamped time of the last id's record
    ids         BLOB    NOT NULL, -- per id: varint rise of offset, varint rise of time, 16-byte hash
    PRIMARY KEY (partition, generation, from_offset)
) STRICT;

CREATE TABLE operation (
    partition     INTEGER NOT NULL, -- which copy
    hash          BLOB    NOT NULL, -- hash of record key and id; 16 bytes
    generation    INTEGER NOT NULL, -- of the mutation's position
    log_partition INTEGER NOT NULL, -- of the mutation's position
    log_offset    INTEGER NOT NULL, -- of the mutation's position
    time          INTEGER NOT NULL, -- clamped time of its record
    fingerprint   BLOB    NOT NULL, -- what the id stands for; 16 bytes
    outcome       BLOB    NOT NULL, -- millpond.v1.Outcome
    PRIMARY KEY (partition, hash)
) STRICT, WITHOUT ROWID;

CREATE INDEX operation_time ON operation (partition, time);

CREATE TABLE dead_letter (
    partition  INTEGER NOT NULL, -- which log
    generation INTEGER NOT NULL, -- which life of it
    log_offset INTEGER NOT NULL, -- where the record lies
    time       INTEGER NOT NULL, -- its clamped time
    reason     TEXT    NOT NULL, -- stable code
    detail     TEXT    NOT NULL, -- in words; holds no user bytes
    record_key BLOB,             -- the record's key; NULL: it has none
    headers    BLOB    NOT NULL, -- per header: 4-byte length and name, 4-byte length and value; big-endian
    value      BLOB,             -- the record's value; NULL: it has none
    PRIMARY KEY (partition, generation, log_offset)
) STRICT;

-- For SQL tools: what exists now, readable. Never an error: what is no JSON is NULL.
CREATE VIEW kv_json AS
SELECT
    partition,
    tenant,
    CAST(key AS TEXT) AS key,
    (version >> 48) || '-' || partition || '-' || (version & 281474976710655) AS position,
    CASE WHEN instr(value, x'00') = 0 AND json_valid(CAST(value AS TEXT)) THEN json(CAST(value AS TEXT)) END AS value,
    content_type,
    strftime('%Y-%m-%dT%H:%M:%fZ', expires_at / 1000.0, 'unixepoch') AS expires_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', created_at / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', updated_at / 1000.0, 'unixepoch') AS updated_at,
    version
FROM kv
WHERE tombstone = 0
  AND (expires_at IS NULL OR expires_at > (julianday('now') - 2440587.5) * 86400000.0);

-- Tables of one shard. Every table contains "partition", so that a copy is complete.
-- Times are milliseconds since the Unix epoch, UTC.

CREATE TABLE migration (
    version    integer NOT NULL PRIMARY KEY,
    name       text    NOT NULL,
    checksum   bigint  NOT NULL,
    applied_at bigint  NOT NULL
);
COMMENT ON COLUMN migration.version    IS 'rises by one';
COMMENT ON COLUMN migration.name       IS 'of the file that holds it';
COMMENT ON COLUMN migration.checksum   IS 'of that file''s text';
COMMENT ON COLUMN migration.applied_at IS 'by this database''s clock';

CREATE TABLE kv (
    partition    integer NOT NULL,
    tenant       text COLLATE "C" NOT NULL,
    key          bytea   NOT NULL,
    version      bigint  NOT NULL,
    value        bytea,
    content_type text    NOT NULL,
    expires_at   bigint,
    created_at   bigint  NOT NULL,
    updated_at   bigint  NOT NULL,
    tombstone    boolean NOT NULL,
    checksum     bigint  NOT NULL,
    PRIMARY KEY (tenant, key, partition),
    CHECK (tombstone = (value IS NULL))
) PARTITION BY LIST (partition);
COMMENT ON TABLE kv IS 'one leaf per partition, kv_p00042';
COMMENT ON COLUMN kv.partition    IS 'which log the key belongs to';
COMMENT ON COLUMN kv.tenant       IS 'who owns the key; ASCII';
COMMENT ON COLUMN kv.key          IS '1..=1024 bytes, ordered bytewise';
COMMENT ON COLUMN kv.version      IS 'generation << 48 | offset of the mutation that last changed the row';
COMMENT ON COLUMN kv.value        IS 'byte for byte as put; NULL on a tombstone';
COMMENT ON COLUMN kv.content_type IS 'of the value; empty on a tombstone';
COMMENT ON COLUMN kv.expires_at   IS 'NULL: never; on a tombstone, when it became one';
COMMENT ON COLUMN kv.created_at   IS 'when a put made the key exist';
COMMENT ON COLUMN kv.updated_at   IS 'time of the record that last changed the row';
COMMENT ON COLUMN kv.tombstone    IS 'deleted or expired';
COMMENT ON COLUMN kv.checksum     IS 'XXH3-64 over all the others but created_at';

-- What is due: live rows to expire, tombstones to purge, each in the order that a Sweep or Purge takes them.
CREATE INDEX kv_due ON kv (tombstone, expires_at, tenant, key) WHERE expires_at IS NOT NULL;

CREATE TABLE watermark (
    partition      integer NOT NULL PRIMARY KEY,
    generation     integer NOT NULL,
    log_id         bytea   NOT NULL,
    applied_offset bigint  NOT NULL,
    digest_offset  bigint  NOT NULL,
    applied_digest bytea   NOT NULL,
    applied_time   bigint  NOT NULL,
    owner          bigint  NOT NULL,
    claim          bytea   NOT NULL,
    sealed         boolean NOT NULL
) WITH (
    fillfactor = 10, autovacuum_vacuum_threshold = 50, autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_cost_delay = 0
);
COMMENT ON COLUMN watermark.partition      IS 'one row a copy';
COMMENT ON COLUMN watermark.generation     IS 'which life of the log';
COMMENT ON COLUMN watermark.log_id         IS 'which log; 16 bytes';
COMMENT ON COLUMN watermark.applied_offset IS 'the highest offset applied; -1: none';
COMMENT ON COLUMN watermark.digest_offset  IS 'the last real record at or below applied_offset';
COMMENT ON COLUMN watermark.applied_digest IS 'digest of the record at digest_offset; 16 bytes';
COMMENT ON COLUMN watermark.applied_time   IS 'clamped time of the record at digest_offset';
COMMENT ON COLUMN watermark.owner          IS 'offset of the Claim by which the writer owns the copy; -1: none';
COMMENT ON COLUMN watermark.claim          IS 'the Claim in force, encoded; empty: none';
COMMENT ON COLUMN watermark.sealed         IS 'a Seal was applied';

CREATE TABLE outcome (
    partition   integer NOT NULL,
    generation  integer NOT NULL,
    from_offset bigint  NOT NULL,
    to_offset   bigint  NOT NULL,
    time        bigint  NOT NULL,
    range       bytea   NOT NULL,
    PRIMARY KEY (partition, generation, from_offset)
);
COMMENT ON COLUMN outcome.partition   IS 'which log';
COMMENT ON COLUMN outcome.generation  IS 'which life of it';
COMMENT ON COLUMN outcome.from_offset IS 'first offset of the flush';
COMMENT ON COLUMN outcome.to_offset   IS 'last offset of the flush';
COMMENT ON COLUMN outcome.time        IS 'clamped time of the record at to_offset';
COMMENT ON COLUMN outcome.range       IS 'millpond.v1.OutcomeRange: what differs from plain success';

CREATE TABLE seen (
    partition   integer NOT NULL,
    generation  integer NOT NULL,
    from_offset bigint  NOT NULL,
    to_offset   bigint  NOT NULL,
    time        bigint  NOT NULL,
    ids         bytea   NOT NULL,
    PRIMARY KEY (partition, generation, from_offset)
);
COMMENT ON COLUMN seen.partition   IS 'which log';
COMMENT ON COLUMN seen.generation  IS 'which life of it';
COMMENT ON COLUMN seen.from_offset IS 'offset of the first id';
COMMENT ON COLUMN seen.to_offset   IS 'offset of the last id';
COMMENT ON COLUMN seen.time        IS 'clamped time of the last id''s record';
COMMENT ON COLUMN seen.ids         IS 'per id: varint rise of offset, varint rise of time, 16-byte hash';

CREATE TABLE operation (
    partition     integer NOT NULL,
    hash          bytea   NOT NULL,
    generation    integer NOT NULL,
    log_partition integer NOT NULL,
    log_offset    bigint  NOT NULL,
    time          bigint  NOT NULL,
    fingerprint   bytea   NOT NULL,
    outcome       bytea   NOT NULL,
    PRIMARY KEY (partition, hash)
);
COMMENT ON COLUMN operation.partition     IS 'which copy';
COMMENT ON COLUMN operation.hash          IS 'hash of record key and id; 16 bytes';
COMMENT ON COLUMN operation.generation    IS 'of the mutation''s position';
COMMENT ON COLUMN operation.log_partition IS 'of the mutation''s position';
COMMENT ON COLUMN operation.log_offset    IS 'of the mutation''s position';
COMMENT ON COLUMN operation.time          IS 'clamped time of its record';
COMMENT ON COLUMN operation.fingerprint   IS 'what the id stands for; 16 bytes';
COMMENT ON COLUMN operation.outcome       IS 'millpond.v1.Outcome';

CREATE INDEX operation_time ON operation (partition, time);

CREATE TABLE dead_letter (
    partition  integer NOT NULL,
    generation integer NOT NULL,
    log_offset bigint  NOT NULL,
    time       bigint  NOT NULL,
    reason     text    NOT NULL,
    detail     text    NOT NULL,
    record_key bytea,
    headers    bytea   NOT NULL,
    value      bytea,
    PRIMARY KEY (partition, generation, log_offset)
);
COMMENT ON COLUMN dead_letter.partition  IS 'which log';
COMMENT ON COLUMN dead_letter.generation IS 'which life of it';
COMMENT ON COLUMN dead_letter.log_offset IS 'where the record lies';
COMMENT ON COLUMN dead_letter.time       IS 'its clamped time';
COMMENT ON COLUMN dead_letter.reason     IS 'stable code';
COMMENT ON COLUMN dead_letter.detail     IS 'in words; holds no user bytes';
COMMENT ON COLUMN dead_letter.record_key IS 'the record''s key; NULL: it has none';
COMMENT ON COLUMN dead_letter.headers    IS 'per header: 4-byte length and name, 4-byte length and value; big-endian';
COMMENT ON COLUMN dead_letter.value      IS 'the record''s value; NULL: it has none';

-- Postgres 15 has no IS JSON. A function that catches cannot run in a parallel worker.
CREATE FUNCTION millpond_json(bytes bytea) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE AS $$
BEGIN
    RETURN convert_from(bytes, 'UTF8')::jsonb;
EXCEPTION WHEN OTHERS THEN
    RETURN NULL;
END $$;

CREATE FUNCTION millpond_text(bytes bytea) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE AS $$
BEGIN
    RETURN convert_from(bytes, 'UTF8');
EXCEPTION WHEN OTHERS THEN
    RETURN encode(bytes, 'escape');
END $$;

-- What no timestamp can hold is NULL.
CREATE FUNCTION millpond_time(ms bigint) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN ms BETWEEN 0 AND 253402300799999
        THEN timestamptz '1970-01-01 00:00:00+00'
            + ms / 1000 * interval '1 second' + ms % 1000 * interval '1 millisecond' END
$$;

-- For SQL tools: what exists now, readable. Never an error: what is no JSON is NULL.
CREATE VIEW kv_json AS
SELECT
    partition,
    tenant,
    millpond_text(key) AS key,
    (version >> 48) || '-' || partition || '-' || (version & 281474976710655) AS position,
    millpond_json(value) AS value,
    content_type,
    millpond_time(expires_at) AS expires_at,
    millpond_time(created_at) AS created_at,
    millpond_time(updated_at) AS updated_at,
    version
FROM kv
WHERE NOT tombstone
  AND (expires_at IS NULL OR expires_at > floor(extract(epoch FROM statement_timestamp()) * 1000)::bigint);

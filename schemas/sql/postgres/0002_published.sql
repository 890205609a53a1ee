-- How far the dead letters of a partition are on their topic. Housekeeping: no part of a copy's state.
CREATE TABLE published (
    partition  integer NOT NULL PRIMARY KEY,
    generation integer NOT NULL,
    log_offset bigint  NOT NULL
) WITH (fillfactor = 10);
COMMENT ON COLUMN published.partition  IS 'which log';
COMMENT ON COLUMN published.generation IS 'which life of it';
COMMENT ON COLUMN published.log_offset IS 'of the last dead letter that was published';

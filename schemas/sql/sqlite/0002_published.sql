-- How far the dead letters of a partition are on their topic. Housekeeping: no part of a copy's state.
CREATE TABLE published (
    partition  INTEGER NOT NULL PRIMARY KEY, -- which log
    generation INTEGER NOT NULL, -- which life of it
    log_offset INTEGER NOT NULL  -- of the last dead letter that was published
) STRICT;

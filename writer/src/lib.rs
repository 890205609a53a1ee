//! One loop per shard: read, fold, apply.

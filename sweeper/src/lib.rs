//! What is due becomes Sweep and Purge records.

//! HTTP in, mutations out, rows read.

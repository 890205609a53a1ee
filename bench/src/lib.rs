//! The load generator and the stage benchmarks.

//! The harness: starts real processes on free ports in temporary folders, and always cleans up.

//! Scenarios over the real API server in memory: one file for each story in `tests/`.

//! Flink's built-in functions, by their Flink names and with their semantics.

//! Against a real Kafka.

mod table;
mod formats;
mod source;
mod source_faults;
mod sink;
mod transactions;
mod sql;

//! The connectors as planning and tasks use them, on real files of this machine: what is written is read, and each kind of
//! bad input gives one clear error.

mod bad_input;
mod commit;
mod harness;
mod overwrite;
mod read;
mod write;

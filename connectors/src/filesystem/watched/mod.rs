//! A folder that is watched: a table without an end, whose new files are read as they come, each once.
//!
//! Every subtask lists the folder, at the same moments of the clock, and reads the files that are its own in the order of their
//! modification. A file is immutable: it is known by its path, and what comes later under the same path is not read.

mod file_rows;
mod reader;

pub use self::reader::open_reader;

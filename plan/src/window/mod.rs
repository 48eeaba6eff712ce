//! Windows over tables: the logical node of `TUMBLE`, `HOP`, `CUMULATE` and `SESSION`, and what it means for a table that ends.

mod lower;
mod node;

pub use lower::lower;
pub use node::{BORDER_NAMES, LOCAL_TIME, WindowKind, WindowTableFunction};

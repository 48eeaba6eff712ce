//! Groups that are not in memory: those that have not been asked for lately are in a table on the local disk.

use arrow::datatypes::SchemaRef;
use datafusion::error::Result;

use crate::{
    operator::{hot_keys::HotKeys, marks::Marks},
    state::lsm::LsmTable,
};

/// Where groups are that are not in memory, and which of those in memory it knows.
pub struct ColdGroups {
    /// The groups on disk; of those that are in memory too, what they were.
    pub table: LsmTable,
    /// Groups in memory of which the table does not know the newest.
    pub unsaved: Marks,
    /// Whether the table has any.
    pub is_empty: bool,
    /// A snapshot is to store all groups, because the changes since the last one are not at hand.
    pub all_wanted: bool,
    /// Those in memory.
    pub hot: HotKeys,
}

impl ColdGroups {
    /// None yet, of groups with these columns, of which the first are the key. `is_timed`: each with the time of its last change.
    pub fn create(hot: HotKeys, schema: SchemaRef, keys: usize, is_timed: bool) -> Result<Self> {
        Ok(Self {
            table: LsmTable::create(&hot.disk, schema, keys, is_timed)?,
            unsaved: Marks::default(),
            is_empty: true,
            all_wanted: false,
            hot,
        })
    }

    /// A group was asked for, and changed.
    pub fn changed(&mut self, group: usize) {
        self.hot.asked(group);
        self.unsaved.mark(group);
    }

    /// Only these groups are left in memory.
    pub fn keep(&mut self, groups: &[u32]) {
        self.hot.keep(groups);
        self.unsaved.reset();
    }

    /// The bytes it holds, besides its cache.
    pub fn bytes(&self) -> usize {
        self.hot.bytes()
    }
}

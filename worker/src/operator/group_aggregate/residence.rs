//! Which groups are in memory: those that were asked for lately, where the others are on the disk; and which are forgotten.

use std::{path::Path, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray as _, Int64Array},
    datatypes::Int64Type,
};
use datafusion::{error::Result, execution::memory_pool::MemoryPool};

use super::{
    cold::ColdGroups,
    operator::GroupAggregate,
    values::{entries_of, gather},
};
use crate::{
    operator::{expiry::Expiry, hot_keys::HotKeys},
    state::{StateChunk, lsm::Known},
};

/// After so many changes that wait for a snapshot it is looked whether they are too many for memory.
const SPILLED_ROWS: usize = 256 << 10;

impl GroupAggregate {
    /// Forgets groups that do not change for long. Not called where groups are on the disk already.
    pub fn forget_after(&mut self, expiry: Expiry) {
        // Without keys there is always a result.
        self.expiry = (!self.is_keyless()).then_some(expiry);
    }

    /// Keeps in memory only as many groups as there is room for, the others in this folder. Not without keys, and not where values are kept one
    /// by one and forgotten after a time: then all groups stay in memory, which is said by `false`.
    pub fn keep_on_disk(&mut self, folder: &Path, pool: &Arc<dyn MemoryPool>) -> Result<bool> {
        let is_timed = self.expiry.is_some();
        let keys = &self.keys;
        let can_be_on_disk =
            entries_of(&mut self.values).all(|entries| !is_timed && entries.can_be_on_disk(keys));
        if self.is_keyless() || !can_be_on_disk {
            return Ok(false);
        }
        let keys = self.kernel.key_schema().fields().len();
        let hot = HotKeys::new(folder, pool)?;
        for entries in entries_of(&mut self.values) {
            entries.keep_on_disk(&hot.disk, &self.keys)?;
        }
        let schema = Arc::clone(&self.state_schema);
        self.cold = Some(ColdGroups::create(hot, schema, keys, is_timed)?);
        Ok(true)
    }

    /// The groups of these keys, in memory.
    pub(super) fn intern(&mut self, keys: &[ArrayRef], rows: usize) -> Result<Vec<usize>> {
        let known = self.keys.count();
        let groups = self.keys.intern(keys, rows)?.to_vec();
        self.resize();
        let Some(cold) = &mut self.cold else { return Ok(groups) };
        let new: Vec<u32> = (known as u32..self.keys.count() as u32).collect();
        cold.hot.begin(self.keys.count());
        if !cold.is_empty && !new.is_empty() {
            let keys = self.keys.take(&new)?;
            let found = cold.table.get(&keys)?;
            for values in &mut self.values {
                let Some(entries) = values.entries() else { continue };
                if let Some(changes) = entries.load(&new, &keys)? {
                    values.entries_changed(&changes)?;
                }
            }
            let warm: Vec<usize> = found.places.iter().map(|place| new[*place as usize] as usize).collect();
            self.set(&warm, &found.values)?;
            if let (Some(expiry), Some(times)) = (&self.expiry, found.values.last()) {
                let times = times.as_primitive::<Int64Type>().values();
                warm.iter().zip(times).for_each(|(group, time)| self.changed_ms[*group] = *time);
                let oldest_ms = expiry.oldest_ms();
                let old = warm.iter().filter(|group| self.changed_ms[**group] <= oldest_ms);
                let old: Vec<u32> = old.map(|group| *group as u32).collect();
                self.forget(&old)?;
            }
        }
        Ok(groups)
    }

    /// Takes back a chunk of values of groups, which are brought into memory.
    pub(super) fn restore_entries(&mut self, chunk: Arc<StateChunk>, unstored: bool) -> Result<()> {
        let keys = self.kernel.key_schema().fields().len();
        let groups =
            self.intern(&chunk.rows.columns()[..keys.min(chunk.rows.num_columns())], chunk.rows.num_rows())?;
        let at = usize::from(chunk.table).saturating_sub(1);
        let Some(values) = self.values.get_mut(at) else { return Ok(()) };
        if let Some(entries) = values.entries() {
            let changes = entries.restore_part(chunk, &groups)?;
            values.entries_changed(&changes)?;
        }
        if let Some(cold) = &mut self.cold {
            groups.iter().for_each(|group| cold.changed(*group));
            cold.all_wanted |= unstored;
        }
        self.fit()
    }

    /// Forgets the groups in memory that have not changed for long, when it is time to look for them.
    pub(super) fn forget_old(&mut self) -> Result<()> {
        let Some(oldest_ms) = self.expiry.as_mut().and_then(Expiry::look) else { return Ok(()) };
        let old =
            self.live_groups().into_iter().filter(|group| self.changed_ms[*group as usize] <= oldest_ms);
        let old: Vec<u32> = old.collect();
        self.forget(&old)
    }

    /// Nothing is known of these groups any more. What is out of them stays as it is.
    fn forget(&mut self, groups: &[u32]) -> Result<()> {
        for group in groups {
            let group = *group as usize;
            if std::mem::take(&mut self.weights[group]) > 0 {
                self.live = self.live.saturating_sub(1);
            }
            self.dirty.mark(group);
            if let Some(cold) = &mut self.cold {
                cold.unsaved.mark(group);
            }
        }
        self.values.iter_mut().try_for_each(|values| values.forget(groups))
    }

    /// Takes the memory that it needs, or makes do with less.
    pub(super) fn fit(&mut self) -> Result<()> {
        let bytes = self.bytes();
        let Some(cold) = &self.cold else { return self.memory.try_resize(bytes) };
        if !cold.hot.takes(&self.memory, bytes) {
            self.make_room()?;
            self.memory.try_resize(self.bytes())?;
        }
        Ok(())
    }

    /// Leaves groups that were not asked for lately to the disk.
    fn make_room(&mut self) -> Result<()> {
        let changed = self.dirty.take();
        let Some(cold) = &mut self.cold else { return Ok(()) };
        // More changes than twice what there is are not worth writing down: the next snapshot reads everything from the disk.
        cold.all_wanted |= self.log.is_long(self.live);
        for entries in entries_of(&mut self.values) {
            cold.all_wanted |= entries.is_long();
        }
        let all_wanted = cold.all_wanted;
        for entries in entries_of(&mut self.values) {
            entries.note_changes(&self.keys, all_wanted)?;
            cold.all_wanted |= !entries.spill_changes(&cold.hot, self.key_groups)?;
        }
        if all_wanted {
            self.log.clear();
        } else {
            for part in changed.chunks(SPILLED_ROWS) {
                self.push_changes(part)?;
                self.spill_changes()?;
            }
        }
        self.save()?;
        let Some(cold) = &self.cold else { return Ok(()) };
        let mut hot = cold.hot.hot();
        hot.retain(|group| self.weights[*group as usize] > 0);
        self.keep_in_memory(&hot)?;
        let bytes = self.bytes();
        if self.cold.as_ref().is_some_and(|cold| !cold.hot.has_room(bytes)) {
            self.keep_in_memory(&[])?;
        }
        Ok(())
    }

    /// Leaves to the disk, which has everything, all groups but these.
    fn keep_in_memory(&mut self, hot: &[u32]) -> Result<()> {
        let before = self.keys.count();
        let groups = self.keys.keep(hot)?;
        for entries in entries_of(&mut self.values) {
            entries.keep(&groups, before)?;
        }
        self.cold.iter_mut().for_each(|cold| cold.keep(&groups));
        self.keep_groups(&groups)
    }

    /// Leaves changes that wait for a snapshot to the disk when they take much of the memory.
    fn spill_changes(&mut self) -> Result<()> {
        let Some(cold) = &self.cold else { return Ok(()) };
        let keys = self.kernel.key_schema().fields().len();
        cold.hot.spill_waiting(&mut self.log, self.key_groups, |batch| Ok(batch.columns()[..keys].to_vec()))
    }

    /// Writes the groups that have changed to the disk.
    pub(super) fn save(&mut self) -> Result<()> {
        let Some(cold) = &mut self.cold else { return Ok(()) };
        let groups = cold.unsaved.take();
        if groups.is_empty() {
            return Ok(());
        }
        let (weights, values) = (&self.weights, &mut self.values);
        let changed_ms = self.expiry.is_some().then_some(&self.changed_ms);
        cold.table.put(&self.keys.take(&groups)?, |places| {
            let part = gather(&groups, places);
            let mut states: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(gather(weights, &part)))];
            for values in values.iter_mut() {
                states.extend(values.states(&part)?);
            }
            if let Some(changed_ms) = changed_ms {
                states.push(Arc::new(Int64Array::from(gather(changed_ms, &part))));
            }
            let gone = part.iter().map(|group| weights[*group as usize] <= 0).collect();
            Ok(Known { values: states, gone })
        })?;
        cold.is_empty = false;
        for entries in entries_of(&mut self.values) {
            entries.save(&groups, &self.keys)?;
        }
        Ok(())
    }
}

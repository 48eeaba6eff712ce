//! Keys of one column of whole numbers, or of times, which are such: a hash table of eight bytes a place beside the keys by number.
//!
//! A table larger than the caches is slow by what it waits for. So a batch first reads all places and all keys that it is about, which
//! the processor does side by side, and only then goes from row to row. A table that grows moves its places in their order, which reads and
//! writes memory from one end to the other; keys are not looked at.

use std::sync::Arc;

use arrow::{
    array::{
        Array as _, ArrayRef, ArrowPrimitiveType, AsArray as _, PrimitiveArray, downcast_integer,
        downcast_temporal,
    },
    buffer::NullBuffer,
    datatypes::DataType,
};
use datafusion::error::{DataFusionError, Result};

use crate::state::key_group::hashes;

/// Rows of which places and keys are read ahead.
const AHEAD_ROWS: usize = 256;

/// Fewer numbers are not worth being put in order.
const ORDERED_MIN: usize = 64 << 10;

/// Keys are put in order by this part of the table, one of two to this power: it fits into a cache.
const REGION_BITS: u32 = 10;

/// All regions are gone through so many times, two to this power, with a part of the keys each: a smaller table that takes keys in this order,
/// and does not know how many come, would have many of them in a region and none in the next.
const ROUND_BITS: u32 = 2;

/// A new table has two to this power places.
const FIRST_BITS: u32 = 8;

/// A table grows when more than five of eight places are taken.
const fn is_full(keys: usize, places: usize) -> bool {
    keys * 8 > places * 5
}

/// What stands in a place: half of the key's hash, which says where it belongs, above the key's number plus one.
type Place = u64;

/// A place without a key. Memory that the system gives is full of such.
const FREE: Place = 0;

fn place(hash: u32, number: u32) -> Place {
    u64::from(hash) << 32 | (u64::from(number) + 1)
}

fn hash_in(place: Place) -> u32 {
    (place >> 32) as u32
}

/// That of no key where the place is free.
fn number_in(place: Place) -> u32 {
    (place as u32).wrapping_sub(1)
}

/// Numbers of keys that are whole numbers.
pub trait IntegerKeys: Send {
    /// Puts the number of each of these keys into `numbers`; new ones get the next.
    fn intern(&mut self, column: &ArrayRef, numbers: &mut Vec<usize>) -> Result<()>;

    /// The keys with these numbers.
    fn take(&self, numbers: &[u32]) -> ArrayRef;

    /// The same numbers, in an order in which the places of their keys are close to each other from one to the next.
    fn by_place(&self, numbers: Vec<u32>) -> Result<Vec<u32>>;

    /// How many keys there are.
    fn count(&self) -> usize;

    /// The bytes it holds.
    fn bytes(&self) -> usize;
}

/// An empty table for keys of this type, where it is one of whole numbers.
pub fn integer_keys(data_type: &DataType) -> Option<Box<dyn IntegerKeys>> {
    macro_rules! of {
        ($kind:ty) => {
            Some(Box::new(Table::<$kind>::new(data_type.clone())))
        };
    }
    downcast_integer! {
        data_type => (of),
        _ => downcast_temporal! {
            data_type => (of),
            _ => None
        }
    }
}

struct Table<T: ArrowPrimitiveType> {
    data_type: DataType,
    /// Each key stands in the first free place at or behind the one that the lower bits of its hash say. Two to the power `bits`.
    places: Vec<Place>,
    bits: u32,
    /// The key of each number; of NULL anything.
    keys: Vec<T::Native>,
    null: Option<u32>,
}

impl<T: ArrowPrimitiveType> Table<T>
where
    T::Native: Eq,
{
    fn new(data_type: DataType) -> Self {
        Self {
            data_type,
            places: vec![FREE; 1 << FIRST_BITS],
            bits: FIRST_BITS,
            keys: Vec::new(),
            null: None,
        }
    }

    fn home(&self, hash: u32) -> usize {
        hash as usize & (self.places.len() - 1)
    }

    /// When the key with this hash has its turn.
    fn turn(&self, hash: u32) -> usize {
        let region = self.home(hash) >> self.bits.saturating_sub(REGION_BITS);
        ((hash >> (u32::BITS - ROUND_BITS)) as usize) << REGION_BITS | region
    }

    /// Whether this place has this key.
    fn is(&self, place: Place, hash: u32, key: T::Native) -> bool {
        hash_in(place) == hash && self.keys.get(number_in(place) as usize).is_some_and(|known| *known == key)
    }

    /// The number of a key, found a place after the other.
    fn number_of(&mut self, hash: u32, key: T::Native) -> Result<u32> {
        let last = self.places.len() - 1;
        let mut at = self.home(hash);
        loop {
            let there = self.places[at];
            if there == FREE {
                let number = self.push(key)?;
                self.places[at] = place(hash, number);
                return Ok(number);
            }
            if self.is(there, hash, key) {
                return Ok(number_in(there));
            }
            at = (at + 1) & last;
        }
    }

    fn push(&mut self, key: T::Native) -> Result<u32> {
        let number = self.keys.len();
        let number = u32::try_from(number).ok().filter(|number| *number < u32::MAX).ok_or_else(|| {
            DataFusionError::ResourcesExhausted(format!(
                "one subtask would keep {} keys: raise the parallelism",
                number + 1
            ))
        })?;
        self.keys.push(key);
        Ok(number)
    }

    /// Makes room for so many more keys.
    fn reserve(&mut self, more: usize) {
        let mut bits = self.bits;
        while is_full(self.keys.len() + more, 1 << bits) && bits < u32::BITS {
            bits += 1;
        }
        if bits == self.bits {
            return;
        }
        self.bits = bits;
        let before = std::mem::replace(&mut self.places, vec![FREE; 1 << bits]);
        let last = self.places.len() - 1;
        // What was at one place goes to two, in order: memory is gone through from one end to the other.
        for place in before.into_iter().filter(|place| *place != FREE) {
            let mut at = self.home(hash_in(place));
            while self.places[at] != FREE {
                at = (at + 1) & last;
            }
            self.places[at] = place;
        }
    }

    /// The numbers of these keys, none of which is NULL.
    fn intern_part(&mut self, keys: &[T::Native], hashes: &[u64], numbers: &mut Vec<usize>) -> Result<()> {
        self.reserve(keys.len());
        let mut homes = [FREE; AHEAD_ROWS];
        for (there, hash) in homes.iter_mut().zip(hashes) {
            *there = self.places[self.home(*hash as u32)];
        }
        let mut candidates = [u32::MAX; AHEAD_ROWS];
        for ((candidate, there), hash) in candidates.iter_mut().zip(homes).zip(hashes) {
            *candidate = self.candidate(*hash as u32, there);
        }
        let mut known = [None; AHEAD_ROWS];
        for (known, candidate) in known.iter_mut().zip(&candidates[..keys.len()]) {
            *known = self.keys.get(*candidate as usize).copied();
        }
        for (row, (key, hash)) in keys.iter().zip(hashes).enumerate() {
            let number = match known[row] {
                Some(known) if known == *key => candidates[row],
                _ => self.number_of(*hash as u32, *key)?,
            };
            numbers.push(number as usize);
        }
        Ok(())
    }

    /// The number in the first place with this hash, where `there` is what stands at home; that of no key where there is none.
    fn candidate(&self, hash: u32, mut there: Place) -> u32 {
        let mut at = self.home(hash);
        while there != FREE && hash_in(there) != hash {
            at = (at + 1) & (self.places.len() - 1);
            there = self.places[at];
        }
        number_in(there)
    }

    /// The numbers of these keys, some of which are NULL.
    fn intern_each(
        &mut self,
        keys: &PrimitiveArray<T>,
        hashes: &[u64],
        numbers: &mut Vec<usize>,
    ) -> Result<()> {
        self.reserve(keys.len());
        for (key, hash) in keys.iter().zip(hashes) {
            let number = match (key, self.null) {
                (Some(key), _) => self.number_of(*hash as u32, key)?,
                (None, Some(null)) => null,
                (None, None) => {
                    let null = self.push(T::Native::default())?;
                    *self.null.insert(null)
                }
            };
            numbers.push(number as usize);
        }
        Ok(())
    }
}

impl<T: ArrowPrimitiveType> IntegerKeys for Table<T>
where
    T::Native: Eq,
{
    fn intern(&mut self, column: &ArrayRef, numbers: &mut Vec<usize>) -> Result<()> {
        let hashes = hashes(std::slice::from_ref(column), column.len())?;
        let keys = column.as_primitive::<T>();
        numbers.reserve(keys.len());
        if keys.null_count() > 0 {
            return self.intern_each(keys, &hashes, numbers);
        }
        let parts = keys.values().chunks(AHEAD_ROWS).zip(hashes.chunks(AHEAD_ROWS));
        for (keys, hashes) in parts {
            self.intern_part(keys, hashes, numbers)?;
        }
        Ok(())
    }

    fn take(&self, numbers: &[u32]) -> ArrayRef {
        let keys = numbers.iter().map(|number| self.keys[*number as usize]).collect();
        let there =
            self.null.map(|null| numbers.iter().map(|number| *number != null).collect::<NullBuffer>());
        let nulls = there.filter(|there| there.null_count() > 0);
        Arc::new(PrimitiveArray::<T>::new(keys, nulls).with_data_type(self.data_type.clone()))
    }

    fn by_place(&self, numbers: Vec<u32>) -> Result<Vec<u32>> {
        if numbers.len() < ORDERED_MIN {
            return Ok(numbers);
        }
        let mut turns = Vec::with_capacity(numbers.len());
        for some in numbers.chunks(ORDERED_MIN) {
            let hashes = hashes(&[self.take(some)], some.len())?;
            turns.extend(hashes.into_iter().map(|hash| self.turn(hash as u32) as u16));
        }
        let mut next = vec![0u32; (1 << (ROUND_BITS + REGION_BITS)) + 1];
        turns.iter().for_each(|turn| next[usize::from(*turn) + 1] += 1);
        for turn in 1..next.len() {
            next[turn] += next[turn - 1];
        }
        let mut ordered = vec![0; numbers.len()];
        for (number, turn) in numbers.into_iter().zip(turns) {
            let at = &mut next[usize::from(turn)];
            ordered[*at as usize] = number;
            *at += 1;
        }
        Ok(ordered)
    }

    fn count(&self) -> usize {
        self.keys.len()
    }

    fn bytes(&self) -> usize {
        self.places.capacity() * size_of::<Place>() + self.keys.capacity() * size_of::<T::Native>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use arrow::{
        array::{Int64Array, TimestampMillisecondArray, UInt8Array},
        datatypes::{Int64Type, TimeUnit},
    };
    use proptest::prelude::*;

    use super::*;

    fn numbers(table: &mut dyn IntegerKeys, column: ArrayRef) -> Vec<usize> {
        let mut numbers = Vec::new();
        table.intern(&column, &mut numbers).unwrap();
        numbers
    }

    proptest! {
        #[test]
        fn equal_keys_have_one_number(batches in prop::collection::vec(prop::collection::vec(prop::option::weighted(0.95, 0i64..3000), 0..900), 1..12)) {
            let mut table = integer_keys(&DataType::Int64).unwrap();
            let mut known: HashMap<Option<i64>, usize> = HashMap::new();
            for batch in &batches {
                let given = numbers(table.as_mut(), Arc::new(Int64Array::from(batch.clone())));
                prop_assert_eq!(given.len(), batch.len());
                for (key, number) in batch.iter().zip(given) {
                    let next = known.len();
                    prop_assert_eq!(*known.entry(*key).or_insert(next), number);
                }
                prop_assert_eq!(table.count(), known.len());
            }
            let asked: Vec<u32> = (0..known.len() as u32).rev().collect();
            let taken = table.take(&asked);
            for (number, key) in asked.iter().zip(taken.as_primitive::<Int64Type>()) {
                prop_assert_eq!(known[&key], *number as usize);
            }
        }
    }

    #[test]
    fn keys_with_the_same_hash_are_told_apart() {
        let mut crowded = Table::<Int64Type>::new(DataType::Int64);
        // All belong into the last place, behind which comes the first.
        let hashes = vec![u64::from(u32::MAX); 1000];
        let keys: Vec<i64> = (0..1000).collect();
        let mut numbers = Vec::new();
        for (keys, hashes) in keys.chunks(AHEAD_ROWS).zip(hashes.chunks(AHEAD_ROWS)) {
            crowded.intern_part(keys, hashes, &mut numbers).unwrap();
        }
        for (keys, hashes) in keys.chunks(AHEAD_ROWS).zip(hashes.chunks(AHEAD_ROWS)) {
            crowded.intern_part(keys, hashes, &mut numbers).unwrap();
        }
        let expected: Vec<usize> = (0..1000).collect();
        assert_eq!((&numbers[..1000], &numbers[1000..]), (expected.as_slice(), expected.as_slice()));
    }

    #[test]
    fn keys_in_the_order_of_places_do_not_crowd_a_table_that_grows() {
        // Tables that are nearly empty, in between, and nearly full.
        for keys in [170_000i64, 240_000, 320_000] {
            let mut table = Table::<Int64Type>::new(DataType::Int64);
            let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..keys));
            table.intern(&column, &mut Vec::new()).unwrap();
            let ordered = table.by_place((0..keys as u32).collect()).unwrap();
            let mut sorted = ordered.clone();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..keys as u32));

            let mut other = Table::<Int64Type>::new(DataType::Int64);
            let mut farthest = 0;
            for some in ordered.chunks(1000) {
                other.intern(&table.take(some), &mut Vec::new()).unwrap();
                let far = |(at, place): (usize, &Place)| {
                    at.wrapping_sub(other.home(hash_in(*place))) & (other.places.len() - 1)
                };
                let taken = other.places.iter().enumerate().filter(|(_, place)| **place != FREE);
                farthest = farthest.max(taken.map(far).max().unwrap_or(0));
            }
            assert!(farthest < 500, "{keys} keys: {farthest} places from where it belongs");
        }
    }

    #[test]
    fn types_stay_what_they_are() {
        let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
        let mut table = integer_keys(&time).unwrap();
        let column = TimestampMillisecondArray::from(vec![Some(5), None, Some(5)]).with_timezone("UTC");
        assert_eq!(numbers(table.as_mut(), Arc::new(column)), [0, 1, 0]);
        let taken = table.take(&[1, 0]);
        assert_eq!((taken.data_type(), taken.is_null(0), taken.is_null(1)), (&time, true, false));
        let mut table = integer_keys(&DataType::UInt8).unwrap();
        assert_eq!(numbers(table.as_mut(), Arc::new(UInt8Array::from(vec![7, 7, 9]))), [0, 0, 1]);
        assert!(integer_keys(&DataType::Float64).is_none() && integer_keys(&DataType::Utf8).is_none());
    }
}

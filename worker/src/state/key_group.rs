//! Which key group a key is in, and which subtask has a key group.
//!
//! The hash of a key is ours and never changes: savepoints rely on it. A value's hash depends on what it says, not on how it is laid
//! out: numbers of every width, and texts in every layout, hash alike. The mixing steps are those of SplitMix64 (Steele, Lea,
//! Flood: Fast splittable pseudorandom number generators, 2014); bytes are hashed by XXH3 with 64 bits.

use std::ops::Range;

use arrow::{
    array::{Array, ArrayRef, ArrowPrimitiveType, AsArray as _, OffsetSizeTrait},
    buffer::NullBuffer,
    datatypes::{
        DataType, Date32Type, Date64Type, Decimal128Type, DurationMicrosecondType, DurationMillisecondType,
        DurationNanosecondType, DurationSecondType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
        Int64Type, IntervalDayTimeType, IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType,
        Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit,
        TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
        UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    },
};
use datafusion::error::{DataFusionError, Result};
use xxhash_rust::xxh3::xxh3_64;

/// A part of all keys: below the number of key groups of the job (`pipeline.max-parallelism`).
pub type KeyGroup = u16;

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const NULL: u64 = 0x6a09_e667_f3bc_c909;

/// The key group of each row with these keys, among `groups`.
pub fn key_groups(keys: &[ArrayRef], rows: usize, groups: u16) -> Result<Vec<KeyGroup>> {
    let hashes = hashes(keys, rows)?;
    Ok(hashes.into_iter().map(|hash| of_hash(hash, groups)).collect())
}

/// The key group of a key with this hash.
pub fn of_hash(hash: u64, groups: u16) -> KeyGroup {
    (((hash >> 32) * u64::from(groups.max(1))) >> 32) as KeyGroup
}

/// The subtask that has a key group.
pub fn subtask_of(group: KeyGroup, groups: u16, parallelism: u32) -> u32 {
    (u64::from(group) * u64::from(parallelism) / u64::from(groups.max(1))) as u32
}

/// The key groups that a subtask has.
pub fn of_subtask(subtask: u32, groups: u16, parallelism: u32) -> Range<KeyGroup> {
    let parallelism = u64::from(parallelism.max(1));
    let first = |subtask: u32| (u64::from(subtask) * u64::from(groups)).div_ceil(parallelism) as KeyGroup;
    first(subtask)..first(subtask + 1)
}

/// The hash of each row with these keys.
pub fn hashes(keys: &[ArrayRef], rows: usize) -> Result<Vec<u64>> {
    let mut hashes = vec![SEED; rows];
    keys.iter().try_for_each(|column| add(column.as_ref(), &mut hashes))?;
    Ok(hashes)
}

fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Adds a column to the hashes of its rows.
fn add(column: &dyn Array, hashes: &mut [u64]) -> Result<()> {
    match column.data_type() {
        DataType::Null => hashes.iter_mut().for_each(|hash| *hash = mix(*hash ^ NULL)),
        DataType::Boolean => {
            let values = column.as_boolean();
            each(column.nulls(), hashes, |row| u64::from(values.value(row)));
        }
        DataType::Int8 => whole::<Int8Type>(column, hashes, |value| value as u64),
        DataType::Int16 => whole::<Int16Type>(column, hashes, |value| value as u64),
        DataType::Int32 => whole::<Int32Type>(column, hashes, |value| value as u64),
        DataType::Int64 => whole::<Int64Type>(column, hashes, |value| value as u64),
        DataType::UInt8 => whole::<UInt8Type>(column, hashes, u64::from),
        DataType::UInt16 => whole::<UInt16Type>(column, hashes, u64::from),
        DataType::UInt32 => whole::<UInt32Type>(column, hashes, u64::from),
        DataType::UInt64 => whole::<UInt64Type>(column, hashes, |value| value),
        // Positive and negative zero are equal, and so are all that are not numbers.
        DataType::Float32 => whole::<Float32Type>(column, hashes, |value| float(f64::from(value))),
        DataType::Float64 => whole::<Float64Type>(column, hashes, float),
        DataType::Decimal128(..) => {
            whole::<Decimal128Type>(column, hashes, |value| mix(value as u64) ^ ((value >> 64) as u64))
        }
        DataType::Date32 => whole::<Date32Type>(column, hashes, |value| value as u64),
        DataType::Date64 => whole::<Date64Type>(column, hashes, |value| value as u64),
        DataType::Time32(TimeUnit::Second) => whole::<Time32SecondType>(column, hashes, |value| value as u64),
        DataType::Time32(_) => whole::<Time32MillisecondType>(column, hashes, |value| value as u64),
        DataType::Time64(TimeUnit::Microsecond) => {
            whole::<Time64MicrosecondType>(column, hashes, |value| value as u64);
        }
        DataType::Time64(_) => whole::<Time64NanosecondType>(column, hashes, |value| value as u64),
        DataType::Timestamp(TimeUnit::Second, _) => {
            whole::<TimestampSecondType>(column, hashes, |value| value as u64);
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            whole::<TimestampMillisecondType>(column, hashes, |value| value as u64);
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            whole::<TimestampMicrosecondType>(column, hashes, |value| value as u64);
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            whole::<TimestampNanosecondType>(column, hashes, |value| value as u64);
        }
        DataType::Duration(unit) => match unit {
            TimeUnit::Second => whole::<DurationSecondType>(column, hashes, |value| value as u64),
            TimeUnit::Millisecond => whole::<DurationMillisecondType>(column, hashes, |value| value as u64),
            TimeUnit::Microsecond => whole::<DurationMicrosecondType>(column, hashes, |value| value as u64),
            TimeUnit::Nanosecond => whole::<DurationNanosecondType>(column, hashes, |value| value as u64),
        },
        DataType::Interval(unit) => match unit {
            IntervalUnit::YearMonth => {
                whole::<IntervalYearMonthType>(column, hashes, |value| value as u64);
            }
            IntervalUnit::DayTime => whole::<IntervalDayTimeType>(column, hashes, |value| {
                mix(value.days as u64) ^ (value.milliseconds as u64)
            }),
            IntervalUnit::MonthDayNano => whole::<IntervalMonthDayNanoType>(column, hashes, |value| {
                mix(mix(value.months as u64) ^ (value.days as u64)) ^ (value.nanoseconds as u64)
            }),
        },
        DataType::Utf8 => {
            let values = column.as_string::<i32>();
            each(column.nulls(), hashes, |row| xxh3_64(values.value(row).as_bytes()));
        }
        DataType::LargeUtf8 => {
            let values = column.as_string::<i64>();
            each(column.nulls(), hashes, |row| xxh3_64(values.value(row).as_bytes()));
        }
        DataType::Utf8View => {
            let values = column.as_string_view();
            each(column.nulls(), hashes, |row| xxh3_64(values.value(row).as_bytes()));
        }
        DataType::Binary => {
            let values = column.as_binary::<i32>();
            each(column.nulls(), hashes, |row| xxh3_64(values.value(row)));
        }
        DataType::LargeBinary => {
            let values = column.as_binary::<i64>();
            each(column.nulls(), hashes, |row| xxh3_64(values.value(row)));
        }
        DataType::BinaryView => {
            let values = column.as_binary_view();
            each(column.nulls(), hashes, |row| xxh3_64(values.value(row)));
        }
        DataType::FixedSizeBinary(_) => {
            let values = column.as_fixed_size_binary();
            each(column.nulls(), hashes, |row| xxh3_64(values.value(row)));
        }
        DataType::Struct(_) => {
            let values = column.as_struct();
            let inner = self::hashes(values.columns(), column.len())?;
            each(column.nulls(), hashes, |row| inner[row]);
        }
        DataType::List(_) => lists::<i32>(column, hashes)?,
        DataType::LargeList(_) => lists::<i64>(column, hashes)?,
        DataType::Map(..) => {
            let entries = column.as_map();
            let inner = self::hashes(entries.entries().columns(), entries.entries().len())?;
            let offsets = entries.value_offsets();
            each(column.nulls(), hashes, |row| {
                // A map has no order.
                let range = offsets[row] as usize..offsets[row + 1] as usize;
                inner[range].iter().fold(0, |sum: u64, hash| sum.wrapping_add(*hash))
            });
        }
        other => {
            return Err(DataFusionError::Plan(format!(
                "a value of type {other} cannot be the key of a stream"
            )));
        }
    }
    Ok(())
}

fn float(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { (value + 0.0).to_bits() }
}

fn whole<T: ArrowPrimitiveType>(column: &dyn Array, hashes: &mut [u64], bits: impl Fn(T::Native) -> u64) {
    let values = column.as_primitive::<T>();
    let plain = values.values();
    each(column.nulls(), hashes, |row| bits(plain[row]));
}

fn lists<O: OffsetSizeTrait>(column: &dyn Array, hashes: &mut [u64]) -> Result<()> {
    let values = column.as_list::<O>();
    let inner = self::hashes(std::slice::from_ref(values.values()), values.values().len())?;
    let offsets = values.value_offsets();
    each(column.nulls(), hashes, |row| {
        let range = offsets[row].as_usize()..offsets[row + 1].as_usize();
        inner[range].iter().fold(SEED, |hash, item| mix(hash ^ item))
    });
    Ok(())
}

fn each(nulls: Option<&NullBuffer>, hashes: &mut [u64], value: impl Fn(usize) -> u64) {
    match nulls.filter(|nulls| nulls.null_count() > 0) {
        None => hashes.iter_mut().enumerate().for_each(|(row, hash)| *hash = mix(*hash ^ mix(value(row)))),
        Some(nulls) => hashes.iter_mut().enumerate().for_each(|(row, hash)| {
            let bits = if nulls.is_valid(row) { mix(value(row)) } else { NULL };
            *hash = mix(*hash ^ bits);
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int32Array, Int64Array, StringArray, StringViewArray};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hashes_never_change() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(0), Some(1), Some(-1), None]));
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some(""), Some("a"), None, Some("thalweg")]));
        let groups = key_groups(&[numbers, texts], 4, 128).unwrap();
        assert_eq!(groups, EXPECTED, "a savepoint of an older build could not be read any more");
    }

    /// What the first build has computed.
    const EXPECTED: [KeyGroup; 4] = [90, 125, 10, 85];

    #[test]
    fn what_is_equal_hashes_alike_in_every_layout() {
        let narrow: ArrayRef = Arc::new(Int32Array::from(vec![-7, 8]));
        let wide: ArrayRef = Arc::new(Int64Array::from(vec![-7, 8]));
        assert_eq!(hashes(&[narrow], 2).unwrap(), hashes(&[wide], 2).unwrap());
        let text: ArrayRef =
            Arc::new(StringArray::from(vec!["one", "a text longer than a view's own bytes"]));
        let view: ArrayRef =
            Arc::new(StringViewArray::from(vec!["one", "a text longer than a view's own bytes"]));
        assert_eq!(hashes(&[text], 2).unwrap(), hashes(&[view], 2).unwrap());
    }

    proptest! {
        #[test]
        fn every_key_group_has_one_subtask(groups in 1u16..300, parallelism in 1u32..300) {
            let parallelism = parallelism.min(u32::from(groups));
            let mut next = 0;
            for subtask in 0..parallelism {
                let range = of_subtask(subtask, groups, parallelism);
                prop_assert_eq!(range.start, next);
                prop_assert!(!range.is_empty());
                for group in range.clone() {
                    prop_assert_eq!(subtask_of(group, groups, parallelism), subtask);
                }
                next = range.end;
            }
            prop_assert_eq!(next, groups);
        }

        #[test]
        fn a_key_group_is_one_of_them(hash in any::<u64>(), groups in 1u16..=u16::MAX) {
            prop_assert!(of_hash(hash, groups) < groups);
        }
    }
}

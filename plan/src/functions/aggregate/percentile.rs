//! `PERCENTILE(number, fraction [, frequency])`: the collected numbers, sorted, read between their places.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, Float64Array, Float64Builder, ListBuilder, StructArray},
    datatypes::{DataType, Field, Fields, Float64Type, Int64Type},
};
use datafusion::common::{Result, exec_err, plan_err};

use super::array_of;
use crate::functions::argument::{Call, numbers};

/// What the function takes: a number, one fraction or an array of them, and a whole number.
pub fn arguments(given: &[DataType]) -> Result<Vec<DataType>> {
    let fraction = |given: &DataType| match given {
        DataType::List(item) if item.data_type().is_numeric() => Some(array_of(DataType::Float64)),
        given if given.is_numeric() => Some(DataType::Float64),
        _ => None,
    };
    match given {
        [number, fractions, frequency @ ..] if number.is_numeric() && frequency.len() <= 1 => {
            let Some(fractions) = fraction(fractions) else { return plan_err!("a fraction is needed") };
            if frequency.iter().any(|frequency| !frequency.is_integer()) {
                return plan_err!("a frequency is a whole number");
            }
            let frequency = frequency.iter().map(|_| DataType::Int64);
            Ok([DataType::Float64, fractions].into_iter().chain(frequency).collect())
        }
        _ => plan_err!("a number and a fraction are needed"),
    }
}

/// Type of the result: as many as there are fractions.
pub fn result(types: &[DataType]) -> Result<DataType> {
    match types {
        [_, fractions, ..] => Ok(fractions.clone()),
        _ => plan_err!("a number and a fraction are needed"),
    }
}

/// Type of what is collected: a number, and how often it counts.
pub fn weighted_type() -> DataType {
    DataType::Struct(Fields::from(vec![
        Field::new("number", DataType::Float64, true),
        Field::new("frequency", DataType::Int64, true),
    ]))
}

/// `percentile_entry(number, frequency)`: NULL where one is, or where the frequency is 0.
pub fn entry(call: &Call) -> Result<ArrayRef> {
    let (values, frequencies) = (call.column(0)?, call.column(1)?);
    let counts = frequencies.as_primitive::<Int64Type>();
    let counted: Vec<bool> = (0..call.rows)
        .map(|row| match counts.is_valid(row).then(|| counts.value(row)) {
            Some(count) if count < 0 => exec_err!("PERCENTILE was given the frequency {count}"),
            count => Ok(values.is_valid(row) && count.is_some_and(|count| count > 0)),
        })
        .collect::<Result<_>>()?;
    let DataType::Struct(fields) = weighted_type() else { return plan_err!("an entry has fields") };
    Ok(Arc::new(StructArray::try_new(fields, vec![values, frequencies], Some(counted.into()))?))
}

/// `percentile_of(entries, fraction)`
pub fn of(call: &Call) -> Result<ArrayRef> {
    let lists = call.column(0)?;
    let lists = lists.as_list::<i32>();
    let entries = lists.values().as_struct();
    let (values, counts) =
        (entries.column(0).as_primitive::<Float64Type>(), entries.column(1).as_primitive::<Int64Type>());
    let sorted = |row: usize| {
        let offsets = lists.value_offsets();
        let places = offsets[row] as usize..offsets[row + 1] as usize;
        (lists.is_valid(row) && !places.is_empty())
            .then(|| Sorted::of(places.map(|place| (values.value(place), counts.value(place)))))
    };
    let fractions = call.column(1)?;
    match fractions.data_type() {
        DataType::List(_) => each(call.rows, fractions.as_list::<i32>(), sorted),
        _ => {
            let fractions = fractions.as_primitive::<Float64Type>();
            numbers::<Float64Type>(call.rows, |row| match sorted(row) {
                Some(sorted) if fractions.is_valid(row) => sorted.at(fractions.value(row)).map(Some),
                _ => Ok(None),
            })
        }
    }
}

fn each(
    rows: usize,
    fractions: &arrow::array::ListArray,
    sorted: impl Fn(usize) -> Option<Sorted>,
) -> Result<ArrayRef> {
    let mut lists = ListBuilder::new(Float64Builder::new());
    for row in 0..rows {
        let sorted = sorted(row).filter(|_| fractions.is_valid(row));
        if let Some(sorted) = &sorted {
            let of_row: &Float64Array = &fractions.value(row).as_primitive::<Float64Type>().clone();
            for fraction in of_row {
                lists.values().append_option(fraction.map(|fraction| sorted.at(fraction)).transpose()?);
            }
        }
        lists.append(sorted.is_some());
    }
    Ok(Arc::new(lists.finish()))
}

/// Numbers in their order, each with the count of those up to it.
struct Sorted(Vec<(f64, i64)>);

impl Sorted {
    fn of(entries: impl Iterator<Item = (f64, i64)>) -> Self {
        let mut entries: Vec<_> = entries.collect();
        entries.sort_by(|(left, _), (right, _)| left.total_cmp(right));
        let mut count = 0i64;
        for (_, frequency) in &mut entries {
            count = count.saturating_add(*frequency);
            *frequency = count;
        }
        Self(entries)
    }

    /// The value at this fraction of the way from the first to the last number.
    fn at(&self, fraction: f64) -> Result<f64> {
        if !(0.0..=1.0).contains(&fraction) {
            return exec_err!("PERCENTILE takes a fraction from 0 to 1, not {fraction}");
        }
        let count = self.0.last().map_or(0, |(_, count)| *count);
        let place = fraction * (count - 1) as f64;
        let (lower, upper) = (self.nth(place.floor() as i64), self.nth(place.ceil() as i64));
        Ok(match place.fract() {
            0.0 => lower,
            fract => (1.0 - fract) * lower + fract * upper,
        })
    }

    fn nth(&self, place: i64) -> f64 {
        self.0[self.0.partition_point(|(_, upto)| *upto <= place)].0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_between_their_places() {
        let sorted = Sorted::of([(7.0, 1), (1.0, 1), (4.0, 1), (2.0, 1)].into_iter());
        assert_eq!(sorted.at(0.5).expect("a value"), 3.0);
        assert_eq!(sorted.at(1.0).expect("a value"), 7.0);
        let weighted = Sorted::of([(9.0, 1), (1.0, 1), (2.0, 5)].into_iter());
        assert_eq!(weighted.at(0.5).expect("a value"), 2.0);
        assert!(sorted.at(1.5).is_err());
    }
}

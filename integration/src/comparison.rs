//! Compares a query's result with an expected answer that another engine gave.
//!
//! Rows are compared as a multiset, then their order on the `ORDER BY` columns alone, which leaves ties free. Decimals and floating
//! point numbers may differ by 1e-6 relative or 0.01 absolute; everything else must be equal as text.

use std::collections::HashMap;

use anyhow::{Context as _, Result, bail};
use arrow::{
    array::{Array as _, RecordBatch},
    datatypes::{DataType, Schema, SchemaRef},
    util::display::{ArrayFormatter, FormatOptions},
};

/// A cell as text; `None` is NULL.
pub type Cell = Option<String>;

/// Rows as text, with the columns that are compared as approximate numbers.
#[derive(Debug, Clone)]
pub struct Rows {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Which columns hold decimals or floating point numbers.
    pub approximate: Vec<bool>,
    /// The rows.
    pub rows: Vec<Vec<Cell>>,
}

impl Rows {
    /// Takes the rows of batches.
    pub fn of_batches(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Self> {
        let options = FormatOptions::default();
        let mut rows = Vec::new();
        for batch in batches {
            let formatters: Vec<_> = batch
                .columns()
                .iter()
                .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
                .collect::<Result<_, _>>()?;
            for row in 0..batch.num_rows() {
                let cell = |(column, formatter): (usize, &ArrayFormatter<'_>)| {
                    (!batch.column(column).is_null(row)).then(|| formatter.value(row).to_string())
                };
                rows.push(formatters.iter().enumerate().map(cell).collect());
            }
        }
        let columns = schema.fields().iter().map(|field| field.name().clone()).collect();
        let approximate = schema.fields().iter().map(|field| is_approximate(field.data_type())).collect();
        Ok(Self { columns, approximate, rows })
    }

    /// Reads an answer in CSV with a header. Empty fields are NULL.
    pub fn of_csv(text: &str) -> Result<Self> {
        let header = text.lines().next().context("the answer has no header")?;
        let columns: Vec<String> = header.split(',').map(str::to_owned).collect();
        let fields = columns.iter().map(|name| arrow::datatypes::Field::new(name, DataType::Utf8, true));
        let schema = SchemaRef::new(Schema::new(fields.collect::<Vec<_>>()));
        let reader =
            arrow::csv::ReaderBuilder::new(schema.clone()).with_header(true).build(text.as_bytes())?;
        Self::of_batches(&schema, &reader.collect::<Result<Vec<_>, _>>()?)
    }
}

fn is_approximate(data_type: &DataType) -> bool {
    data_type.is_floating()
        || matches!(
            data_type,
            DataType::Decimal32(..)
                | DataType::Decimal64(..)
                | DataType::Decimal128(..)
                | DataType::Decimal256(..)
        )
}

/// Checks that `actual` has the rows of `expected`, ordered alike on the columns named in `order_by`. Which columns are approximate is
/// `actual`'s knowledge. The error names the first difference.
pub fn compare(actual: &Rows, expected: &Rows, order_by: &[String]) -> Result<()> {
    if actual.columns.len() != expected.columns.len() {
        bail!("{} columns {:?} instead of {:?}", actual.columns.len(), actual.columns, expected.columns);
    }
    if actual.rows.len() != expected.rows.len() {
        bail!("{} rows instead of {}", actual.rows.len(), expected.rows.len());
    }
    compare_multisets(actual, expected)?;
    let keys = order_by
        .iter()
        .map(|name| expected.columns.iter().position(|column| column == name))
        .collect::<Option<Vec<usize>>>()
        .with_context(|| format!("the columns {order_by:?} are not all in the result"))?;
    for (number, (left, right)) in actual.rows.iter().zip(&expected.rows).enumerate() {
        for &key in &keys {
            if !equal(&left[key], &right[key], actual.approximate[key]) {
                bail!("row {number} is out of order: {left:?} where {right:?} was expected");
            }
        }
    }
    Ok(())
}

fn compare_multisets(actual: &Rows, expected: &Rows) -> Result<()> {
    let exact = |row: &[Cell]| -> Vec<Cell> {
        let cells = row.iter().zip(&actual.approximate);
        cells.filter(|(_, approximate)| !**approximate).map(|(cell, _)| cell.clone()).collect()
    };
    let mut unmatched: HashMap<Vec<Cell>, Vec<&Vec<Cell>>> = HashMap::new();
    for row in &expected.rows {
        unmatched.entry(exact(row)).or_default().push(row);
    }
    for row in &actual.rows {
        let candidates = unmatched.get_mut(&exact(row)).map(|candidates| {
            let found = candidates.iter().position(|candidate| {
                let cells = row.iter().zip(candidate.iter()).zip(&actual.approximate);
                cells.into_iter().all(|((left, right), approximate)| equal(left, right, *approximate))
            });
            found.map(|position| candidates.swap_remove(position))
        });
        if candidates.flatten().is_none() {
            let near = unmatched.values().flatten().next();
            bail!("unexpected row {row:?}; one that is missing: {near:?}");
        }
    }
    Ok(())
}

fn equal(left: &Cell, right: &Cell, approximate: bool) -> bool {
    match (left, right) {
        (Some(left), Some(right)) if approximate => match (left.parse::<f64>(), right.parse::<f64>()) {
            (Ok(left), Ok(right)) => {
                let difference = (left - right).abs();
                difference <= 0.01 || difference <= 1e-6 * left.abs().max(right.abs())
            }
            _ => left == right,
        },
        _ => left == right,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(approximate: &[bool], text: &str) -> Rows {
        Rows { approximate: approximate.to_vec(), ..Rows::of_csv(text).unwrap() }
    }

    #[test]
    fn ties_may_stand_in_any_order_and_decimals_may_differ_a_little() {
        let expected = rows(&[false, true], "a,b\nx,10\ny,5.00\nz,5");
        let actual = rows(&[false, true], "a,b\nx,10.000001\nz,5.0\ny,5");
        compare(&actual, &expected, &["b".to_owned()]).unwrap();
    }

    #[test]
    fn wrong_rows_and_wrong_order_are_found() {
        let expected = rows(&[false, true], "a,b\nx,10\ny,5");
        let order_by = ["b".to_owned()];
        for wrong in ["a,b\nx,10", "a,b\nx,10\ny,6", "a,b\nx,10\nx,10", "a,b\nx,10\n,5", "a,b\ny,5\nx,10"] {
            assert!(compare(&rows(&[false, true], wrong), &expected, &order_by).is_err(), "{wrong}");
        }
    }
}

//! Rows that come with weights as the changes that they are: each as often as it is there, with what becomes of it in front.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray as _, RecordBatch, RecordBatchOptions, StringArray, UInt64Array},
    compute::take,
    datatypes::{DataType, Field, Int64Type, Schema, SchemaRef},
    error::ArrowError,
};
use thalweg_graph::change_kind::{ChangeKind, changes};
use thalweg_plan::stream::changelog::{is_updating, without_weight};

/// Flink's name of the column with what becomes of a row.
pub const OP: &str = "op";

/// Whether rows of these columns may be taken back.
pub fn has_changes(schema: &Schema) -> bool {
    is_updating(schema)
}

/// The columns with [`OP`] in front of them and without weights.
pub fn with_op(schema: &SchemaRef) -> SchemaRef {
    let op = Arc::new(Field::new(OP, DataType::Utf8, false));
    let shown = without_weight(schema);
    let fields = [op].into_iter().chain(shown.fields().iter().cloned());
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The columns without weights.
pub fn without_op(schema: &SchemaRef) -> SchemaRef {
    without_weight(schema)
}

/// Rows as changes, in columns as [`with_op`] makes them.
pub fn as_changes(batch: &RecordBatch, columns: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let weights = match is_updating(batch.schema_ref()) {
        true => batch.columns().last().and_then(|weights| weights.as_primitive_opt::<Int64Type>()),
        false => None,
    };
    let Some(weights) = weights else {
        let ops = vec![ChangeKind::Insert.short(); batch.num_rows()];
        return with_ops(ops, batch.columns().to_vec(), columns);
    };
    let (rows, kinds): (Vec<u64>, Vec<ChangeKind>) =
        changes(weights.values()).map(|(row, kind)| (row as u64, kind)).unzip();
    let rows = UInt64Array::from(rows);
    let shown = &batch.columns()[..batch.num_columns() - 1];
    let shown = shown.iter().map(|column| take(column, &rows, None)).collect::<Result<_, _>>()?;
    with_ops(kinds.into_iter().map(ChangeKind::short).collect(), shown, columns)
}

fn with_ops(
    ops: Vec<&str>,
    mut values: Vec<ArrayRef>,
    columns: &SchemaRef,
) -> Result<RecordBatch, ArrowError> {
    let rows = ops.len();
    values.insert(0, Arc::new(StringArray::from(ops)));
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(columns), values, &options)
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use thalweg_plan::stream::changelog::WEIGHT;

    use super::*;

    #[test]
    fn each_change_is_a_row() {
        let column = |values: Vec<i64>| Arc::new(Int64Array::from(values)) as ArrayRef;
        let batch = RecordBatch::try_from_iter([
            ("n", column(vec![7, 7, 8, 9])),
            (WEIGHT, column(vec![2, -1, 1, -1])),
        ])
        .unwrap();
        let columns = with_op(&batch.schema());
        let shown = as_changes(&batch, &columns).unwrap();
        let ops: Vec<_> = shown.column(0).as_string::<i32>().iter().flatten().collect();
        assert_eq!(ops, ["+I", "+I", "-U", "+U", "-D"]);
        assert_eq!(shown.column(1).as_primitive::<Int64Type>().values(), &[7, 7, 7, 8, 9]);

        let plain = batch.project(&[0]).unwrap();
        let shown = as_changes(&plain, &with_op(&plain.schema())).unwrap();
        assert_eq!(shown.num_rows(), 4);
        assert_eq!(shown.column(0).as_string::<i32>().value(3), "+I");
    }
}

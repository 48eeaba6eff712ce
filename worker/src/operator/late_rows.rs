//! Rows that came too late, on their way to the table that is to have them: whatever its columns are, each becomes a line of the same few.

use std::sync::Arc;

use arrow::{
    array::{Array as _, ArrayRef, RecordBatch, StringArray, TimestampMillisecondArray},
    datatypes::{DataType, Field, Schema},
    util::display::{ArrayFormatter, FormatOptions},
};
use datafusion::error::{DataFusionError, Result};
use parking_lot::Mutex;
use thalweg_connectors::format::record::{EncodeRecords as _, JsonRecordEncoder};
use thalweg_plan::{functions::zone::Zone, stream::late_columns};

use super::times::times;

/// Columns that the planner has added begin so: nobody knows them.
const HIDDEN: &str = "__";

/// How a time is written among a row's columns: as SQL does.
const TIMES_AS: &str = "%Y-%m-%d %H:%M:%S%.f";

/// The late rows of all operators of a chain, until its task takes them.
#[derive(Debug, Clone, Default)]
pub struct LateOutput(Arc<Mutex<Vec<RecordBatch>>>);

impl LateOutput {
    /// Those since the last call.
    pub fn take(&self) -> Vec<RecordBatch> {
        std::mem::take(&mut self.0.lock())
    }
}

/// The way of one operator's late rows.
#[derive(Debug)]
pub struct LateRows {
    /// The operator's name.
    pub operator: String,
    /// What the operator takes for complete is so far ahead of event time.
    pub ahead_ms: i64,
    /// The zone of the session, whose clocks show event time.
    pub zone: Zone,
    /// Where they go.
    pub output: LateOutput,
}

impl LateRows {
    /// Hands rows on that came when all up to `complete_ms` was out; `time` is the column by which they are late.
    pub fn hand_on(&self, rows: &RecordBatch, time: usize, complete_ms: i64) -> Result<()> {
        let count = rows.num_rows();
        if count == 0 {
            return Ok(());
        }
        let column = rows.column(time);
        let shown = |instant: i64| match column.data_type() {
            DataType::Timestamp(_, Some(_)) => self.zone.local_ms(instant),
            _ => instant,
        };
        let event_times = times(column)?;
        let event_times: TimestampMillisecondArray =
            event_times.iter().map(|instant| instant.map(shown)).collect();
        // Behind the end of all time there is none to tell.
        let watermark = (complete_ms < i64::MAX).then(|| shown(complete_ms - self.ahead_ms));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(&self.operator, count))),
            Arc::new(event_times),
            Arc::new(TimestampMillisecondArray::from(vec![watermark; count])),
            Arc::new(content(rows)?),
        ];
        self.output.0.lock().push(RecordBatch::try_new(late_columns(), columns)?);
        Ok(())
    }
}

/// Each row as a JSON object.
fn content(rows: &RecordBatch) -> Result<StringArray> {
    let schema = rows.schema();
    let shown: Vec<usize> =
        (0..schema.fields().len()).filter(|at| !schema.field(*at).name().starts_with(HIDDEN)).collect();
    if shown.is_empty() {
        return Ok(StringArray::from(vec!["{}"; rows.num_rows()]));
    }
    let rows = written(&rows.project(&shown)?)?;
    let objects = JsonRecordEncoder::with(TIMES_AS, true).encode(&rows, None);
    let objects = objects.map_err(|error| DataFusionError::External(Box::new(error)))?;
    let texts = objects.iter().map(|object| {
        std::str::from_utf8(object).map_err(|error| DataFusionError::External(Box::new(error)))
    });
    Ok(StringArray::from(texts.collect::<Result<Vec<&str>>>()?))
}

/// The rows, those of their columns as text that JSON has nothing for.
fn written(rows: &RecordBatch) -> Result<RecordBatch> {
    if rows.columns().iter().all(|column| has_json(column.data_type())) {
        return Ok(rows.clone());
    }
    let mut fields = Vec::with_capacity(rows.num_columns());
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(rows.num_columns());
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        if has_json(column.data_type()) {
            fields.push(Arc::clone(field));
            columns.push(Arc::clone(column));
            continue;
        }
        let format = FormatOptions::default();
        let shown = ArrayFormatter::try_new(column.as_ref(), &format)?;
        let text = |row: usize| column.is_valid(row).then(|| shown.value(row).to_string());
        fields.push(Arc::new(Field::new(field.name(), DataType::Utf8, true)));
        columns.push(Arc::new((0..column.len()).map(text).collect::<StringArray>()));
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// Whether values of a type are written as JSON: the keys of an object are strings.
fn has_json(data_type: &DataType) -> bool {
    match data_type {
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) => {
                fields.first().is_some_and(|key| key.data_type().is_string())
                    && fields.iter().all(|field| has_json(field.data_type()))
            }
            _ => false,
        },
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            has_json(item.data_type())
        }
        DataType::Struct(fields) => fields.iter().all(|field| has_json(field.data_type())),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{AsArray as _, Int32Builder, Int64Array, MapBuilder, StringBuilder},
        datatypes::{TimeUnit, TimestampMillisecondType},
    };

    use super::*;

    fn late(zone: &str) -> LateRows {
        let zone = Zone::named(zone).unwrap();
        LateRows { operator: "WindowAggregate".to_owned(), ahead_ms: 1, zone, output: LateOutput::default() }
    }

    fn rows(time: DataType) -> RecordBatch {
        let schema = Schema::new(vec![
            Field::new("k", DataType::Int64, true),
            Field::new("__of_row_t", DataType::Int64, true),
            Field::new("t", time.clone(), true),
        ]);
        let times = TimestampMillisecondArray::from(vec![1_000, 2_500]).with_data_type(time);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![Some(7), None])),
            Arc::new(Int64Array::from(vec![0, 0])),
            Arc::new(times),
        ];
        RecordBatch::try_new(Arc::new(schema), columns).unwrap()
    }

    #[test]
    fn a_late_row_is_told_with_its_columns_and_what_it_was_late_by() {
        let late = late("Europe/Berlin");
        late.hand_on(&rows(DataType::Timestamp(TimeUnit::Millisecond, None)), 2, 10_000).unwrap();
        let taken = late.output.take();
        assert_eq!((taken.len(), taken[0].num_rows(), late.output.take().len()), (1, 2, 0));
        let times =
            |at: usize| taken[0].column(at).as_primitive::<TimestampMillisecondType>().values().to_vec();
        assert_eq!((times(1), times(2)), (vec![1_000, 2_500], vec![9_999, 9_999]));
        let content: Vec<_> = taken[0].column(3).as_string::<i32>().iter().flatten().collect();
        assert_eq!(
            content,
            [r#"{"k":7,"t":"1970-01-01 00:00:01"}"#, r#"{"k":null,"t":"1970-01-01 00:00:02.500"}"#]
        );
    }

    #[test]
    fn instants_are_shown_by_the_clocks_of_the_session() {
        let late = late("Europe/Berlin");
        let instants = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
        late.hand_on(&rows(instants), 2, i64::MAX).unwrap();
        let taken = late.output.take();
        let event_times = taken[0].column(1).as_primitive::<TimestampMillisecondType>();
        assert_eq!(event_times.values(), &[3_601_000, 3_602_500], "an hour ahead of UTC");
        assert!(taken[0].column(2).is_null(0), "all of the input has come");
    }

    #[test]
    fn a_map_whose_keys_are_no_strings_is_text() {
        let mut maps = MapBuilder::new(None, Int32Builder::new(), StringBuilder::new());
        maps.keys().append_value(7);
        maps.values().append_value("x");
        maps.append(true).unwrap();
        maps.append(false).unwrap();
        let maps = maps.finish();
        let schema = Schema::new(vec![Field::new("m", maps.data_type().clone(), true)]);
        let rows = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(maps)]).unwrap();
        let content = content(&rows).unwrap();
        let content: Vec<_> = content.iter().flatten().collect();
        assert_eq!(content, [r#"{"m":"{7: x}"}"#, r#"{"m":null}"#]);
    }
}

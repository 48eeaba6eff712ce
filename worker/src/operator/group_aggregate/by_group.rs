//! Any other aggregate, of rows that are only added: one of DataFusion's accumulators for each group.

use std::sync::Arc;

use arrow::{
    array::{Array as _, ArrayRef, UInt32Array, new_empty_array},
    compute::take,
    datatypes::DataType,
};
use datafusion::{
    common::ScalarValue, error::Result, logical_expr::Accumulator,
    physical_expr::aggregate::AggregateFunctionExpr,
};

use super::values::{Rows, Values};

/// Accumulators.
pub struct ByGroup {
    function: Arc<AggregateFunctionExpr>,
    state_types: Vec<DataType>,
    accumulators: Vec<Option<Box<dyn Accumulator>>>,
    bytes: usize,
}

impl ByGroup {
    /// No groups yet.
    pub fn new(function: Arc<AggregateFunctionExpr>) -> Result<Self> {
        let state_types = function.state_fields()?.iter().map(|field| field.data_type().clone()).collect();
        Ok(Self { function, state_types, accumulators: Vec::new(), bytes: 0 })
    }

    fn of(&mut self, group: usize) -> Result<&mut Box<dyn Accumulator>> {
        match &mut self.accumulators[group] {
            Some(accumulator) => Ok(accumulator),
            none => Ok(none.insert(self.function.create_accumulator()?)),
        }
    }
}

impl Values for ByGroup {
    fn resize(&mut self, groups: usize) {
        self.accumulators.resize_with(groups, || None);
    }

    fn update(&mut self, rows: &Rows<'_>) -> Result<()> {
        let counts = |row: &usize| rows.filter.as_ref().is_none_or(|filter| filter.is_valid(*row));
        let mut order: Vec<usize> = (0..rows.groups.len()).filter(counts).collect();
        order.sort_by_key(|row| rows.groups[*row]);
        for run in order.chunk_by(|one, other| rows.groups[*one] == rows.groups[*other]) {
            let numbers = UInt32Array::from_iter_values(run.iter().map(|row| *row as u32));
            let columns = rows.columns.iter().map(|column| Ok(take(column, &numbers, None)?));
            let columns = columns.collect::<Result<Vec<_>>>()?;
            let accumulator = self.of(rows.groups[run[0]])?;
            let before = accumulator.size();
            accumulator.update_batch(&columns)?;
            let more = accumulator.size() as isize - before as isize;
            self.bytes = self.bytes.saturating_add_signed(more);
        }
        Ok(())
    }

    fn results(&mut self, groups: &[u32]) -> Result<ArrayRef> {
        let mut results = Vec::with_capacity(groups.len());
        for group in groups {
            results.push(self.of(*group as usize)?.evaluate()?);
        }
        column(results, self.function.field().data_type())
    }

    fn state_types(&self) -> Vec<DataType> {
        self.state_types.clone()
    }

    fn states(&mut self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut columns = vec![Vec::with_capacity(groups.len()); self.state_types.len()];
        for group in groups {
            let states = self.of(*group as usize)?.state()?;
            // Some give their state away.
            let mut again = self.function.create_accumulator()?;
            let own = states.iter().map(ScalarValue::to_array).collect::<Result<Vec<_>>>()?;
            again.merge_batch(&own)?;
            self.accumulators[*group as usize] = Some(again);
            columns.iter_mut().zip(states).for_each(|(column, state)| column.push(state));
        }
        columns
            .into_iter()
            .zip(&self.state_types)
            .map(|(states, data_type)| column(states, data_type))
            .collect()
    }

    fn merge(&mut self, groups: &[usize], states: &[ArrayRef]) -> Result<()> {
        for (row, group) in groups.iter().enumerate() {
            let own: Vec<ArrayRef> = states.iter().map(|column| column.slice(row, 1)).collect();
            let accumulator = self.of(*group)?;
            let before = accumulator.size();
            accumulator.merge_batch(&own)?;
            let more = accumulator.size() as isize - before as isize;
            self.bytes = self.bytes.saturating_add_signed(more);
        }
        Ok(())
    }

    fn set(&mut self, groups: &[usize], states: &[ArrayRef]) -> Result<()> {
        for (row, group) in groups.iter().enumerate() {
            let own: Vec<ArrayRef> = states.iter().map(|column| column.slice(row, 1)).collect();
            self.accumulators[*group] = None;
            let accumulator = self.of(*group)?;
            accumulator.merge_batch(&own)?;
            self.bytes += accumulator.size();
        }
        Ok(())
    }

    fn forget(&mut self, groups: &[u32]) -> Result<()> {
        for group in groups {
            let gone = self.accumulators[*group as usize].take();
            self.bytes = self.bytes.saturating_sub(gone.map_or(0, |gone| gone.size()));
        }
        Ok(())
    }

    fn keep(&mut self, groups: &[u32]) -> Result<()> {
        self.accumulators = groups.iter().map(|group| self.accumulators[*group as usize].take()).collect();
        self.bytes = self.accumulators.iter().flatten().map(|accumulator| accumulator.size()).sum();
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.accumulators.capacity() * size_of::<Option<Box<dyn Accumulator>>>() + self.bytes
    }
}

fn column(values: Vec<ScalarValue>, data_type: &DataType) -> Result<ArrayRef> {
    match values.is_empty() {
        true => Ok(new_empty_array(data_type)),
        false => ScalarValue::iter_to_array(values),
    }
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{AsArray as _, StringArray},
        datatypes::{Field, Schema},
    };
    use datafusion::{
        functions_aggregate::string_agg::string_agg_udaf,
        physical_expr::{
            aggregate::AggregateExprBuilder,
            expressions::{col, lit},
        },
    };

    use super::*;

    #[test]
    fn what_was_given_to_a_checkpoint_is_still_there() {
        let schema = Arc::new(Schema::new(vec![Field::new("t", DataType::Utf8, true)]));
        let arguments = vec![col("t", &schema).unwrap(), lit(",")];
        let listed = AggregateExprBuilder::new(string_agg_udaf(), arguments).schema(schema).alias("l");
        let mut values = ByGroup::new(Arc::new(listed.build().unwrap())).unwrap();
        values.resize(2);
        let add = |values: &mut ByGroup, groups: &[usize], texts: &[&str]| {
            let commas = StringArray::from(vec![","; texts.len()]);
            let columns: [ArrayRef; 2] = [Arc::new(StringArray::from(texts.to_vec())), Arc::new(commas)];
            values.update(&Rows { groups, columns: &columns, filter: None, weights: None }).unwrap();
        };
        let texts = |values: &mut ByGroup| -> Vec<String> {
            let results = values.results(&[0, 1]).unwrap();
            let results = arrow::compute::cast(&results, &DataType::Utf8).unwrap();
            results.as_string::<i32>().iter().map(|text| text.unwrap_or("NULL").to_owned()).collect()
        };
        add(&mut values, &[0, 1, 0], &["a", "b", "c"]);
        let kept = values.states(&[0, 1]).unwrap();
        assert_eq!(texts(&mut values), ["a,c", "b"]);
        add(&mut values, &[1], &["d"]);
        let again = values.states(&[0, 1]).unwrap();
        assert_eq!(texts(&mut values), ["a,c", "b,d"]);
        values.set(&[0, 1], &kept).unwrap();
        assert_eq!(texts(&mut values), ["a,c", "b"]);
        values.set(&[0, 1], &again).unwrap();
        assert_eq!(texts(&mut values), ["a,c", "b,d"]);
    }
}

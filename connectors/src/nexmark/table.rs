//! The table for reading: which columns and kinds of events a query wants.

use std::sync::Arc;

use arrow::{
    array::{AsArray as _, Int32Array, RecordBatch},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{ColumnStatistics, DFSchema, Statistics, project_schema, stats::Precision},
    datasource::TableType,
    error::Result as DataFusionResult,
    logical_expr::{Expr, TableProviderFilterPushDown},
    physical_plan::ExecutionPlan,
};
use thalweg_graph::table::TableDescriptor;
use thalweg_plan::exec::{ConnectorScan, ConnectorSourceExec};

use super::{
    columns::{self, EVENT_TYPE},
    options::NexmarkOptions,
};
use crate::error::{Error, Result};

/// The kinds of events that a scan gives, as the plan carries them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WantedKinds(pub [bool; 3]);

impl WantedKinds {
    /// What a scan has kept of its filters; all where it has kept nothing.
    pub fn decode(bytes: &[u8]) -> Self {
        match <[u8; 3]>::try_from(bytes) {
            Ok(kinds) => Self(kinds.map(|kind| kind != 0)),
            Err(_) => Self([true; 3]),
        }
    }

    fn encode(self) -> Vec<u8> {
        self.0.map(u8::from).to_vec()
    }
}

/// The table.
#[derive(Debug)]
pub struct NexmarkTable {
    descriptor: TableDescriptor,
    schema: SchemaRef,
    options: NexmarkOptions,
}

impl NexmarkTable {
    /// Of a table with its physical columns.
    pub fn new(descriptor: TableDescriptor, schema: SchemaRef) -> Result<Self> {
        let options = NexmarkOptions::of(&descriptor)?;
        columns::columns(&schema, options.only)?;
        Ok(Self { descriptor, schema, options })
    }

    /// Whether a filter says nothing but which kinds of events are wanted.
    fn is_about_kinds(&self, filter: &Expr) -> bool {
        let mut columns = filter.column_refs().into_iter().peekable();
        self.options.only.is_none()
            && columns.peek().is_some()
            && columns.all(|column| column.name == EVENT_TYPE)
            && !filter.is_volatile()
    }

    /// The kinds for which all filters are true: asked of a row of each.
    fn wanted(&self, session: &dyn Session, filters: &[Expr]) -> DataFusionResult<WantedKinds> {
        let mut wanted = match self.options.only {
            Some(only) => [0, 1, 2].map(|kind| kind == only as usize),
            None => [true; 3],
        };
        let schema = Arc::new(Schema::new(vec![Field::new(EVENT_TYPE, DataType::Int32, true)]));
        let kinds = RecordBatch::try_new(
            Arc::clone(&schema),
            vec![Arc::new(Int32Array::from_iter_values(0..wanted.len() as i32))],
        )?;
        let schema = DFSchema::try_from(schema)?;
        for filter in filters.iter().filter(|filter| self.is_about_kinds(filter)) {
            let filter = session.create_physical_expr(filter.clone(), &schema)?;
            let answers = filter.evaluate(&kinds)?.into_array(wanted.len())?;
            let answers = answers
                .as_boolean_opt()
                .ok_or_else(|| Error::Internal(format!("the filter {filter} is not of type BOOLEAN")))?;
            wanted.iter_mut().zip(answers).for_each(|(wanted, answer)| *wanted &= answer == Some(true));
        }
        Ok(WantedKinds(wanted))
    }

    fn rows(&self, wanted: WantedKinds) -> Precision<usize> {
        let Some(events) = self.options.numbering.end else { return Precision::Absent };
        let proportions = &self.options.proportions;
        let (rounds, rest) = (events / proportions.total, events % proportions.total);
        let mut rows = 0;
        let mut begin = 0;
        for (kind, wanted) in wanted.0.into_iter().enumerate() {
            let count = proportions.of[kind];
            if wanted {
                rows += rounds * count + rest.saturating_sub(begin).min(count);
            }
            begin += count;
        }
        Precision::Exact(rows as usize)
    }
}

#[async_trait]
impl TableProvider for NexmarkTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        let support = |filter: &&Expr| match self.is_about_kinds(filter) {
            true => TableProviderFilterPushDown::Exact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let wanted = self.wanted(session, filters)?;
        let schema = project_schema(&self.schema, projection)?;
        let statistics = Statistics {
            num_rows: self.rows(wanted),
            total_byte_size: Precision::Absent,
            column_statistics: vec![ColumnStatistics::new_unknown(); schema.fields().len()],
        };
        let scan = ConnectorScan::new(self.descriptor.clone(), projection.cloned(), limit);
        let scan = ConnectorScan { taken: wanted.encode().into(), ..scan };
        let splits = self.options.numbering.deal(session.config().target_partitions());
        Ok(Arc::new(ConnectorSourceExec::new(scan, schema, splits).with_statistics(statistics)))
    }
}

//! The leaf of a fragment that reads a source which is not one of DataFusion's file scans: generated rows, ORC files.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use datafusion::{
    arrow::datatypes::SchemaRef,
    common::{Result, Statistics, internal_err, tree_node::TreeNodeRecursion},
    config::ConfigOptions,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
        coop::make_cooperative,
        execution_plan::{Boundedness, EmissionType, SchedulingType},
        metrics::{BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet},
        statistics::StatisticsArgs,
        stream::RecordBatchStreamAdapter,
    },
};
use futures::TryStreamExt as _;
use serde::{Deserialize, Serialize};
use thalweg_graph::{source::Split, table::TableDescriptor};

/// What a connector is asked to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectorScan {
    /// The table.
    pub table: TableDescriptor,
    /// The columns wanted, as positions in the table's columns, in the order wanted; `None` is all of them.
    pub projection: Option<Vec<usize>>,
    /// Rows after which the reader may stop, in each partition.
    pub limit: Option<usize>,
    /// Of each column wanted that is a ROW, the fields that are read; in the others may be anything that their types allow. `None`, or
    /// no entry, is all of them.
    pub read_fields: Vec<Option<Vec<String>>>,
    /// What the connector has made of the filters that it takes, in its own words.
    pub taken: Bytes,
}

impl ConnectorScan {
    /// A scan of these columns, with all their fields and without a filter.
    pub fn new(table: TableDescriptor, projection: Option<Vec<usize>>, limit: Option<usize>) -> Self {
        Self { table, projection, limit, read_fields: Vec::new(), taken: Bytes::new() }
    }
}

/// Opens sources in a task. Implemented by the connectors.
pub trait OpenSource: Send + Sync {
    /// The rows of some splits of a scan, with exactly the columns of `schema`. Rows that are left out because they cannot be
    /// read are counted in `skipped`.
    fn open(
        &self,
        scan: &ConnectorScan,
        splits: &[Split],
        schema: SchemaRef,
        context: Arc<TaskContext>,
        skipped: Count,
    ) -> Result<SendableRecordBatchStream>;
}

/// The counter, among a scan's, of rows that were left out because they cannot be read.
pub const SKIPPED_ROWS: &str = "skipped_rows";

/// The session-config extension under which [`ConnectorSourceExec`] finds the connectors.
pub struct ConnectorReader(pub Arc<dyn OpenSource>);

/// Reads a table through its connector. Its splits stand in the job graph beside the fragment, like those of file scans.
#[derive(Debug, Clone)]
pub struct ConnectorSourceExec {
    /// What is read.
    pub scan: ConnectorScan,
    /// The splits of each partition.
    pub splits: Vec<Vec<Split>>,
    statistics: Arc<Statistics>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl ConnectorSourceExec {
    /// A scan whose rows have `schema` (the projected one), with the splits of each partition.
    pub fn new(scan: ConnectorScan, schema: SchemaRef, splits: Vec<Vec<Split>>) -> Self {
        let statistics = Arc::new(Statistics::new_unknown(&schema));
        let properties = Arc::new(
            PlanProperties::new(
                EquivalenceProperties::new(schema),
                Partitioning::UnknownPartitioning(splits.len()),
                EmissionType::Incremental,
                Boundedness::Bounded,
            )
            .with_scheduling_type(SchedulingType::Cooperative),
        );
        Self { scan, splits, statistics, properties, metrics: ExecutionPlanMetricsSet::new() }
    }

    /// The same scan with what is known about its rows.
    pub fn with_statistics(self, statistics: Statistics) -> Self {
        Self { statistics: Arc::new(statistics), ..self }
    }

    /// The same scan with fewer fields of its columns wanted.
    pub fn with_read_fields(&self, read_fields: Vec<Option<Vec<String>>>) -> Self {
        let scan = ConnectorScan { read_fields, ..self.scan.clone() };
        Self::new(scan, self.schema(), self.splits.clone()).with_statistics(self.statistics.as_ref().clone())
    }

    /// The same scan with other splits.
    pub fn with_splits(&self, splits: Vec<Vec<Split>>) -> Self {
        Self::new(self.scan.clone(), self.schema(), splits).with_statistics(self.statistics.as_ref().clone())
    }
}

impl DisplayAs for ConnectorSourceExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schema = self.properties.eq_properties.schema();
        let read = self.scan.read_fields.iter().map(Option::as_ref).chain(std::iter::repeat(None));
        let columns = schema.fields().iter().zip(read).map(|(field, read)| match read {
            Some(read) => format!("{}({})", field.name(), read.join(", ")),
            None => field.name().clone(),
        });
        let columns: Vec<_> = columns.collect();
        let table = &self.scan.table;
        write!(
            f,
            "ConnectorSourceExec: table={}, connector={}, columns=[{}]",
            table.path,
            table.connector(),
            columns.join(", ")
        )?;
        match self.scan.limit {
            Some(limit) => write!(f, ", limit={limit}"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for ConnectorSourceExec {
    fn name(&self) -> &str {
        "ConnectorSourceExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    /// Deals the splits over as many partitions as there are splits, up to the target.
    fn repartitioned(&self, target: usize, _: &ConfigOptions) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let count = self.splits.iter().map(Vec::len).sum::<usize>().min(target);
        if count <= self.splits.len() {
            return Ok(None);
        }
        let mut dealt = vec![Vec::new(); count];
        for (position, split) in self.splits.iter().flatten().enumerate() {
            dealt[position % count].push(split.clone());
        }
        Ok(Some(Arc::new(self.with_splits(dealt))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some(reader) = context.session_config().get_extension::<ConnectorReader>() else {
            return internal_err!("table {} is read outside of a task", self.scan.table.path);
        };
        let Some(splits) = self.splits.get(partition) else {
            return internal_err!("table {} has no partition {partition}", self.scan.table.path);
        };
        // A source that always has rows would otherwise never give its thread back, not even to be cancelled.
        let skipped = MetricBuilder::new(&self.metrics).counter(SKIPPED_ROWS, partition);
        let rows = reader.0.open(&self.scan, splits, self.schema(), context, skipped)?;
        let rows = make_cooperative(rows);
        let counted = BaselineMetrics::new(&self.metrics, partition);
        let rows = rows.inspect_ok(move |batch| counted.record_output(batch.num_rows()));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }

    fn statistics_from_inputs(
        &self,
        _: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        Ok(match args.partition() {
            None => Arc::clone(&self.statistics),
            Some(_) => Arc::new(Statistics::new_unknown(&self.schema())),
        })
    }
}

//! The tables that a task's rows look up: read before the first row comes, and again as often as they ask for it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    error::{DataFusionError, Result},
    execution::TaskContext,
    physical_expr::PhysicalExpr,
};
use thalweg_connectors::{
    BuiltinConnectors,
    lookup::{FullCache, LookupSource},
};
use thalweg_plan::{
    exec::codec,
    stream::{LookupJoinSpec, OperatorKind, OperatorSpec},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use crate::operator::{calc::Calc, lookup_join::table::LookupTable};

/// How long is waited before a reading that failed is tried again; twice as long each time.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// The table that each lookup join finds rows in, by the name of its operator.
pub type Lookups = BTreeMap<String, watch::Receiver<Arc<LookupTable>>>;

/// Reads the tables of a chain, and begins to read them again and again where they ask for it.
pub async fn open(
    chain: &[OperatorSpec],
    connectors: &Arc<BuiltinConnectors>,
    context: &Arc<TaskContext>,
) -> Result<Lookups> {
    let mut lookups = Lookups::new();
    for operator in chain {
        if let OperatorKind::LookupJoin(spec) = &operator.kind {
            let loader = Loader::new(spec, connectors, context)?;
            let (hand_over, table) = watch::channel(Arc::new(loader.load().await?));
            lookups.insert(operator.uid.clone(), table);
            if let Some(interval) = loader.cache.reload_interval {
                tokio::spawn(loader.reload(interval, hand_over));
            }
        }
    }
    Ok(lookups)
}

struct Loader {
    source: Box<dyn LookupSource>,
    cache: FullCache,
    calc: Calc,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    /// The columns of the rows that are found.
    schema: SchemaRef,
    table: String,
}

impl Loader {
    fn new(
        spec: &LookupJoinSpec,
        connectors: &Arc<BuiltinConnectors>,
        context: &Arc<TaskContext>,
    ) -> Result<Self> {
        let projection = spec.projection.iter().map(|column| *column as usize).collect();
        let (source, cache) = connectors.open_lookup(&spec.table, projection, Arc::clone(context))?;
        let plan = codec::decode(&spec.rows, context)?;
        let schema = plan.schema();
        let keys = spec.right_keys.iter().map(|key| codec::decode_expr(key, &schema, context));
        let keys = keys.collect::<Result<_>>()?;
        Ok(Self { source, cache, calc: Calc::of(&plan)?, keys, schema, table: spec.table.path.to_string() })
    }

    /// Reads the table, several times if need be.
    async fn load(&self) -> Result<LookupTable> {
        let mut delay = RETRY_DELAY;
        for retries_left in (0..=self.cache.max_retries).rev() {
            match self.source.rows().await {
                Ok(rows) => return self.table_of(rows),
                Err(error) if retries_left == 0 => return Err(error.into()),
                Err(error) => {
                    tracing::warn!(table = self.table, %error, "the table cannot be read to be looked up: trying again");
                    sleep(delay).await;
                    delay *= 2;
                }
            }
        }
        Err(DataFusionError::Internal("a table is never read".to_owned()))
    }

    fn table_of(&self, batches: Vec<RecordBatch>) -> Result<LookupTable> {
        let mut rows = Vec::with_capacity(batches.len());
        for batch in batches {
            rows.extend(self.calc.apply(batch)?);
        }
        LookupTable::new(&self.schema, &rows, &self.keys)
    }

    /// Hands over what is there after each interval, until nobody looks it up any more. What was there is looked up as long as
    /// nothing new can be read.
    async fn reload(self, interval: Duration, hand_over: watch::Sender<Arc<LookupTable>>) {
        let mut begun = Instant::now();
        loop {
            tokio::select! {
                () = hand_over.closed() => return,
                () = sleep_until(begun + interval) => {}
            }
            let start = Instant::now();
            match self.load().await {
                Ok(table) => {
                    hand_over.send_replace(Arc::new(table));
                }
                Err(error) => {
                    tracing::warn!(table = self.table, %error, "the table cannot be read again: its old rows are looked up");
                }
            }
            begun = if self.cache.at_fixed_rate { start } else { Instant::now() };
        }
    }
}

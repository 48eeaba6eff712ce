//! What DataFusion's SQL planner asks: tables that were looked up ahead, and those of the session's functions that Flink has.

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::{
    common::{Result, TableReference, config::ConfigOptions},
    datasource::{cte_worktable::CteWorkTable, provider_as_source},
    error::DataFusionError,
    execution::SessionState,
    logical_expr::{
        AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF,
        planner::{ContextProvider, ExprPlanner, RelationPlanner, TypePlanner},
    },
    sql::planner::{NullOrdering, ParserOptions},
};
use thalweg_graph::SqlError;

use super::{types::FlinkTypes, window_functions::WindowFunctions};
use crate::functions::is_callable;

/// What a name leads to: a table, or why there is none. The refusal counts only if the planner asks for the name, which it
/// does not where a `WITH` clause has it.
pub type Found = std::result::Result<Arc<dyn TableSource>, SqlError>;

/// The tables of one query and the session's functions.
pub struct Context<'a> {
    state: &'a SessionState,
    tables: HashMap<TableReference, Found>,
    relation_planners: [Arc<dyn RelationPlanner>; 1],
}

impl<'a> Context<'a> {
    /// Answers from these tables.
    pub fn new(state: &'a SessionState, tables: HashMap<TableReference, Found>) -> Self {
        Self { state, tables, relation_planners: [Arc::new(WindowFunctions)] }
    }
}

/// How texts are taken: names as they are written, numbers with a point as decimals, NULL as the smallest value.
pub fn parser_options() -> ParserOptions {
    ParserOptions::new()
        .with_enable_ident_normalization(false)
        .with_parse_float_as_decimal(true)
        .with_collect_spans(true)
        .with_default_null_ordering(NullOrdering::NullsMin)
}

/// The function of this name, if Flink has it.
fn callable<T>(functions: &HashMap<String, Arc<T>>, name: &str) -> Option<Arc<T>> {
    is_callable(name).then(|| functions.get(&name.to_lowercase()).cloned()).flatten()
}

impl ContextProvider for Context<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        match self.tables.get(&name) {
            Some(Ok(source)) => Ok(Arc::clone(source)),
            Some(Err(refused)) => Err(DataFusionError::External(Box::new(refused.clone()))),
            None => Err(DataFusionError::Plan(format!("table or view `{name}` does not exist"))),
        }
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> Result<Arc<dyn TableSource>> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(name, schema))))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.state.expr_planners()
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        &self.relation_planners
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(FlinkTypes))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        callable(self.state.scalar_functions(), name)
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        callable(self.state.higher_order_functions(), name)
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        callable(self.state.aggregate_functions(), name)
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        callable(self.state.window_functions(), name)
    }

    fn get_variable_type(&self, _variable_names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.state.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.state.scalar_functions().keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        self.state.higher_order_functions().keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.state.aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.state.window_functions().keys().cloned().collect()
    }
}

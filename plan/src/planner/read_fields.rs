//! Which fields of ROW columns a plan reads, told to the scans of connectors that can leave the others out.
//!
//! A scan keeps its columns and their types; what it puts into a field that nobody reads does not matter. So no expression changes,
//! and where this does not see through a node, all fields below it are read.

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use datafusion::{
    arrow::datatypes::{DataType, SchemaRef},
    catalog::{ScanArgs, ScanResult, Session, TableProvider},
    common::{
        DFSchema, Result, Statistics, internal_err,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    datasource::{TableType, provider_as_source, source_as_provider},
    functions::core::getfield::GetFieldFunc,
    logical_expr::{Expr, Extension, LogicalPlan, TableProviderFilterPushDown},
    physical_plan::ExecutionPlan,
};

use crate::{exec::ConnectorSourceExec, stream::WatermarkNode};

/// What is read of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Read {
    Fields(BTreeSet<String>),
    All,
}

impl Read {
    fn nothing() -> Self {
        Read::Fields(BTreeSet::new())
    }

    fn and(&mut self, other: &Read) {
        match (&mut *self, other) {
            (Read::Fields(fields), Read::Fields(more)) => fields.extend(more.iter().cloned()),
            _ => *self = Read::All,
        }
    }
}

/// The plan whose scans know which fields are read. Comes after all rules: none may read another field behind it.
pub(super) fn tell_scans(plan: LogicalPlan) -> Result<LogicalPlan> {
    let all = vec![Read::All; plan.schema().fields().len()];
    told(plan, &all)
}

/// The plan, of whose columns so much is read.
fn told(plan: LogicalPlan, read: &[Read]) -> Result<LogicalPlan> {
    match &plan {
        LogicalPlan::TableScan(_) => scan(plan, read),
        LogicalPlan::Projection(projection) => {
            let mut below = nothing(projection.input.schema());
            for (expr, read) in projection.expr.iter().zip(read) {
                add(expr, read, projection.input.schema(), &mut below);
            }
            with_input(plan, &below)
        }
        LogicalPlan::Filter(filter) => {
            let mut below = read.to_vec();
            add(&filter.predicate, &Read::All, filter.input.schema(), &mut below);
            with_input(plan, &below)
        }
        LogicalPlan::SubqueryAlias(_) => with_input(plan, read),
        LogicalPlan::Extension(Extension { node }) => match node.as_any().downcast_ref::<WatermarkNode>() {
            Some(watermark) => {
                let mut below = read.to_vec();
                let schema = watermark.input.schema();
                add(&watermark.expression, &Read::All, schema, &mut below);
                add(&Expr::Column(watermark.time.clone()), &Read::All, schema, &mut below);
                with_input(plan, &below)
            }
            None => below_unknown(plan),
        },
        _ => below_unknown(plan),
    }
}

fn nothing(schema: &DFSchema) -> Vec<Read> {
    vec![Read::nothing(); schema.fields().len()]
}

fn with_input(plan: LogicalPlan, below: &[Read]) -> Result<LogicalPlan> {
    let below = match has_subquery(&plan)? {
        true => vec![Read::All; below.len()],
        false => below.to_vec(),
    };
    let inputs: Vec<LogicalPlan> = plan.inputs().into_iter().cloned().collect();
    let [input] =
        <[LogicalPlan; 1]>::try_from(inputs).or_else(|_| internal_err!("one input was expected"))?;
    let input = told(input, &below)?;
    rebuilt(plan, vec![input])
}

/// A subquery's own plan may read columns of the row around it.
fn has_subquery(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_expressions(|expr| {
        found |= expr.exists(|node| {
            Ok(matches!(
                node,
                Expr::ScalarSubquery(_)
                    | Expr::Exists(_)
                    | Expr::InSubquery(_)
                    | Expr::OuterReferenceColumn(..)
            ))
        })?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

/// A node of another kind reads all of its inputs' columns.
fn below_unknown(plan: LogicalPlan) -> Result<LogicalPlan> {
    let inputs = plan.inputs().into_iter().cloned().map(tell_scans).collect::<Result<Vec<_>>>()?;
    if inputs.is_empty() { Ok(plan) } else { rebuilt(plan, inputs) }
}

fn rebuilt(plan: LogicalPlan, inputs: Vec<LogicalPlan>) -> Result<LogicalPlan> {
    let mut inputs = inputs.into_iter();
    let rebuilt = plan.map_children(|child| Ok(Transformed::yes(inputs.next().unwrap_or(child))))?;
    Ok(rebuilt.data)
}

/// What an expression reads of the columns of `schema`, when so much is read of its value.
fn add(expr: &Expr, read: &Read, schema: &DFSchema, below: &mut [Read]) {
    match expr {
        Expr::Alias(alias) => add(&alias.expr, read, schema, below),
        Expr::Column(column) => match schema.maybe_index_of_column(column) {
            Some(position) => below[position].and(read),
            None => below.iter_mut().for_each(|column| *column = Read::All),
        },
        Expr::ScalarFunction(call) if call.func.inner().is::<GetFieldFunc>() => match &call.args[..] {
            [Expr::Column(column), Expr::Literal(name, _), ..] => {
                let field = name.try_as_str().flatten();
                let read = field.map_or(Read::All, |field| Read::Fields([field.to_owned()].into()));
                add(&Expr::Column(column.clone()), &read, schema, below);
            }
            _ => add_children(expr, schema, below),
        },
        _ => add_children(expr, schema, below),
    }
}

fn add_children(expr: &Expr, schema: &DFSchema, below: &mut [Read]) {
    let visited = expr.apply_children(|child| {
        add(child, &Read::All, schema, below);
        Ok(TreeNodeRecursion::Continue)
    });
    if visited.is_err() {
        below.iter_mut().for_each(|column| *column = Read::All);
    }
}

fn scan(plan: LogicalPlan, read: &[Read]) -> Result<LogicalPlan> {
    let LogicalPlan::TableScan(mut scan) = plan else { return Ok(plan) };
    let mut read = read.to_vec();
    for filter in &scan.filters {
        // Filters may use columns that the scan does not give.
        if filter.column_refs().iter().any(|column| scan.projected_schema.has_column(column)) {
            add(filter, &Read::All, &scan.projected_schema, &mut read);
        }
    }
    let is_row =
        |position: usize| matches!(scan.projected_schema.field(position).data_type(), DataType::Struct(_));
    let fields: Vec<Option<Vec<String>>> = read
        .iter()
        .enumerate()
        .map(|(position, read)| match read {
            Read::Fields(fields) if is_row(position) => Some(fields.iter().cloned().collect()),
            _ => None,
        })
        .collect();
    if fields.iter().any(Option::is_some) {
        let inner = source_as_provider(&scan.source)?;
        scan.source = provider_as_source(Arc::new(Narrowed { inner, fields }));
    }
    Ok(LogicalPlan::TableScan(scan))
}

/// A table of which only some fields are read.
#[derive(Debug)]
struct Narrowed {
    inner: Arc<dyn TableProvider>,
    fields: Vec<Option<Vec<String>>>,
}

#[async_trait]
impl TableProvider for Narrowed {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }

    fn table_type(&self) -> TableType {
        self.inner.table_type()
    }

    fn statistics(&self) -> Option<Statistics> {
        self.inner.statistics()
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        self.inner.supports_filters_pushdown(filters)
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self.narrowed(self.inner.scan(session, projection, filters, limit).await?))
    }

    async fn scan_with_args<'a>(&self, session: &dyn Session, args: ScanArgs<'a>) -> Result<ScanResult> {
        let plan = self.inner.scan_with_args(session, args).await?.into_inner();
        Ok(self.narrowed(plan).into())
    }
}

impl Narrowed {
    fn narrowed(&self, plan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        match plan.downcast_ref::<ConnectorSourceExec>() {
            Some(source) => Arc::new(source.with_read_fields(self.fields.clone())),
            None => plan,
        }
    }
}

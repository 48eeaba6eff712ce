//! `JOIN t FOR SYSTEM_TIME AS OF a.time`: what `t` is looked up by, and whether `a.time` is processing time or event time.

use std::{collections::BTreeMap, sync::Arc};

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::{
    catalog::{TableProvider, view::ViewTable},
    common::{
        Column, JoinType, Result, TableReference,
        tree_node::{Transformed, TreeNode as _, TreeNodeRecursion},
    },
    datasource::provider_as_source,
    error::DataFusionError,
    logical_expr::{Expr, Extension, Join, LogicalPlan, LogicalPlanBuilder, SubqueryAlias},
};
use sqlparser::ast;
use thalweg_graph::{SqlError, sql_error::SqlErrorCode};

use super::{Binder, type_name, versioned_view::Versions};
use crate::{
    bare_expr::unaliased,
    catalog::{Entry, Name},
    error,
    functions::temporal::PROCTIME,
    stream::ChangelogNormalizeNode,
    versions::{self, AsOf, AsOfTime, Dimension},
};

impl Binder<'_> {
    /// A table that is read as of a time, which a join's left side is yet to tell.
    pub(super) fn as_of(
        &self,
        name: &Name,
        hint: &BTreeMap<String, String>,
        time: &ast::Expr,
        provider: Arc<dyn TableProvider>,
    ) -> Result<Arc<dyn TableProvider>, SqlError> {
        let named = match time {
            ast::Expr::Identifier(ident) => vec![ident.value.clone()],
            ast::Expr::CompoundIdentifier(idents) => idents.iter().map(|ident| ident.value.clone()).collect(),
            other => {
                let message = format!(
                    "`FOR SYSTEM_TIME AS OF` takes a time column of the table that is joined with, not `{other}`"
                );
                return Err(name.error(SqlErrorCode::Unsupported, message));
            }
        };
        let (path, entry) = self.catalogs.get(name)?;
        let scanned = TableReference::full(&*path.catalog, &*path.database, &*path.table);
        let mut dimension = Dimension {
            name: path.to_string(),
            position: name.position,
            table: None,
            keys: Vec::new(),
            time: None,
            versions: None,
        };
        match entry {
            Entry::Table(table) => {
                dimension.table = Some(table.descriptor(&path, hint));
                dimension.keys = table.primary_key.iter().flat_map(|key| &key.columns).cloned().collect();
                dimension.time = table.watermark.as_ref().map(|watermark| watermark.column.clone());
            }
            Entry::View(_) => {
                if let Some(Versions { plan, keys, time }) =
                    provider.get_logical_plan().and_then(|plan| Versions::of(&plan))
                {
                    let plan = LogicalPlanBuilder::from(plan).alias(scanned.clone());
                    let plan = plan.and_then(LogicalPlanBuilder::build).map_err(error::from_datafusion)?;
                    dimension = Dimension { keys, time: Some(time), versions: Some(plan), ..dimension };
                }
            }
        }
        let scan = LogicalPlanBuilder::scan(scanned, provider_as_source(provider), None);
        let input = scan.and_then(LogicalPlanBuilder::build).map_err(error::from_datafusion)?;
        let dimension = Arc::new(dimension);
        let node = AsOf { input, dimension, time: AsOfTime::Named(named) };
        Ok(Arc::new(ViewTable::new(LogicalPlan::Extension(Extension { node: Arc::new(node) }), None)))
    }
}

/// The plan whose joins know as of which column their tables are looked up.
pub fn found(plan: LogicalPlan) -> Result<LogicalPlan, SqlError> {
    let joined = plan.transform_up_with_subqueries(|node| match &node {
        LogicalPlan::Join(join) => match as_of_below(&join.right) {
            Some(AsOf { time: AsOfTime::Named(named), dimension, .. }) => {
                let (named, dimension) = (named.clone(), Arc::clone(dimension));
                Ok(Transformed::yes(LogicalPlan::Join(joined(join, &named, &dimension)?)))
            }
            _ => Ok(Transformed::no(node)),
        },
        _ => Ok(Transformed::no(node)),
    });
    let plan = joined.map_err(error::from_datafusion)?.data;
    let mut alone = None;
    let searched = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Extension(Extension { node }) = node
            && let Some(AsOf { time: AsOfTime::Named(_), dimension, .. }) = node.as_any().downcast_ref()
        {
            alone = Some(Arc::clone(dimension));
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    searched.map_err(error::from_datafusion)?;
    match alone {
        None => Ok(plan),
        Some(dimension) => Err(wrong(
            &dimension,
            format!(
                "`{}` is read `FOR SYSTEM_TIME AS OF` a time and stands alone: that is for the right side of a join, `a JOIN t FOR \
                 SYSTEM_TIME AS OF a.time AS t ON ...`",
                dimension.name
            ),
        )),
    }
}

/// The table that a join's right side is, if it is one as of a time.
fn as_of_below(plan: &LogicalPlan) -> Option<&AsOf> {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => as_of_below(&alias.input),
        LogicalPlan::Extension(Extension { node }) => node.as_any().downcast_ref(),
        _ => None,
    }
}

fn joined(join: &Join, named: &[String], dimension: &Dimension) -> Result<Join> {
    let refuse = |message: String| Err(external(wrong(dimension, message)));
    if !matches!(join.join_type, JoinType::Inner | JoinType::Left) {
        return refuse(format!(
            "`{}` is looked up `FOR SYSTEM_TIME AS OF` a time by a {} join: write `JOIN` or `LEFT JOIN`",
            dimension.name,
            join.join_type.to_string().to_uppercase()
        ));
    }
    let schema = join.left.schema();
    let Some(time) = column_named(named, &join.left) else {
        return refuse(format!(
            "`FOR SYSTEM_TIME AS OF {}` names no column of the left side of its join",
            named.join(".")
        ));
    };
    let position = schema.index_of_column(&time)?;
    if is_processing_time(&join.left, position) {
        let right = with_time(&join.right, &AsOfTime::Processing)?;
        return Ok(Join { right: Arc::new(right), ..join.clone() });
    }
    let (Some(begin), false) = (&dimension.time, dimension.keys.is_empty()) else {
        return refuse(format!(
            "`{}` has no versions: a table that is joined `FOR SYSTEM_TIME AS OF {}`, event time, needs a `PRIMARY KEY (...) NOT \
             ENFORCED` and a `WATERMARK FOR` the time at which a version begins, and a view must keep the newest row of each key by \
             `ROW_NUMBER() OVER (PARTITION BY ... ORDER BY time DESC)`; to look up what it holds when a row comes, use a \
             column `AS PROCTIME()`",
            dimension.name,
            named.join(".")
        ));
    };
    let type_of =
        |schema: &datafusion::common::DFSchema, position: usize| schema.field(position).data_type().clone();
    let right = join.right.schema();
    let begin_at = right.index_of_column_by_name(None, begin);
    let Some(begin_at) = begin_at else { return refuse(format!("`{}` lost its time", dimension.name)) };
    let (left_type, right_type) = (type_of(schema, position), type_of(right, begin_at));
    if left_type != right_type || !matches!(left_type, DataType::Timestamp(TimeUnit::Millisecond, _)) {
        return refuse(format!(
            "`FOR SYSTEM_TIME AS OF {}` is {} and the versions of `{}` begin at `{begin}`, {}: both must be TIMESTAMP(3), or both \
             TIMESTAMP_LTZ(3)",
            named.join("."),
            type_name(&left_type),
            dimension.name,
            type_name(&right_type)
        ));
    }
    let at = versions::at(schema.qualified_field(position).into(), right.qualified_field(begin_at).into());
    let event = event_time(&join.right, begin, &dimension.keys)?;
    let right = with_time(&join.right, &event)?;
    let filter = Some(match join.filter.clone() {
        Some(filter) => filter.and(at),
        None => at,
    });
    Ok(Join { right: Arc::new(right), filter, ..join.clone() })
}

/// The key and the time of a versioned table among its own columns.
fn event_time(right: &LogicalPlan, begin: &str, keys: &[String]) -> Result<AsOfTime> {
    let Some(as_of) = as_of_below(right) else {
        return datafusion::common::internal_err!("a versioned table is lost");
    };
    let schema = as_of.input.schema();
    let own =
        |name: &String| -> Result<Column> { Ok(schema.qualified_field_with_unqualified_name(name)?.into()) };
    Ok(AsOfTime::Event { begin: own(&begin.to_owned())?, keys: keys.iter().map(own).collect::<Result<_>>()? })
}

fn with_time(right: &LogicalPlan, time: &AsOfTime) -> Result<LogicalPlan> {
    match right {
        LogicalPlan::SubqueryAlias(alias) => {
            let input = with_time(&alias.input, time)?;
            Ok(LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(Arc::new(input), alias.alias.clone())?))
        }
        other => match as_of_below(other) {
            Some(as_of) => Ok(LogicalPlan::Extension(Extension {
                node: Arc::new(AsOf {
                    input: input_as_of(as_of, time)?,
                    time: time.clone(),
                    ..as_of.clone()
                }),
            })),
            None => Ok(other.clone()),
        },
    }
}

/// The table, where one of its versions is asked for by event time with all of them: those that a view of the newest rows chooses from,
/// and those that soon replace each other.
fn input_as_of(as_of: &AsOf, time: &AsOfTime) -> Result<LogicalPlan> {
    if !matches!(time, AsOfTime::Event { .. }) {
        return Ok(as_of.input.clone());
    }
    let input = as_of.dimension.versions.as_ref().unwrap_or(&as_of.input).clone();
    let each = input.transform_up(|plan| match &plan {
        LogicalPlan::Extension(Extension { node }) => {
            match node.as_any().downcast_ref::<ChangelogNormalizeNode>() {
                Some(upserts) => {
                    let node = Arc::new(ChangelogNormalizeNode { each: true, ..upserts.clone() });
                    Ok(Transformed::yes(LogicalPlan::Extension(Extension { node })))
                }
                None => Ok(Transformed::no(plan)),
            }
        }
        _ => Ok(Transformed::no(plan)),
    })?;
    Ok(each.data)
}

/// The column that a name means.
fn column_named(named: &[String], plan: &LogicalPlan) -> Option<Column> {
    let (name, qualifier) = named.split_last()?;
    let relation = match qualifier {
        [] => {
            let found = plan.schema().qualified_field_with_unqualified_name(name).ok()?;
            return Some(found.into());
        }
        [table] => TableReference::bare(table.as_str()),
        [database, table] => TableReference::partial(database.as_str(), table.as_str()),
        [catalog, database, table] => {
            TableReference::full(catalog.as_str(), database.as_str(), table.as_str())
        }
        _ => return None,
    };
    let column = Column::new(Some(relation), name);
    plan.schema().has_column(&column).then_some(column)
}

/// Whether a column of a plan is `PROCTIME()`, under whatever name.
fn is_processing_time(plan: &LogicalPlan, position: usize) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => match unaliased(&projection.expr[position]) {
            Expr::ScalarFunction(call) => call.name() == PROCTIME,
            Expr::Column(column) => {
                let below = projection.input.schema().maybe_index_of_column(column);
                below.is_some_and(|below| is_processing_time(&projection.input, below))
            }
            _ => false,
        },
        LogicalPlan::Join(join) => match position.checked_sub(join.left.schema().fields().len()) {
            None => is_processing_time(&join.left, position),
            Some(right) => is_processing_time(&join.right, right),
        },
        other => match &other.inputs()[..] {
            [input] if input.schema().fields().len() == other.schema().fields().len() => {
                is_processing_time(input, position)
            }
            _ => false,
        },
    }
}

fn wrong(dimension: &Dimension, message: String) -> SqlError {
    SqlError::new(SqlErrorCode::Invalid, message).at(dimension.position)
}

fn external(error: SqlError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

//! How far expressions grow when filters are pushed down: a filter over a computed column becomes one over its expression. In
//! a deep nest of computing and filtering subqueries that adds up, and multiplies where a column is used twice, until a plan
//! takes hours. Such a nest is refused before it is optimised.

use std::collections::HashMap;

use datafusion::{
    common::{
        Column,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    logical_expr::{Expr, LogicalPlan},
};
use thalweg_graph::{SqlError, sql_error::SqlErrorCode};

/// Operators that computed columns may add to the filters above them. This many take some seconds to plan.
const GROWTH_MAX: usize = 3000;

/// Operators in the expression of each column of a plan's output, counted from the last operator that is no projection.
type Sizes = Vec<usize>;

/// Refuses a plan whose filters would grow too far.
pub fn check(plan: &LogicalPlan) -> Result<(), SqlError> {
    let mut grown = 0;
    sizes(plan, &mut grown);
    if grown <= GROWTH_MAX {
        return Ok(());
    }
    let message = format!(
        "the query nests too deep: its filters over computed columns come to {grown} operators, at most {GROWTH_MAX} are planned; \
         write the inner part to a table and go on from that"
    );
    Err(SqlError::new(SqlErrorCode::Unsupported, message))
}

fn sizes(plan: &LogicalPlan, grown: &mut usize) -> Sizes {
    let inputs: Vec<Sizes> = plan.inputs().into_iter().map(|input| sizes(input, grown)).collect();
    let width = plan.schema().fields().len();
    match plan {
        LogicalPlan::Projection(projection) => {
            let input = Input::new(&projection.input, &inputs[0]);
            projection.expr.iter().map(|expr| input.size(expr)).collect()
        }
        LogicalPlan::Filter(filter) => {
            *grown = grown.saturating_add(Input::new(&filter.input, &inputs[0]).growth(&filter.predicate));
            inputs.into_iter().next().unwrap_or_default()
        }
        _ if inputs.len() == 1 && inputs[0].len() == width && passes_through(plan) => {
            inputs.into_iter().next().unwrap_or_default()
        }
        LogicalPlan::Union(_) => {
            let widest = |column: usize| inputs.iter().filter_map(|input| input.get(column)).max();
            (0..width).map(|column| widest(column).copied().unwrap_or_default()).collect()
        }
        LogicalPlan::Join(_) if inputs.iter().map(Vec::len).sum::<usize>() == width => inputs.concat(),
        _ => vec![0; width],
    }
}

fn passes_through(plan: &LogicalPlan) -> bool {
    use LogicalPlan::{Distinct, Limit, Repartition, Sort, SubqueryAlias};
    matches!(plan, SubqueryAlias(_) | Sort(_) | Limit(_) | Distinct(_) | Repartition(_))
}

/// The columns that an expression is over, with their sizes where they are computed.
struct Input {
    size_by_column: HashMap<Column, usize>,
}

impl Input {
    fn new(plan: &LogicalPlan, sizes: &[usize]) -> Self {
        let computed =
            plan.schema().columns().into_iter().zip(sizes.iter().copied()).filter(|(_, size)| *size > 0);
        Self { size_by_column: computed.collect() }
    }

    /// What an expression grows by when the columns that it names are replaced by theirs.
    fn growth(&self, expr: &Expr) -> usize {
        self.count(expr, |_| 0)
    }

    /// The operators of an expression after that.
    fn size(&self, expr: &Expr) -> usize {
        self.count(expr, |expr| {
            usize::from(!matches!(expr, Expr::Alias(_) | Expr::Literal(..) | Expr::Column(_)))
        })
    }

    fn count(&self, expr: &Expr, own: impl Fn(&Expr) -> usize) -> usize {
        let mut count = 0_usize;
        let counted = expr.apply(|expr| {
            let of_column = match expr {
                Expr::Column(column) => self.size_by_column.get(column).copied().unwrap_or_default(),
                _ => 0,
            };
            count = count.saturating_add(of_column).saturating_add(own(expr));
            Ok(TreeNodeRecursion::Continue)
        });
        counted.map_or(usize::MAX, |_| count)
    }
}

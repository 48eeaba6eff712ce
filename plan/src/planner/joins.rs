//! How many joins a query may have: the time to plan them grows with more than their square.

use datafusion::{common::tree_node::TreeNodeRecursion, logical_expr::LogicalPlan};
use thalweg_graph::{SqlError, sql_error::SqlErrorCode};

/// This many take some seconds to plan.
const JOINS_MAX: usize = 200;

/// Refuses a plan with too many joins before it is optimised.
pub fn check(plan: &LogicalPlan) -> Result<(), SqlError> {
    let mut joins = 0;
    let counted = plan.apply_with_subqueries(|node| {
        joins += usize::from(matches!(node, LogicalPlan::Join(_)));
        Ok(TreeNodeRecursion::Continue)
    });
    if counted.is_ok() && joins <= JOINS_MAX {
        return Ok(());
    }
    let message = format!(
        "the query has {joins} joins, at most {JOINS_MAX} are planned; write a part of them to a table and go on from that"
    );
    Err(SqlError::new(SqlErrorCode::Unsupported, message))
}

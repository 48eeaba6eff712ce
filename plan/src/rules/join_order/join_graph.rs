//! A tree of inner hash joins as a set: relations, classes of equal columns, other conditions, and the columns wanted.

use std::sync::Arc;

use datafusion::{
    common::{JoinSide, JoinType, NullEquality},
    physical_expr::{PhysicalExpr, expressions::Column},
    physical_plan::{ExecutionPlan, joins::HashJoinExec, projection::ProjectionExec},
};

/// A column of a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Leaf {
    /// Which relation.
    pub relation: usize,
    /// Which of its columns.
    pub column: usize,
}

/// A condition besides the equalities, over an intermediate row of some columns.
#[derive(Debug, Clone)]
pub struct Condition {
    /// The expression; column `i` is `columns[i]`.
    pub expression: Arc<dyn PhysicalExpr>,
    /// What it reads.
    pub columns: Vec<Leaf>,
}

/// The set.
#[derive(Debug, Default)]
pub struct JoinGraph {
    /// What is joined.
    pub relations: Vec<Arc<dyn ExecutionPlan>>,
    /// Columns that are equal in every row of the result. No relation has two columns in one class.
    pub classes: Vec<Vec<Leaf>>,
    /// The other conditions.
    pub conditions: Vec<Condition>,
    /// The columns of the result.
    pub output: Vec<Leaf>,
}

impl JoinGraph {
    /// Takes a join tree apart, or a choice of its columns; `None` if the plan is no inner hash join or holds a condition
    /// that cannot be moved.
    pub fn of(plan: &Arc<dyn ExecutionPlan>) -> Option<Self> {
        if !is_join_tree(plan) {
            return None;
        }
        let mut graph = JoinGraph::default();
        graph.output = graph.add(plan)?;
        let distinct = |class: &Vec<Leaf>| {
            class.iter().enumerate().all(|(n, a)| class[..n].iter().all(|b| a.relation != b.relation))
        };
        graph.classes.iter().all(distinct).then_some(graph)
    }

    /// Adds a subtree and returns its columns.
    fn add(&mut self, plan: &Arc<dyn ExecutionPlan>) -> Option<Vec<Leaf>> {
        if let Some(join) = inner_join(plan) {
            return self.add_join(join);
        }
        if let Some((input, columns)) = renamed(plan).filter(|(input, _)| is_join_tree(input)) {
            let input = self.add(input)?;
            return columns.into_iter().map(|column| input.get(column).copied()).collect();
        }
        let relation = self.relations.len();
        self.relations.push(Arc::clone(plan));
        Some((0..plan.schema().fields().len()).map(|column| Leaf { relation, column }).collect())
    }

    fn add_join(&mut self, join: &HashJoinExec) -> Option<Vec<Leaf>> {
        let left = self.add(join.left())?;
        let right = self.add(join.right())?;
        for (a, b) in join.on() {
            let (a, b) = (a.downcast_ref::<Column>()?, b.downcast_ref::<Column>()?);
            self.equate(*left.get(a.index())?, *right.get(b.index())?);
        }
        if let Some(filter) = join.filter() {
            let columns = filter.column_indices().iter().map(|column| match column.side {
                JoinSide::Left => left.get(column.index).copied(),
                JoinSide::Right => right.get(column.index).copied(),
                JoinSide::None => None,
            });
            let columns = columns.collect::<Option<_>>()?;
            self.conditions.push(Condition { expression: Arc::clone(filter.expression()), columns });
        }
        let all: Vec<Leaf> = left.into_iter().chain(right).collect();
        match &join.projection {
            Some(kept) => kept.iter().map(|column| all.get(*column).copied()).collect(),
            None => Some(all),
        }
    }

    /// Merges the classes of two columns.
    fn equate(&mut self, a: Leaf, b: Leaf) {
        let mut merged = vec![a, b];
        self.classes.retain(|class| {
            let touches = class.contains(&a) || class.contains(&b);
            if touches {
                merged.extend(class);
            }
            !touches
        });
        merged.sort_unstable();
        merged.dedup();
        self.classes.push(merged);
    }
}

fn inner_join(plan: &Arc<dyn ExecutionPlan>) -> Option<&HashJoinExec> {
    let join = plan.downcast_ref::<HashJoinExec>()?;
    let plain = *join.join_type() == JoinType::Inner
        && join.null_equality() == NullEquality::NullEqualsNothing
        && join.fetch().is_none();
    plain.then_some(join)
}

fn is_join_tree(plan: &Arc<dyn ExecutionPlan>) -> bool {
    inner_join(plan).is_some() || renamed(plan).is_some_and(|(input, _)| is_join_tree(input))
}

/// The input of a projection that only picks columns, and the columns.
fn renamed(plan: &Arc<dyn ExecutionPlan>) -> Option<(&Arc<dyn ExecutionPlan>, Vec<usize>)> {
    let projection = plan.downcast_ref::<ProjectionExec>()?;
    let columns = projection.expr().iter().map(|picked| Some(picked.expr.downcast_ref::<Column>()?.index()));
    Some((projection.input(), columns.collect::<Option<_>>()?))
}

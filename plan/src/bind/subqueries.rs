//! Names for subqueries in `FROM` that have none.
//!
//! DataFusion 55 drops one of two projections that follow each other with equal expressions, as if computing `a + 1 AS a` twice were
//! computing it once (apache/datafusion#24686). Under a name of its own a subquery's projection does not follow another directly.

use std::ops::ControlFlow;

use sqlparser::ast::{Ident, Query, TableAlias, TableFactor, VisitMut, VisitorMut};

/// Gives each such subquery a name of its own.
pub fn name_anonymous(query: &mut Query) {
    let _: ControlFlow<()> = query.visit(&mut Namer { named: 0 });
}

struct Namer {
    named: usize,
}

impl VisitorMut for Namer {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Derived { alias: alias @ None, .. } = factor {
            let name = Ident::with_quote('`', format!("__subquery_{}", self.named));
            *alias = Some(TableAlias { explicit: true, name, columns: Vec::new(), at: None });
            self.named += 1;
        }
        ControlFlow::Continue(())
    }
}

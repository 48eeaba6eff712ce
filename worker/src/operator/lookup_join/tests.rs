//! A lookup join finds what a nested loop finds, and what was handed over last.

use std::sync::Arc;

use datafusion::{
    logical_expr::Operator as SqlOperator,
    physical_expr::{
        PhysicalExpr,
        expressions::{BinaryExpr, Column},
    },
};
use proptest::prelude::*;
use tokio::sync::watch;

use super::{LookupJoin, LookupPlan, table::LookupTable};
use crate::operator::{
    link::Side,
    zset::{Any, Row, Run, batch, memory, schema},
};

fn key() -> Vec<Arc<dyn PhysicalExpr>> {
    vec![Arc::new(Column::new("k", 0))]
}

fn table(rows: &[Row]) -> Arc<LookupTable> {
    let columns = schema(&["k", "w"], false);
    let rows: Vec<(Row, i64)> = rows.iter().map(|row| (row.clone(), 1)).collect();
    Arc::new(LookupTable::new(&columns, &[batch(&columns, &rows)], &key()).unwrap())
}

fn join(keeps_all: bool, filtered: bool, table: watch::Receiver<Arc<LookupTable>>) -> Any {
    let less = || {
        let (left, right) = (Arc::new(Column::new("v", 1)), Arc::new(Column::new("w", 3)));
        Arc::new(BinaryExpr::new(left, SqlOperator::Lt, right)) as Arc<dyn PhysicalExpr>
    };
    let plan = LookupPlan {
        keeps_all,
        keys: key(),
        filter: filtered.then(less),
        schema: schema(&["k", "v", "k2", "w"], false),
    };
    Any::One(Box::new(LookupJoin::new(plan, table, memory())))
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let value = || prop_oneof![1 => Just(None), 5 => (0..4i64).prop_map(Some)];
    prop::collection::vec((value(), value()).prop_map(|(key, value)| vec![key, value]), 0..20)
}

proptest! {
    #[test]
    fn it_finds_what_a_nested_loop_finds(
        asking in rows(), before in rows(), after in rows(), keeps_all in any::<bool>(), filtered in any::<bool>()
    ) {
        let (handed, receiver) = watch::channel(table(&before));
        let mut run = Run::new([None, None], || join(keeps_all, filtered, receiver.clone()));
        let asked: Vec<(Row, i64)> = asking.iter().map(|row| (row.clone(), 1)).collect();
        let mut expected = std::collections::BTreeMap::new();
        for held in [&before, &after] {
            handed.send_replace(table(held));
            run.rows(Side::Left, &batch(&schema(&["k", "v"], false), &asked));
            for row in &asking {
                let holds = |other: &&Row| {
                    let less = matches!((row[1], other[1]), (Some(value), Some(than)) if value < than);
                    row[0].is_some() && row[0] == other[0] && (less || !filtered)
                };
                let found: Vec<&Row> = held.iter().filter(holds).collect();
                for other in &found {
                    *expected.entry([&row[..], &other[..]].concat()).or_insert(0) += 1;
                }
                if found.is_empty() && keeps_all {
                    *expected.entry([&row[..], &[None, None]].concat()).or_insert(0) += 1;
                }
            }
        }
        prop_assert_eq!(run.total, expected);
    }
}

//! `OVER` rows in any order, or rows that change: what comes changes what was put out of its partition.

use std::sync::Arc;

use datafusion::{
    arrow::datatypes::DataType,
    common::{Column, ScalarValue},
    logical_expr::{
        Expr, LogicalPlan, Window, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
        expr::WindowFunction,
    },
};
use thalweg_graph::SqlError;

use super::{
    stream::Stream,
    translate::Translation,
    vertex::encode_columns,
    within::{partition_by, shared, stand_in},
};
use crate::{
    bare_expr::unaliased,
    error,
    exec::codec,
    stream::{OperatorKind, OverPartitionsSpec, Settled},
};

impl Translation<'_> {
    /// Functions over whole partitions, computed again for those in which rows come or go.
    pub(super) async fn over_partitions(
        &mut self,
        window: &Window,
        input: Stream,
    ) -> Result<Stream, SqlError> {
        let all = LogicalPlan::Window(Window {
            input: stand_in(window.input.schema()),
            window_expr: window.window_expr.clone(),
            schema: Arc::clone(&window.schema),
        });
        let plan = self.plan_of(&all).await?;
        let partitions: Vec<&[Expr]> = window.window_expr.iter().filter_map(partition_by).collect();
        let keys = self.physical_all(&shared(&partitions), &input)?;
        let encoded = keys.iter().map(codec::encode_expr).collect::<datafusion::error::Result<_>>();
        let settled = settled(window, &input, &partitions);
        let vertex = self.keyed(&input, &keys)?;
        let mut stream = Stream::of(vertex, Arc::clone(&window.schema));
        let settled = match settled {
            Some((time, history)) => {
                stream.times = vec![time.clone()];
                stream.borders = input.borders.clone();
                Some(Settled { time: self.position(&input, &time)?, history })
            }
            None => {
                stream.updating = true;
                None
            }
        };
        let columns = stream.columns().and_then(|columns| encode_columns(columns.inner()));
        let spec = OverPartitionsSpec {
            plan: codec::encode(&plan).map_err(error::from_datafusion)?,
            keys: encoded.map_err(error::from_datafusion)?,
            settled,
            columns: columns.map_err(error::from_datafusion)?,
        };
        let exprs: Vec<String> = window.window_expr.iter().map(ToString::to_string).collect();
        let display = format!("OverPartitions: [{}]", exprs.join(", "));
        let kind = OperatorKind::OverPartitions(Box::new(spec));
        self.draft.vertices[vertex].push("OverPartitions", display, kind);
        Ok(stream)
    }
}

/// By which event time rows settle, if what is computed for each looks at no row behind it, and how many rows before it do matter.
fn settled(window: &Window, input: &Stream, partitions: &[&[Expr]]) -> Option<(Column, Option<u64>)> {
    if input.updating {
        return None;
    }
    let mut settles: Option<(Column, Option<u64>)> = None;
    for expr in &window.window_expr {
        let Expr::WindowFunction(function) = unaliased(expr) else { return None };
        let first = function.params.order_by.first().filter(|sort| sort.asc)?;
        let Expr::Column(time) = &first.expr else { return None };
        let rows = rows_before(function)?;
        settles = match settles {
            None if input.is_time(time) => Some((time.clone(), rows)),
            Some((known, before)) if known == *time => {
                Some((known, before.zip(rows).map(|(before, rows)| before.max(rows))))
            }
            _ => return None,
        };
    }
    let (time, rows) = settles?;
    let is_one_partition = partitions.windows(2).all(|pair| pair[0] == pair[1]);
    Some((time, rows.filter(|_| is_one_partition)))
}

/// How many rows before a row a function looks at; `Some(None)` where that may be all of them, `None` where it looks at others too.
fn rows_before(function: &WindowFunction) -> Option<Option<u64>> {
    let frame = &function.params.window_frame;
    match &function.fun {
        WindowFunctionDefinition::AggregateUDF(_) => frame_before(frame),
        WindowFunctionDefinition::WindowUDF(udf) => match udf.name() {
            "row_number" | "rank" | "dense_rank" | "lag_skipping_nulls" => Some(None),
            "first_value"
            | "last_value"
            | "nth_value"
            | "first_value_skipping_nulls"
            | "last_value_skipping_nulls" => frame_before(frame),
            "lag" => match function.params.args.get(1).map(unaliased) {
                None => Some(Some(1)),
                Some(Expr::Literal(offset, _)) => match offset.cast_to(&DataType::Int64).ok()? {
                    ScalarValue::Int64(Some(offset)) => u64::try_from(offset).ok().map(Some),
                    _ => None,
                },
                Some(_) => None,
            },
            _ => None,
        },
    }
}

fn frame_before(frame: &WindowFrame) -> Option<Option<u64>> {
    if frame.end_bound != WindowFrameBound::CurrentRow {
        return None;
    }
    Some(match (&frame.units, &frame.start_bound) {
        (WindowFrameUnits::Rows, WindowFrameBound::CurrentRow) => Some(0),
        (WindowFrameUnits::Rows, WindowFrameBound::Preceding(ScalarValue::UInt64(rows))) => *rows,
        _ => None,
    })
}

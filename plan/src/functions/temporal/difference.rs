//! How far timepoints are apart, and whether periods touch.

use arrow::{array::ArrayRef, datatypes::Int32Type};
use chrono::{Datelike, NaiveDateTime};
use datafusion::common::{Result, exec_datafusion_err, exec_err};

use super::{add::add, unit::Unit};
use crate::functions::{
    argument::{Call, booleans, numbers},
    moment::Moments,
    zone::Zone,
};

/// `TIMESTAMPDIFF(unit, from, to)`
pub fn timestampdiff(call: &Call) -> Result<ArrayRef> {
    let units = call.text(0)?;
    let zone = Zone::of_session(call.config);
    let (from, to) = (Moments::of(&call.column(1)?, zone)?, Moments::of(&call.column(2)?, zone)?);
    numbers::<Int32Type>(call.rows, |row| {
        let (Some(unit), Some(from), Some(to)) = (units.get(row), from.get(row)?, to.get(row)?) else {
            return Ok(None);
        };
        let unit = Unit::named(unit)?;
        let difference = match (unit.months(), unit.nanos()) {
            (Some(months), _) => months_between(from, to) / i64::from(months),
            (None, Some(nanos)) if nanos % 1_000_000_000 == 0 => {
                seconds_between(from, to) / (nanos / 1_000_000_000)
            }
            (None, Some(nanos)) => {
                let between = to.signed_duration_since(from).num_nanoseconds();
                between.ok_or_else(|| {
                    exec_datafusion_err!("`{from}` and `{to}` are too far apart for {unit:?}")
                })? / nanos
            }
            (None, None) => return exec_err!("TIMESTAMPDIFF cannot count in {unit:?}"),
        };
        Ok(Some(difference as i32))
    })
}

fn seconds_between(from: NaiveDateTime, to: NaiveDateTime) -> i64 {
    to.signed_duration_since(from).num_seconds()
}

/// The most months that can be added to the earlier without passing the later; negative if they are the other way round.
fn months_between(from: NaiveDateTime, to: NaiveDateTime) -> i64 {
    if to < from {
        return -months_between(to, from);
    }
    let months = i64::from(to.year() - from.year()) * 12 + i64::from(to.month()) - i64::from(from.month());
    let passed = add(from, Unit::Month, months).is_some_and(|reached| reached > to);
    months - i64::from(passed)
}

/// `(start, end) OVERLAPS (start, end)`; a period's ends may come in either order.
pub fn overlaps(call: &Call) -> Result<ArrayRef> {
    let zone = Zone::of_session(call.config);
    let ends = (0..4).map(|index| Moments::of(&call.column(index)?, zone)).collect::<Result<Vec<_>>>()?;
    booleans(call.rows, |row| {
        let moments = ends.iter().map(|end| end.get(row)).collect::<Result<Option<Vec<_>>>>()?;
        Ok(moments.map(|at| at[0].min(at[1]) <= at[2].max(at[3]) && at[2].min(at[3]) <= at[0].max(at[1])))
    })
}

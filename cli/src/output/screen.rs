//! The content that a live result stands for, drawn over itself on a terminal: Flink's result mode `table`.
//!
//! A row that replaces another takes its place, other rows come at the end. The last ones are shown, as many as fit.

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, Write},
    time::Duration,
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use tokio::time::Instant;

use super::{Style, changelog, table::Table};

/// The least time between two pictures.
const REDRAW_INTERVAL: Duration = Duration::from_millis(100);
/// Lines of a picture besides its rows: the frame, the count, and one for the cursor.
const FRAME_LINES: usize = 6;
/// To the top left corner, and everything below and right of it gone.
const CLEAR: &str = "\x1b[H\x1b[J";

/// The values of a row, as they are shown.
type Row = Vec<String>;

/// What is on the screen.
pub struct Screen {
    style: Style,
    /// The columns as changes come, and without what becomes of a row.
    changes: SchemaRef,
    shown: SchemaRef,
    lines: usize,
    rows_max: usize,
    /// By their place.
    rows: BTreeMap<u64, Row>,
    /// The places of equal rows.
    places: HashMap<Row, Vec<u64>>,
    next: u64,
    /// The place of a row that the next one replaces.
    replaced: Option<u64>,
    drawn: Option<Instant>,
}

impl Screen {
    /// Nothing is drawn yet on a terminal of so many lines. Of more than `rows_max` rows the oldest are forgotten; 0 is all.
    pub fn new(schema: &SchemaRef, style: Style, lines: usize, rows_max: u64) -> Self {
        let rows_max = usize::try_from(rows_max).unwrap_or(usize::MAX);
        Self {
            style,
            changes: changelog::with_op(schema),
            shown: changelog::without_op(schema),
            lines: lines.saturating_sub(FRAME_LINES).max(1),
            rows_max: if rows_max == 0 { usize::MAX } else { rows_max },
            rows: BTreeMap::new(),
            places: HashMap::new(),
            next: 0,
            replaced: None,
            drawn: None,
        }
    }

    /// Takes changes in, and draws what there is then if the last picture is old enough.
    pub fn write(&mut self, batch: &RecordBatch, out: &mut impl Write) -> io::Result<()> {
        let changes = changelog::as_changes(batch, &self.changes).map_err(io::Error::other)?;
        for mut row in Table::cells(&changes, &self.style)? {
            let op = row.remove(0);
            match op.as_str() {
                "-U" => self.replaced = self.take_back(&row),
                "-D" => drop(self.take_back(&row)),
                _ => self.add(row),
            }
        }
        match self.drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW_INTERVAL) {
            true => self.draw(out),
            false => Ok(()),
        }
    }

    fn add(&mut self, row: Row) {
        let place = self.replaced.take().unwrap_or_else(|| {
            self.next += 1;
            self.next
        });
        self.places.entry(row.clone()).or_default().push(place);
        self.rows.insert(place, row);
        if self.rows.len() > self.rows_max
            && let Some((_, oldest)) = self.rows.first_key_value()
        {
            self.take_back(&oldest.clone());
        }
    }

    /// Removes a row; says where it was.
    fn take_back(&mut self, row: &Row) -> Option<u64> {
        let places = self.places.get_mut(row)?;
        let place = places.pop();
        if places.is_empty() {
            self.places.remove(row);
        }
        self.rows.remove(&place?);
        place
    }

    /// Draws what there is.
    pub fn draw(&mut self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(CLEAR.as_bytes())?;
        let mut table = Table::live(self.shown.clone(), self.style.clone());
        table.begin(out)?;
        let left_out = self.rows.len().saturating_sub(self.lines);
        self.rows.values().skip(left_out).try_for_each(|row| table.row(row, out))?;
        table.close(out)?;
        let count = self.rows.len();
        writeln!(out, "{count} {}", if count == 1 { "row" } else { "rows" })?;
        self.drawn = Some(Instant::now());
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};
    use thalweg_plan::stream::changelog::WEIGHT;

    use super::*;

    fn batch(rows: &[(i64, i64)]) -> RecordBatch {
        let column = |of: fn(&(i64, i64)) -> i64| {
            Arc::new(Int64Array::from_iter_values(rows.iter().map(of))) as ArrayRef
        };
        RecordBatch::try_from_iter([("n", column(|row| row.0)), (WEIGHT, column(|row| row.1))]).unwrap()
    }

    /// The rows of the last picture.
    fn picture(screen: &mut Screen) -> Vec<i64> {
        let mut out = Vec::new();
        screen.draw(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let rows = text.lines().filter(|line| line.starts_with("| ") && !line.contains('n'));
        rows.map(|line| line.trim_matches(['|', ' ']).parse().unwrap()).collect()
    }

    #[test]
    fn rows_keep_their_place_when_they_change_and_the_last_ones_are_shown() {
        let mut screen = Screen::new(&batch(&[]).schema(), Style::default(), FRAME_LINES + 3, 0);
        let mut out = Vec::new();
        screen.write(&batch(&[(1, 1), (2, 1), (3, 1)]), &mut out).unwrap();
        screen.write(&batch(&[(2, -1), (20, 1), (3, -1)]), &mut out).unwrap();
        assert_eq!(picture(&mut screen), [1, 20]);
        screen.write(&batch(&[(4, 2), (1, 1)]), &mut out).unwrap();
        assert_eq!(picture(&mut screen), [4, 4, 1], "of five rows three fit");
        screen.write(&batch(&[(4, -1)]), &mut out).unwrap();
        assert_eq!(picture(&mut screen), [20, 4, 1]);
    }

    #[test]
    fn the_oldest_of_too_many_rows_are_forgotten() {
        let mut screen = Screen::new(&batch(&[]).schema(), Style::default(), 40, 2);
        screen.write(&batch(&[(1, 1), (2, 1), (3, 1)]), &mut Vec::new()).unwrap();
        assert_eq!(picture(&mut screen), [2, 3]);
        assert_eq!(screen.places.len(), 2);
    }
}

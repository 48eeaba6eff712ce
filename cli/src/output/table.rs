//! A table for people, as Flink's `tableau` mode draws it: right-aligned columns, `<NULL>`, long values cut. Rows that are too wide
//! for the terminal are drawn one below the other, a line for each column and nothing cut.
//!
//! The widths come from the first rows, which are kept back until then; later rows go out as they come, so that a long result
//! takes no memory. Those of a live result, whose rows are not held back, come from the columns' types, as in Flink.

use std::{
    io::{self, Write},
    time::Duration,
};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field, SchemaRef, TimeUnit},
};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::{Style, cell::Column, changelog::OP};

/// Rows that the widths are taken from.
const SAMPLE_ROWS: usize = 1_000;
/// What a cut value ends with.
const CUT: &str = "...";

/// Prints one result.
pub struct Table {
    schema: SchemaRef,
    style: Style,
    /// Kept back, as text.
    sample: Vec<Vec<String>>,
    /// Known once the first rows are printed.
    layout: Option<Layout>,
    rows: u64,
    is_live: bool,
}

#[derive(Clone)]
enum Layout {
    /// A line for each row, with a width for each column.
    Grid(Vec<usize>),
    /// A line for each column of each row, names aligned to this width.
    Records(usize),
}

impl Table {
    pub fn new(schema: SchemaRef, style: Style) -> Self {
        Self { schema, style, sample: Vec::new(), layout: None, rows: 0, is_live: false }
    }

    /// A table of rows that are printed as they come.
    pub fn live(schema: SchemaRef, style: Style) -> Self {
        Self { is_live: true, ..Self::new(schema, style) }
    }

    /// Prints the head of a live table.
    pub fn begin(&mut self, out: &mut impl Write) -> io::Result<()> {
        self.print_sample(out).map(drop)
    }

    pub fn write(&mut self, batch: &RecordBatch, out: &mut impl Write) -> io::Result<()> {
        for cells in Self::cells(batch, &self.style)? {
            match self.layout {
                Some(_) => self.row(&cells, out)?,
                None => self.sample.push(cells),
            }
            if self.sample.len() == SAMPLE_ROWS {
                self.print_sample(out)?;
            }
        }
        Ok(())
    }

    /// The values of rows, as they are shown.
    pub fn cells(batch: &RecordBatch, style: &Style) -> io::Result<Vec<Vec<String>>> {
        let columns = batch.columns().iter().map(|column| Column::new(column.as_ref(), style.time_zone));
        let columns = columns.collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?;
        let row = |row| columns.iter().map(|column| text(column, row, style.null)).collect();
        Ok((0..batch.num_rows()).map(row).collect())
    }

    /// Prints one row, below the head.
    pub fn row(&mut self, cells: &[String], out: &mut impl Write) -> io::Result<()> {
        let Some(layout) = self.layout.take() else { return Ok(()) };
        let printed = self.print(&layout, cells, out);
        self.layout = Some(layout);
        printed
    }

    /// Prints the lower border.
    pub fn close(&mut self, out: &mut impl Write) -> io::Result<()> {
        match self.print_sample(out)? {
            Layout::Grid(widths) => print_border(&widths, out),
            Layout::Records(_) => Ok(()),
        }
    }

    pub fn finish(&mut self, took: Option<Duration>, out: &mut impl Write) -> io::Result<()> {
        let took = took.map(|took| format!(" ({:.2} seconds)", took.as_secs_f64())).unwrap_or_default();
        if self.rows == 0 && self.sample.is_empty() && !self.is_live {
            return writeln!(out, "Empty set{took}");
        }
        self.close(out)?;
        let rows = if self.rows == 1 { "row" } else { "rows" };
        match self.is_live {
            true => writeln!(out, "Received a total of {} {rows}{took}", self.rows),
            false => writeln!(out, "{} {rows} in set{took}", self.rows),
        }
    }

    /// Prints the header and the rows that were kept back, unless that is done.
    fn print_sample(&mut self, out: &mut impl Write) -> io::Result<Layout> {
        if let Some(layout) = &self.layout {
            return Ok(layout.clone());
        }
        let names = self.names();
        let layout = self.fitting_layout(&names);
        if let Layout::Grid(widths) = &layout {
            print_border(widths, out)?;
            print_row(widths, &names, out)?;
            print_border(widths, out)?;
        }
        for row in std::mem::take(&mut self.sample) {
            self.print(&layout, &row, out)?;
        }
        self.layout = Some(layout.clone());
        Ok(layout)
    }

    fn names(&self) -> Vec<String> {
        self.schema.fields().iter().map(|field| clean(field.name())).collect()
    }

    fn fitting_layout(&self, names: &[String]) -> Layout {
        let width = |column: usize| {
            if self.is_live {
                let width = type_width(self.schema.field(column), self.style.column_width_max);
                return names[column].width().max(width);
            }
            let values = self.sample.iter().map(|row| row[column].width()).max().unwrap_or(0);
            names[column].width().max(values.min(self.style.column_width_max))
        };
        let widths: Vec<usize> = (0..names.len()).map(width).collect();
        let line = widths.iter().map(|width| width + 3).sum::<usize>() + 1;
        match self.style.width_max {
            Some(width_max) if line > width_max && names.len() > 1 => {
                Layout::Records(names.iter().map(|name| name.width()).max().unwrap_or(0))
            }
            _ => Layout::Grid(widths),
        }
    }

    fn print(&mut self, layout: &Layout, cells: &[String], out: &mut impl Write) -> io::Result<()> {
        self.rows += 1;
        match layout {
            Layout::Grid(widths) => print_row(widths, cells, out),
            Layout::Records(width) => {
                writeln!(out, "{:*^50}", format!(" {}. row ", self.rows))?;
                let mut lines = self.names().into_iter().zip(cells);
                lines.try_for_each(|(name, cell)| {
                    writeln!(out, "{}{name}: {cell}", " ".repeat(width - name.width()))
                })
            }
        }
    }
}

/// How wide the values of a column may be.
fn type_width(field: &Field, width_max: usize) -> usize {
    match field.data_type() {
        _ if field.name() == OP => 2,
        DataType::Boolean => 5,
        DataType::Int8 => 4,
        DataType::Int16 => 6,
        DataType::Int32 => 11,
        DataType::Int64 => 20,
        DataType::Float32 => 15,
        DataType::Float64 => 25,
        DataType::Decimal128(precision, _) => usize::from(*precision) + 2,
        DataType::Date32 => 10,
        DataType::Time32(_) | DataType::Time64(_) => 12,
        DataType::Timestamp(TimeUnit::Second, _) => 19,
        DataType::Timestamp(TimeUnit::Millisecond, _) => 23,
        DataType::Timestamp(..) => 29,
        _ => width_max,
    }
}

fn text(column: &Column<'_>, row: usize, null: &str) -> String {
    let mut text = String::new();
    column.append(row, null, &mut text);
    clean(&text)
}

/// A line break or a terminal's control sequence in a value must not break the table.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn print_border(widths: &[usize], out: &mut impl Write) -> io::Result<()> {
    let line: String = widths.iter().map(|width| format!("+{}", "-".repeat(width + 2))).collect();
    writeln!(out, "{line}+")
}

fn print_row(widths: &[usize], cells: &[String], out: &mut impl Write) -> io::Result<()> {
    let mut line = String::new();
    for (width, cell) in widths.iter().zip(cells) {
        let cell = cut(cell, *width);
        line.push_str("| ");
        line.push_str(&" ".repeat(width.saturating_sub(cell.width())));
        line.push_str(&cell);
        line.push(' ');
    }
    writeln!(out, "{line}|")
}

fn cut(cell: &str, width: usize) -> String {
    if cell.width() <= width {
        return cell.to_owned();
    }
    let mut kept = String::new();
    for c in cell.chars() {
        if kept.width() + c.width().unwrap_or(0) + CUT.len() > width {
            break;
        }
        kept.push(c);
    }
    kept + CUT
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int32Array, StringArray};

    use super::*;

    fn printed(batch: &RecordBatch) -> String {
        let mut table = Table::new(batch.schema(), Style { column_width_max: 8, ..Style::default() });
        let mut out = Vec::new();
        table.write(batch, &mut out).unwrap();
        table.finish(None, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn batch(ids: Vec<i32>, names: Vec<Option<&str>>) -> RecordBatch {
        let ids: ArrayRef = Arc::new(Int32Array::from(ids));
        let names: ArrayRef = Arc::new(StringArray::from(names));
        RecordBatch::try_from_iter([("id", ids), ("str", names)]).unwrap()
    }

    #[test]
    fn columns_are_right_aligned_and_long_values_cut() {
        let batch = batch(vec![1, 2, 30], vec![Some("Hello World"), None, Some("日本\n語")]);
        let expected = "\
+----+----------+
| id |      str |
+----+----------+
|  1 | Hello... |
|  2 |   <NULL> |
| 30 |  日本 語 |
+----+----------+
3 rows in set
";
        assert_eq!(printed(&batch), expected);
    }

    #[test]
    fn rows_too_wide_for_the_terminal_are_drawn_as_records() {
        let batch = batch(vec![1, 2], vec![Some("Hello World"), None]);
        let mut table = Table::new(batch.schema(), Style { width_max: Some(15), ..Style::default() });
        let mut out = Vec::new();
        table.write(&batch, &mut out).unwrap();
        table.finish(None, &mut out).unwrap();
        let expected = "\
********************* 1. row *********************
 id: 1
str: Hello World
********************* 2. row *********************
 id: 2
str: <NULL>
2 rows in set
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn no_row_and_many_rows() {
        assert_eq!(printed(&batch(vec![], vec![])), "Empty set\n");
        let many = batch((0..2500).collect(), vec![Some("x"); 2500]);
        let text = printed(&many);
        assert_eq!(text.lines().count(), 2500 + 5);
        assert!(text.ends_with("2500 rows in set\n"));
    }

    #[test]
    fn a_live_table_shows_its_columns_at_once_and_each_row_as_it_comes() {
        let batch = batch(vec![1, 2], vec![Some("Hello World"), None]);
        let mut table = Table::live(batch.schema(), Style { column_width_max: 8, ..Style::default() });
        let mut out = Vec::new();
        table.begin(&mut out).unwrap();
        let head = "\
+-------------+----------+
|          id |      str |
+-------------+----------+
";
        assert_eq!(String::from_utf8(out.clone()).unwrap(), head);
        table.write(&batch, &mut out).unwrap();
        table.finish(None, &mut out).unwrap();
        let rows = "\
|           1 | Hello... |
|           2 |   <NULL> |
+-------------+----------+
Received a total of 2 rows
";
        assert_eq!(String::from_utf8(out).unwrap(), format!("{head}{rows}"));
    }
}

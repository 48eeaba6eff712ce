//! Rows on stdout, in the format that the user chose. Everything else that a command says goes to stderr.

use std::{
    io::{self, Write},
    time::Duration,
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use clap::ValueEnum;
use thalweg_plan::functions::zone::Zone;

pub mod cell;
pub mod changelog;
mod csv;
mod json;
mod screen;
mod table;

/// How rows are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people: a table as Flink's `tableau` mode draws it.
    Table,
    /// Comma-separated with a header, quoted as in RFC 4180.
    Csv,
    /// One JSON object a line.
    Json,
}

/// What rows look like, besides the format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Style {
    /// The time zone in which `TIMESTAMP_LTZ` is shown.
    pub time_zone: Zone,
    /// Where a table cuts a column.
    pub column_width_max: usize,
    /// How wide a table may be before it is drawn as a list of columns for each row; `None` where nobody's terminal would break it.
    pub width_max: Option<usize>,
    /// What stands for NULL in a table.
    pub null: &'static str,
}

impl Default for Style {
    fn default() -> Self {
        Self { time_zone: Zone::UTC, column_width_max: 30, width_max: None, null: "<NULL>" }
    }
}

/// Prints the rows of one result as they come.
pub struct RowPrinter<W> {
    out: W,
    printer: Printer,
    rows: u64,
    live: Option<LiveColumns>,
}

/// What the rows of a live result are shown as.
enum LiveColumns {
    /// As they are.
    Rows,
    /// As changes, in columns with what becomes of a row.
    Changes(SchemaRef),
}

/// A terminal on which the content of a live result is drawn over itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScreenSize {
    /// Its lines.
    pub lines: usize,
    /// Rows that are kept to be shown again; 0 is all.
    pub rows_max: u64,
}

enum Printer {
    Screen(Box<screen::Screen>),
    Table(table::Table),
    Csv(csv::Csv),
    Json,
}

impl<W: Write> RowPrinter<W> {
    /// A printer of rows of one schema.
    pub fn new(format: Format, schema: SchemaRef, style: Style, out: W) -> Self {
        let printer = match format {
            Format::Table => Printer::Table(table::Table::new(schema, style)),
            Format::Csv => Printer::Csv(csv::Csv::new(schema, style)),
            Format::Json => Printer::Json,
        };
        Self { out, printer, rows: 0, live: None }
    }

    /// A printer of rows that are shown as they come, none held back, with what becomes of them; tells their columns at once. Files have
    /// a column for that only where rows are taken back.
    pub fn live(format: Format, schema: &SchemaRef, style: Style, out: W) -> io::Result<Self> {
        let shows_op = format == Format::Table || changelog::has_changes(schema);
        let (columns, live) = match shows_op {
            true => (changelog::with_op(schema), LiveColumns::Changes(changelog::with_op(schema))),
            false => (schema.clone(), LiveColumns::Rows),
        };
        let printer = match format {
            Format::Table => Printer::Table(table::Table::live(columns, style)),
            Format::Csv => Printer::Csv(csv::Csv::new(columns, style)),
            Format::Json => Printer::Json,
        };
        let mut printer = Self { out, printer, rows: 0, live: Some(live) };
        match &mut printer.printer {
            Printer::Table(table) => table.begin(&mut printer.out)?,
            Printer::Csv(csv) => csv.finish(&mut printer.out)?,
            Printer::Json | Printer::Screen(_) => {}
        }
        printer.out.flush()?;
        Ok(printer)
    }

    /// A printer that draws what a live result stands for over itself.
    pub fn on_screen(schema: &SchemaRef, style: Style, size: ScreenSize, out: W) -> io::Result<Self> {
        let mut screen = Box::new(screen::Screen::new(schema, style, size.lines, size.rows_max));
        let mut out = out;
        screen.draw(&mut out)?;
        Ok(Self { out, printer: Printer::Screen(screen), rows: 0, live: Some(LiveColumns::Rows) })
    }

    /// Prints some rows; a table may keep the first of them back until it knows how wide its columns are.
    pub fn write(&mut self, batch: &RecordBatch) -> io::Result<()> {
        match &self.live {
            None => self.print(batch),
            Some(LiveColumns::Rows) => {
                self.print(batch)?;
                self.out.flush()
            }
            Some(LiveColumns::Changes(columns)) => {
                let changes = changelog::as_changes(batch, columns).map_err(io::Error::other)?;
                self.print(&changes)?;
                self.out.flush()
            }
        }
    }

    fn print(&mut self, batch: &RecordBatch) -> io::Result<()> {
        self.rows += batch.num_rows() as u64;
        match &mut self.printer {
            Printer::Screen(screen) => screen.write(batch, &mut self.out),
            Printer::Table(table) => table.write(batch, &mut self.out),
            Printer::Csv(csv) => csv.write(batch, &mut self.out),
            Printer::Json => json::write(batch, &mut self.out),
        }
    }

    /// Prints what is kept back and what ends the result, with the time it took if that is given; returns the number of rows.
    pub fn finish(mut self, took: Option<Duration>) -> io::Result<u64> {
        match &mut self.printer {
            Printer::Screen(screen) => screen.draw(&mut self.out)?,
            Printer::Table(table) => table.finish(took, &mut self.out)?,
            Printer::Csv(csv) => csv.finish(&mut self.out)?,
            Printer::Json => {}
        }
        self.out.flush()?;
        Ok(self.rows)
    }
}

/// Whether an error says that nobody reads stdout any more, as `| head` does; that ends a command quietly.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

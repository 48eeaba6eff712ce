//! A result as a table for people and as JSON for machines.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// One table.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Which benchmark.
    pub name: String,
    /// How it was measured, in a sentence.
    pub method: String,
    /// Column headers.
    pub columns: Vec<String>,
    /// Rows as text.
    pub rows: Vec<Vec<String>>,
    /// The figures.
    pub figures: Value,
}

impl Report {
    /// An empty table.
    pub fn new(name: &str, method: &str, columns: &[&str]) -> Self {
        let columns = columns.iter().map(|&column| column.to_owned()).collect();
        Self {
            name: name.to_owned(),
            method: method.to_owned(),
            columns,
            rows: Vec::new(),
            figures: json!({}),
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Prints it in Markdown; writes the JSON to a file where one is given.
    pub fn print(&self, json_file: Option<&Path>) -> Result<()> {
        let mut table = comfy_table::Table::new();
        table.load_preset(comfy_table::presets::ASCII_MARKDOWN).set_header(&self.columns);
        self.rows.iter().for_each(|row| {
            table.add_row(row);
        });
        writeln!(io::stdout(), "\n### {}\n{}\n\n{table}", self.name, self.method)?;
        let Some(file) = json_file else { return Ok(()) };
        let text = json!({ "benchmark": self.name, "method": self.method, "figures": self.figures });
        fs::write(file, format!("{text:#}\n")).with_context(|| file.display().to_string())
    }
}

/// The middle of some numbers; the mean of both middles where their number is even.
pub fn median(numbers: &[f64]) -> f64 {
    quantile(numbers, 0.5)
}

/// A quantile of some numbers, interpolated; NaN of none.
pub fn quantile(numbers: &[f64], fraction: f64) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = fraction * last as f64;
    let (low, high) = (place.floor() as usize, place.ceil() as usize);
    sorted[low] + (sorted[high] - sorted[low]) * (place - low as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_interpolated() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0]), 2.5);
        assert_eq!(quantile(&[1.0, 2.0, 3.0], 1.0), 3.0);
        assert!(median(&[]).is_nan());
    }
}

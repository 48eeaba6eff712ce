//! TPC-H: tables, queries and the answers of an independent engine, from `integration/tpch`.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use crate::comparison::Rows;

/// The tables.
pub const TABLES: [&str; 8] =
    ["customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier"];

/// The numbers of the queries.
pub const QUERIES: std::ops::RangeInclusive<u32> = 1..=22;

/// How much data: the scale factors for which answers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// 0.01: 60 thousand line items, 3 MB of Parquet.
    Hundredth,
    /// 0.1.
    Tenth,
    /// 1: 6 million line items, 240 MB of Parquet.
    One,
}

impl Scale {
    /// The scale factor as text, as it stands in folder names: `0.01`.
    pub fn as_str(self) -> &'static str {
        match self {
            Scale::Hundredth => "0.01",
            Scale::Tenth => "0.1",
            Scale::One => "1",
        }
    }

    /// The scale factor.
    pub fn factor(self) -> f64 {
        match self {
            Scale::Hundredth => 0.01,
            Scale::Tenth => 0.1,
            Scale::One => 1.0,
        }
    }

    /// The scale of a scale factor as text.
    pub fn of(text: &str) -> Option<Self> {
        [Scale::Hundredth, Scale::Tenth, Scale::One].into_iter().find(|scale| scale.as_str() == text)
    }
}

/// The text of a query, without the semicolon.
pub fn query(number: u32, scale: Scale) -> Result<String> {
    let text = read(&format!("queries/q{number}.sql"))?;
    // The specification makes this constant depend on the scale factor.
    let fraction = match scale {
        Scale::Hundredth => "0.01",
        Scale::Tenth => "0.001",
        Scale::One => "0.0001",
    };
    Ok(text.replace("{Q11FRAC}", fraction).trim().trim_end_matches(';').to_owned())
}

/// The expected rows of a query.
pub fn answer(number: u32, scale: Scale) -> Result<Rows> {
    let file = format!("answers/sf{}/q{number}.csv", scale.as_str());
    Rows::of_csv(&read(&file)?).with_context(|| file)
}

/// The columns that a query orders its result by.
pub fn order_by(query: &str) -> Vec<String> {
    let Some((_, tail)) = query.rsplit_once("order by ") else { return Vec::new() };
    let keys = tail.split_once(" limit ").map_or(tail, |(keys, _)| keys);
    keys.split(',').filter_map(|key| key.split_whitespace().next()).map(str::to_owned).collect()
}

/// Statements that declare the tables over Parquet files in a folder, `/path` or a URL. Their columns are read from the files.
pub fn create_tables(folder: &str) -> Vec<String> {
    let create = |table: &&str| {
        format!(
            "CREATE TABLE {table} WITH ('connector' = 'filesystem', 'path' = '{folder}/{table}.parquet', 'format' = 'parquet')"
        )
    };
    TABLES.iter().map(create).collect()
}

fn read(file: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tpch").join(file);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_query_has_an_answer_whose_columns_contain_the_order() {
        for scale in [Scale::Hundredth, Scale::Tenth, Scale::One] {
            for number in QUERIES {
                let rows = answer(number, scale).unwrap();
                let query = query(number, scale).unwrap();
                assert!(!query.contains('{'), "{query}");
                for column in order_by(&query) {
                    assert!(
                        rows.columns.contains(&column),
                        "q{number}: {column} is not in {:?}",
                        rows.columns
                    );
                }
            }
        }
    }
}

//! Runs a TPC-H query and compares its result with the expected answer.

use anyhow::{Context as _, Result};
use arrow::array::RecordBatch;
use thalweg::Client;

use crate::{
    comparison::{Rows, compare},
    tpch::{self, Scale},
};

/// Runs query `number` where the tables are declared already, and compares its rows with the answer of `scale`.
pub async fn check(client: &mut Client, number: u32, scale: Scale) -> Result<()> {
    let query = tpch::query(number, scale)?;
    let batches = client.sql(&query).await?;
    check_rows(&batches, number, scale)
}

/// Compares the rows of query `number` with the answer of `scale`.
pub fn check_rows(batches: &[RecordBatch], number: u32, scale: Scale) -> Result<()> {
    let first = batches.first().context("the result has no batch")?;
    let actual = Rows::of_batches(&first.schema(), batches)?;
    compare(&actual, &tpch::answer(number, scale)?, &tpch::order_by(&tpch::query(number, scale)?))
}

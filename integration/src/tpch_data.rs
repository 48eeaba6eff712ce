//! Makes TPC-H data: one Parquet file (Snappy) a table, the rows of dbgen, kept in the cache folder.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context as _, Result, anyhow};
use parquet::{
    arrow::{ArrowWriter, arrow_writer::ArrowWriterOptions},
    basic::Compression,
    file::properties::WriterProperties,
};
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RecordBatchIterator,
    RegionArrow, SupplierArrow,
};

use crate::{
    cache,
    tpch::{Scale, TABLES},
};

/// The folder with the tables of a scale as `TABLE.parquet`; makes them where they are missing. Several processes may ask at once.
pub fn folder(scale: Scale) -> Result<PathBuf> {
    let folder = cache::folder().join("tpch").join(format!("sf{}", scale.as_str()));
    if !folder.exists() {
        let parent = folder.parent().expect("two names were joined above");
        fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        let staging = tempfile::Builder::new().prefix(".making-").tempdir_in(parent)?;
        generate(scale, staging.path())?;
        publish(staging.keep(), &folder)?;
    }
    Ok(folder)
}

/// Moves a finished folder to its place, unless another process was faster.
fn publish(staging: PathBuf, folder: &Path) -> Result<()> {
    match fs::rename(&staging, folder) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(fs::remove_dir_all(&staging)?),
        result => result.with_context(|| folder.display().to_string()),
    }
}

/// Writes all tables of a scale into a folder, two at a time.
pub fn generate(scale: Scale, folder: &Path) -> Result<()> {
    let halves =
        [&["lineitem"][..], &["customer", "nation", "orders", "part", "partsupp", "region", "supplier"]];
    debug_assert_eq!(halves.iter().map(|half| half.len()).sum::<usize>(), TABLES.len());
    let results: Vec<Result<()>> = thread::scope(|scope| {
        let threads = halves.map(|tables| {
            scope.spawn(move || tables.iter().try_for_each(|table| write_table(table, scale, folder)))
        });
        let join = |thread: thread::ScopedJoinHandle<'_, Result<()>>| thread.join();
        threads.map(|thread| join(thread).unwrap_or_else(|_| Err(anyhow!("the generator panicked")))).into()
    });
    results.into_iter().collect()
}

fn write_table(table: &str, scale: Scale, folder: &Path) -> Result<()> {
    let path = folder.join(table).with_extension("parquet");
    let batches = batches(table, scale.factor());
    // Small files still have several row groups, so that there is something to divide among subtasks.
    let row_group_rows = ((1_500_000.0 * scale.factor()) as usize).clamp(10_000, 122_880);
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(row_group_rows))
        .build();
    // Readers see plain strings and not the generator's choice of Arrow types.
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let file = File::create(&path).with_context(|| path.display().to_string())?;
    let mut writer = ArrowWriter::try_new_with_options(file, batches.schema().clone(), options)?;
    for batch in batches {
        writer.write(&batch)?;
    }
    writer.close()?;
    Ok(())
}

fn batches(table: &str, factor: f64) -> Box<dyn RecordBatchIterator> {
    match table {
        "customer" => Box::new(CustomerArrow::new(CustomerGenerator::new(factor, 1, 1))),
        "lineitem" => Box::new(LineItemArrow::new(LineItemGenerator::new(factor, 1, 1))),
        "nation" => Box::new(NationArrow::new(NationGenerator::new(factor, 1, 1))),
        "orders" => Box::new(OrderArrow::new(OrderGenerator::new(factor, 1, 1))),
        "part" => Box::new(PartArrow::new(PartGenerator::new(factor, 1, 1))),
        "partsupp" => Box::new(PartSuppArrow::new(PartSuppGenerator::new(factor, 1, 1))),
        "region" => Box::new(RegionArrow::new(RegionGenerator::new(factor, 1, 1))),
        "supplier" => Box::new(SupplierArrow::new(SupplierGenerator::new(factor, 1, 1))),
        other => unreachable!("`{other}` is not a TPC-H table"),
    }
}

//! Splits of the files that this crate reads itself: whole files, or ranges of those that can be entered in the middle.

use arrow::datatypes::SchemaRef;
use datafusion::common::{ColumnStatistics, Statistics, stats::Precision};
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use thalweg_graph::{source::Split, table::TableDescriptor};

use super::{files::TableFile, options::FilesystemOptions};
use crate::{
    error::{Error, Result},
    file_system::{Location, block_locations::hosts_of_range},
    format::{FileFormat, compression::Compression, csv},
    options::TableOptions,
};

/// Bytes of a file that one split covers at most, where files can be split.
const SPLIT_BYTES_MAX: u64 = 64 << 20;
/// Files whose block locations are asked for at once.
const LOCATIONS_AT_ONCE: usize = 8;
/// More files than this are not worth a question each.
const LOCATED_FILES_MAX: usize = 2048;

/// What a reader is given of a split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSplit {
    /// The file.
    pub url: String,
    /// The first byte of the range.
    pub start: u64,
    /// The byte after it.
    pub end: u64,
    /// The length of the whole file.
    pub file_bytes: u64,
    /// The values of the columns that are constant in a file, as text; `None` is NULL.
    pub constants: Vec<Option<String>>,
}

impl FileSplit {
    /// Reads a split's descriptor.
    pub fn decode(split: &Split) -> Result<Self> {
        serde_json::from_slice(&split.descriptor).map_err(|error| {
            Error::Internal(format!("the split `{}` cannot be decoded: {error}", split.display))
        })
    }

    /// As a split.
    pub fn encode(&self, hosts: Vec<String>) -> Result<Split> {
        let descriptor = serde_json::to_vec(self).map_err(|error| Error::Internal(error.to_string()))?;
        let display = format!("{}[{}..{}]", self.url, self.start, self.end);
        Ok(Split { display, descriptor: descriptor.into(), size_bytes: self.end - self.start, hosts })
    }
}

/// Deals the files to partitions so that each has about as many bytes.
pub async fn deal(
    location: &Location,
    options: &FilesystemOptions,
    table: &TableDescriptor,
    files: Vec<TableFile>,
    partitions: usize,
) -> Result<Vec<Vec<Split>>> {
    let total: u64 = files.iter().map(|file| file.status.bytes).sum();
    let longest = (total / partitions.max(1) as u64 + 1).clamp(1 << 20, SPLIT_BYTES_MAX);
    let locate = files.len() <= LOCATED_FILES_MAX;
    let cut = |file: TableFile| async move {
        let blocks = match locate {
            true => location.file_system.block_hosts(&file.status.path).await.unwrap_or_default(),
            false => Vec::new(),
        };
        let ranges = match is_splittable(options.format, &file.status.path, TableOptions(&table.options)) {
            true => ranges(file.status.bytes, longest),
            false => vec![(0, file.status.bytes)],
        };
        let split = |(start, end): (u64, u64)| {
            let url = location.file_system.url(&file.status.path);
            let split = FileSplit {
                url,
                start,
                end,
                file_bytes: file.status.bytes,
                constants: file.constants.clone(),
            };
            split.encode(hosts_of_range(&blocks, start, end))
        };
        ranges.into_iter().map(split).collect::<Result<Vec<_>>>()
    };
    let splits: Vec<Result<Vec<Split>>> =
        stream::iter(files).map(cut).buffered(LOCATIONS_AT_ONCE).collect().await;
    let mut splits: Vec<Split> =
        splits.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
    splits.sort_by_key(|split| std::cmp::Reverse(split.size_bytes));
    let mut dealt = vec![(0, Vec::new()); partitions.clamp(1, splits.len().max(1))];
    for split in splits {
        if let Some((bytes, least)) = dealt.iter_mut().min_by_key(|(bytes, _)| *bytes) {
            *bytes += split.size_bytes;
            least.push(split);
        }
    }
    Ok(dealt.into_iter().map(|(_, splits)| splits).collect())
}

fn is_splittable(format: FileFormat, path: &str, options: TableOptions<'_>) -> bool {
    match format {
        FileFormat::Orc => true,
        FileFormat::Json => Compression::of(path) == Compression::None,
        FileFormat::Csv => Compression::of(path) == Compression::None && !csv::rows_may_span_lines(options),
        FileFormat::Parquet | FileFormat::Avro => false,
    }
}

/// Ranges of about the same length, none longer than `longest`.
fn ranges(bytes: u64, longest: u64) -> Vec<(u64, u64)> {
    let count = bytes.div_ceil(longest).max(1);
    (0..count).map(|i| (bytes * i / count, bytes * (i + 1) / count)).collect()
}

/// A guess at rows and bytes, from the sizes of the files and the widths of the columns.
pub fn estimate(schema: &SchemaRef, files: &[TableFile], projection: Option<&Vec<usize>>) -> Statistics {
    let bytes: u64 = files.iter().map(|file| file.status.bytes).sum();
    let row_bytes: usize =
        schema.fields().iter().map(|field| field.data_type().primitive_width().unwrap_or(16)).sum();
    let columns = projection.map_or(schema.fields().len(), Vec::len);
    Statistics {
        num_rows: Precision::Inexact(bytes as usize / row_bytes.max(1)),
        total_byte_size: Precision::Inexact(bytes as usize * columns / schema.fields().len().max(1)),
        column_statistics: vec![ColumnStatistics::new_unknown(); columns],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_a_file_once() {
        assert_eq!(ranges(10, 4), [(0, 3), (3, 6), (6, 10)]);
        assert_eq!(ranges(4, 4), [(0, 4)]);
        assert_eq!(ranges(0, 4), [(0, 0)]);
    }
}

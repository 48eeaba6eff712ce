//! Rows to bytes, for sinks. An encoder never touches a file: its caller moves the finished bytes on.

use arrow::{
    array::RecordBatch,
    csv::{QuoteStyle, WriterBuilder as CsvWriterBuilder},
    datatypes::SchemaRef,
    json::{LineDelimitedWriter, WriterBuilder as JsonWriterBuilder, writer::LineDelimited},
};
use bytes::Bytes;
use datafusion::parquet::{
    arrow::ArrowWriter,
    basic::{Compression, GzipLevel, ZstdLevel},
    errors::ParquetError,
    file::properties::{WriterProperties, WriterVersion},
};
use thalweg_graph::options::MemorySize;

use super::{FileFormat, csv::CsvOptions};
use crate::{
    error::{Error, Result},
    options::TableOptions,
};

/// A row group is ended at this size where `parquet.block.size` does not say another: small enough that a worker can have
/// several open, large enough that a scan reads columns in one go.
const ROW_GROUP_BYTES: u64 = 64 << 20;

/// Turns batches into the bytes of one file.
pub trait EncodeFile: Send {
    /// Takes rows.
    fn write(&mut self, batch: &RecordBatch) -> Result<()>;
    /// The bytes that are finished since the last call.
    fn take(&mut self) -> Bytes;
    /// Bytes that are held for rows that are not finished.
    fn held_bytes(&self) -> usize;
    /// The bytes at the end of the file.
    fn finish(self: Box<Self>) -> Result<Bytes>;
}

/// An encoder of one file of a table, whose rows have `schema`.
pub fn encoder(
    format: FileFormat,
    options: TableOptions<'_>,
    schema: &SchemaRef,
) -> Result<Box<dyn EncodeFile>> {
    match format {
        FileFormat::Parquet => Ok(Box::new(ParquetEncoder::new(options, schema)?)),
        FileFormat::Csv => {
            Ok(Box::new(CsvEncoder { options: CsvOptions::of(options), buffer: Vec::new(), is_empty: true }))
        }
        FileFormat::Json => Ok(Box::new(JsonEncoder {
            timestamp_format: json_timestamp_format(options, "json.timestamp-format.standard"),
            explicit_nulls: !options.is_set("json.encode.ignore-null-fields"),
            buffer: Vec::new(),
        })),
        FileFormat::Avro | FileFormat::Orc => Err(not_written(format)),
    }
}

/// Why a format cannot be written.
pub fn not_written(format: FileFormat) -> Error {
    Error::Unsupported(format!(
        "format `{}` can be read and not be written; write `parquet`, `csv` or `json`",
        format.name()
    ))
}

fn rows(error: impl Into<datafusion::error::DataFusionError>) -> Error {
    Error::Rows(error.into())
}

struct ParquetEncoder {
    writer: ArrowWriter<Vec<u8>>,
}

impl ParquetEncoder {
    fn new(options: TableOptions<'_>, schema: &SchemaRef) -> Result<Self> {
        let MemorySize(block) = options.value("parquet.block.size").unwrap_or(MemorySize(ROW_GROUP_BYTES));
        let mut properties = WriterProperties::builder()
            .set_writer_version(WriterVersion::PARQUET_1_0)
            .set_created_by(concat!("thalweg version ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(compression(options.text("parquet.compression").unwrap_or("snappy"))?)
            .set_dictionary_enabled(options.value("parquet.enable.dictionary").unwrap_or(true))
            .set_bloom_filter_enabled(options.is_set("parquet.bloom.filter.enabled"))
            .set_max_row_group_bytes(Some(block.max(1) as usize));
        if let Some(rows) = options.value::<u64>("parquet.row-group.rows") {
            properties = properties.set_max_row_group_row_count(Some(rows.max(1) as usize));
        }
        if let Some(MemorySize(page)) = options.value("parquet.page.size") {
            properties = properties.set_data_page_size_limit(page.max(1) as usize);
        }
        let writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties.build()));
        Ok(Self { writer: writer.map_err(unwritable)? })
    }
}

fn unwritable(error: ParquetError) -> Error {
    Error::Rows(error.into())
}

fn compression(name: &str) -> Result<Compression> {
    match name.to_ascii_lowercase().as_str() {
        "uncompressed" | "none" => Ok(Compression::UNCOMPRESSED),
        "snappy" => Ok(Compression::SNAPPY),
        "gzip" => Ok(Compression::GZIP(GzipLevel::default())),
        "zstd" => Ok(Compression::ZSTD(ZstdLevel::default())),
        "lz4" | "lz4_raw" => Ok(Compression::LZ4_RAW),
        other => Err(Error::InvalidOption(format!("option `parquet.compression` cannot be `{other}`"))),
    }
}

impl EncodeFile for ParquetEncoder {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer.write(batch).map_err(unwritable)
    }

    fn take(&mut self) -> Bytes {
        std::mem::take(self.writer.inner_mut()).into()
    }

    fn held_bytes(&self) -> usize {
        self.writer.memory_size() + self.writer.inner().len()
    }

    fn finish(mut self: Box<Self>) -> Result<Bytes> {
        self.writer.finish().map_err(unwritable)?;
        Ok(self.take())
    }
}

struct CsvEncoder {
    options: CsvOptions,
    buffer: Vec<u8>,
    is_empty: bool,
}

impl EncodeFile for CsvEncoder {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let options = &self.options;
        let mut builder = CsvWriterBuilder::new()
            .with_header(options.header && self.is_empty)
            .with_delimiter(options.delimiter)
            .with_null(options.null_literal.clone().unwrap_or_default())
            .with_timestamp_format("%Y-%m-%d %H:%M:%S%.f".to_owned())
            .with_timestamp_tz_format("%Y-%m-%d %H:%M:%S%.fZ".to_owned());
        builder = match (options.quote, options.escape) {
            (None, _) => builder.with_quote_style(QuoteStyle::Never),
            (Some(quote), None) => builder.with_quote(quote),
            (Some(quote), Some(escape)) => {
                builder.with_quote(quote).with_escape(escape).with_double_quote(false)
            }
        };
        self.is_empty = false;
        builder.build(&mut self.buffer).write(batch).map_err(rows)
    }

    fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.buffer).into()
    }

    fn held_bytes(&self) -> usize {
        self.buffer.len()
    }

    fn finish(self: Box<Self>) -> Result<Bytes> {
        Ok(self.buffer.into())
    }
}

/// How timestamps are written, by the option of that name.
pub fn json_timestamp_format(options: TableOptions<'_>, name: &str) -> &'static str {
    let standard = options.text(name).unwrap_or("SQL");
    if standard.eq_ignore_ascii_case("SQL") { "%Y-%m-%d %H:%M:%S%.f" } else { "%Y-%m-%dT%H:%M:%S%.f" }
}

struct JsonEncoder {
    timestamp_format: &'static str,
    explicit_nulls: bool,
    buffer: Vec<u8>,
}

impl EncodeFile for JsonEncoder {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut writer: LineDelimitedWriter<_> = JsonWriterBuilder::new()
            .with_explicit_nulls(self.explicit_nulls)
            .with_timestamp_format(self.timestamp_format.to_owned())
            .with_timestamp_tz_format(format!("{}Z", self.timestamp_format))
            .build::<_, LineDelimited>(&mut self.buffer);
        writer.write(batch).map_err(rows)?;
        writer.finish().map_err(rows)
    }

    fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.buffer).into()
    }

    fn held_bytes(&self) -> usize {
        self.buffer.len()
    }

    fn finish(self: Box<Self>) -> Result<Bytes> {
        Ok(self.buffer.into())
    }
}

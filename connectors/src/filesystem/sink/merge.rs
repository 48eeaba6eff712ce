//! Several pieces of one format put together into one file, with bounded memory: text end to end, Parquet decoded and encoded again, so
//! that its row groups are as large as they are to be.

use std::{ops::Range, sync::Arc};

use arrow::datatypes::SchemaRef;
use bytes::{Bytes, BytesMut};
use futures::{
    FutureExt as _, StreamExt as _, TryStreamExt as _, future::BoxFuture, stream, stream::BoxStream,
};
use parquet::{
    arrow::{
        arrow_reader::ArrowReaderOptions,
        async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder},
    },
    errors::ParquetError,
    file::metadata::{ParquetMetaData, ParquetMetaDataReader},
};

use super::{output::Output, part::Slice};
use crate::{
    error::{Error, Result},
    format::{FileFormat, compress::Compressor, compression::Compression, decompress, encode::encoder},
    options::TableOptions,
};

/// Rows that are decoded at once.
const BATCH_ROWS: usize = 8192;

/// Bytes of one piece, which is a whole file of its format.
#[derive(Debug, Clone)]
pub enum Piece {
    /// In memory.
    Held(Bytes),
    /// In a file.
    Stored(Slice),
}

impl Piece {
    fn len(&self) -> u64 {
        match self {
            Piece::Held(bytes) => bytes.len() as u64,
            Piece::Stored(slice) => slice.bytes,
        }
    }

    /// Its bytes, in order.
    pub fn pieces(self) -> BoxStream<'static, Result<Bytes>> {
        match self {
            Piece::Held(bytes) => stream::iter([Ok(bytes)]).boxed(),
            Piece::Stored(slice) => slice.pieces(),
        }
    }

    fn url(&self) -> String {
        match self {
            Piece::Held(_) => "rows in memory".to_owned(),
            Piece::Stored(slice) => slice.location.url(),
        }
    }
}

/// How pieces are written.
pub struct Layout<'a> {
    /// Their format.
    pub format: FileFormat,
    /// How they are compressed as a whole.
    pub compression: Compression,
    /// The table's options.
    pub options: TableOptions<'a>,
    /// Their columns.
    pub schema: &'a SchemaRef,
}

/// Writes all pieces, one after the other, as one file.
pub async fn merge(layout: &Layout<'_>, pieces: Vec<Piece>, output: &mut Output) -> Result<()> {
    match layout.format {
        FileFormat::Parquet => merge_parquet(layout, pieces, output).await,
        _ => merge_text(layout, pieces, output).await,
    }
}

async fn merge_parquet(layout: &Layout<'_>, pieces: Vec<Piece>, output: &mut Output) -> Result<()> {
    let mut encoder = encoder(layout.format, layout.options, layout.schema)?;
    for piece in pieces {
        let url = piece.url();
        let damaged = |error: ParquetError| Error::Corrupt {
            path: url.clone(),
            format: "Parquet",
            source: Box::new(error),
        };
        let rows = ParquetRecordBatchStreamBuilder::new(ParquetPiece(piece)).await.map_err(damaged)?;
        let mut rows = rows.with_batch_size(BATCH_ROWS).build().map_err(damaged)?;
        while let Some(batch) = rows.try_next().await.map_err(damaged)? {
            encoder.write(&batch)?;
            output.write(encoder.take()).await?;
        }
    }
    output.write(encoder.finish()?).await
}

/// A piece as the Parquet reader asks for it.
struct ParquetPiece(Piece);

impl AsyncFileReader for ParquetPiece {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        async move {
            match &self.0 {
                Piece::Held(bytes) => Ok(bytes.slice(range.start as usize..range.end as usize)),
                Piece::Stored(slice) => {
                    slice.range(range).await.map_err(|error| ParquetError::External(Box::new(error)))
                }
            }
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        async move {
            let bytes = self.0.len();
            Ok(Arc::new(ParquetMetaDataReader::new().load_and_finish(self, bytes).await?))
        }
        .boxed()
    }
}

async fn merge_text(layout: &Layout<'_>, pieces: Vec<Piece>, output: &mut Output) -> Result<()> {
    let header = header(layout)?;
    let mut compressor = Compressor::of(layout.compression)?;
    for (number, piece) in pieces.into_iter().enumerate() {
        let url = piece.url();
        let mut plain = decompress::plain(layout.compression, &url, piece.pieces())?;
        // Each piece has a header of its own; the file has the first one.
        let mut begun = number == 0 || header.is_empty();
        let mut start = BytesMut::new();
        while let Some(bytes) = plain.try_next().await? {
            let bytes = match begun {
                true => bytes,
                false => {
                    start.extend_from_slice(&bytes);
                    if start.len() < header.len() {
                        continue;
                    }
                    begun = true;
                    without_header(std::mem::take(&mut start).freeze(), &header)
                }
            };
            match &mut compressor {
                None => output.write(bytes).await?,
                Some(compressor) => {
                    compressor.write(&bytes)?;
                    output.write(compressor.take()).await?;
                }
            }
        }
    }
    match compressor {
        None => Ok(()),
        Some(compressor) => output.write(compressor.finish()?).await,
    }
}

fn without_header(bytes: Bytes, header: &[u8]) -> Bytes {
    if bytes.starts_with(header) { bytes.slice(header.len()..) } else { bytes }
}

/// What every file begins with: the names of a CSV file's columns, where the table wants them.
fn header(layout: &Layout<'_>) -> Result<Bytes> {
    if layout.format != FileFormat::Csv || !layout.options.is_set("csv.header") {
        return Ok(Bytes::new());
    }
    let mut encoder = encoder(layout.format, layout.options, layout.schema)?;
    encoder.write(&arrow::array::RecordBatch::new_empty(Arc::clone(layout.schema)))?;
    encoder.finish()
}

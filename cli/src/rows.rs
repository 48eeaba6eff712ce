//! The rows of a query: the bytes of an Arrow IPC stream, read as they come.

use std::io;

use anyhow::{Context as _, Result};
use arrow::{array::RecordBatch, buffer::Buffer, datatypes::SchemaRef, ipc::reader::StreamDecoder};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream::BoxStream};

/// Rows, with the schema that they have even if there are none.
pub struct Rows {
    schema: SchemaRef,
    /// Decoded while the schema was looked for.
    first: Option<RecordBatch>,
    decoder: StreamDecoder,
    buffer: Buffer,
    bytes: BoxStream<'static, io::Result<Bytes>>,
}

impl Rows {
    /// Reads the schema of a result.
    pub async fn open(bytes: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Result<Rows> {
        let mut decoder = StreamDecoder::new();
        let mut bytes = bytes.boxed();
        let mut buffer = Buffer::from(Bytes::new());
        loop {
            let first = decoder.decode(&mut buffer).context("the result is not an Arrow IPC stream")?;
            if let Some(schema) = decoder.schema() {
                return Ok(Rows { schema, first, decoder, buffer, bytes });
            }
            let next = bytes.next().await.context("the result ends before its schema")?;
            buffer = Buffer::from(next.context("cannot read the result")?);
        }
    }

    /// The schema.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// The next rows; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        loop {
            let batch =
                self.decoder.decode(&mut self.buffer).context("the result is not an Arrow IPC stream")?;
            if batch.is_some() {
                return Ok(batch);
            }
            match self.bytes.next().await {
                Some(next) => self.buffer = Buffer::from(next.context("cannot read the result")?),
                None => {
                    self.decoder.finish().context("the result is cut off")?;
                    return Ok(None);
                }
            }
        }
    }

    /// All rows that are left.
    pub async fn collect(mut self) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next().await? {
            batches.push(batch);
        }
        Ok(batches)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{ArrayRef, Int32Array},
        ipc::writer::StreamWriter,
    };
    use futures::stream;

    use super::*;

    fn encoded(batches: &[RecordBatch], schema: &SchemaRef) -> Vec<u8> {
        let mut writer = StreamWriter::try_new(Vec::new(), schema).unwrap();
        batches.iter().for_each(|batch| writer.write(batch).unwrap());
        writer.into_inner().unwrap()
    }

    fn chunks(bytes: Vec<u8>, length: usize) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        stream::iter(bytes.chunks(length).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect::<Vec<_>>())
    }

    #[tokio::test]
    async fn rows_survive_any_cut_of_the_bytes() {
        let numbers: ArrayRef = Arc::new(Int32Array::from_iter_values(0..1000));
        let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        let bytes = encoded(&[batch.clone(), batch.slice(10, 5)], &batch.schema());
        for length in [1, 7, 100_000] {
            let rows = Rows::open(chunks(bytes.clone(), length)).await.unwrap();
            assert_eq!(rows.collect().await.unwrap(), [batch.clone(), batch.slice(10, 5)]);
        }
    }

    #[tokio::test]
    async fn no_rows_have_a_schema_and_a_cut_is_seen() {
        let numbers: ArrayRef = Arc::new(Int32Array::from(vec![1]));
        let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        let empty = Rows::open(chunks(encoded(&[], &batch.schema()), 16)).await.unwrap();
        assert_eq!(empty.schema(), batch.schema());
        assert!(empty.collect().await.unwrap().is_empty());

        let mut cut = encoded(std::slice::from_ref(&batch), &batch.schema());
        cut.truncate(cut.len() - 40);
        let rows = Rows::open(chunks(cut, 16)).await.unwrap();
        assert!(rows.collect().await.is_err());
        assert!(Rows::open(chunks(Vec::new(), 16)).await.is_err());
    }
}

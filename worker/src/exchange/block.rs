//! Batches as bytes and back: one Arrow IPC stream for each channel, cut into blocks at the borders of batches.
//!
//! Encoding copies nothing: a block is a list of buffers, most of them the arrays' own, for a vectored write. Decoding copies
//! nothing either where the block lies in one aligned buffer and is not compressed.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray as _, RecordBatch, RecordBatchOptions},
    buffer::Buffer,
    datatypes::{DataType, Schema, SchemaRef},
    error::ArrowError,
    ipc::{
        CompressionType,
        reader::StreamDecoder,
        writer::{IpcWriteOptions, StreamEncoder},
    },
};

/// Batches above this are cut before they are encoded, so that no block comes near its limit and credit stays fine-grained.
const BATCH_BYTES_MAX: usize = 16 << 20;

/// One channel's encoder.
pub struct BlockEncoder {
    encoder: StreamEncoder,
}

/// Some consecutive bytes of a channel's stream, as the buffers that they lie in.
pub struct EncodedBlock {
    /// The bytes, in order.
    pub buffers: Vec<Buffer>,
    /// Their number.
    pub bytes: usize,
}

impl BlockEncoder {
    /// An encoder for processes near each other.
    pub fn plain(schema: &Schema) -> Result<Self, ArrowError> {
        Ok(Self { encoder: StreamEncoder::try_new(schema)? })
    }

    /// An encoder for disks: smaller by LZ4.
    pub fn compressed(schema: &Schema) -> Result<Self, ArrowError> {
        let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
        Ok(Self { encoder: StreamEncoder::try_new_with_options(schema, options)? })
    }

    /// What tells the columns, ahead of all rows.
    pub fn begin(&mut self, schema: &SchemaRef) -> Result<Vec<Buffer>, ArrowError> {
        self.encoder.encode(&RecordBatch::new_empty(Arc::clone(schema)))
    }

    /// The blocks of a batch: one, unless it is huge.
    pub fn encode(&mut self, batch: &RecordBatch) -> Result<Vec<EncodedBlock>, ArrowError> {
        let parts = (batch_bytes(batch) / BATCH_BYTES_MAX + 1).min(batch.num_rows().max(1));
        let rows = batch.num_rows().div_ceil(parts).max(1);
        let mut blocks = Vec::with_capacity(parts);
        for start in (0..batch.num_rows()).step_by(rows) {
            let part = compacted(&batch.slice(start, rows.min(batch.num_rows() - start)))?;
            let buffers = self.encoder.encode(&part)?;
            let bytes = buffers.iter().map(Buffer::len).sum();
            blocks.push(EncodedBlock { buffers, bytes });
        }
        Ok(blocks)
    }

    /// The end of the stream, behind its schema where there were no batches.
    pub fn finish(self) -> Result<Vec<Buffer>, ArrowError> {
        self.encoder.finish()
    }
}

/// The batch without the parts of string buffers that no view points to: IPC would ship the buffers whole.
fn compacted(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    if batch.columns().iter().all(|column| view_waste_bytes(column) == 0) {
        return Ok(batch.clone());
    }
    let compact = |column: &ArrayRef| -> ArrayRef {
        match column.data_type() {
            _ if view_waste_bytes(column) == 0 => Arc::clone(column),
            DataType::Utf8View => Arc::new(column.as_string_view().gc()),
            _ => Arc::new(column.as_binary_view().gc()),
        }
    };
    let columns = batch.columns().iter().map(compact).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(batch.schema(), columns, &options)
}

/// Bytes that shipping a view array as it is would waste; 0 where copying it costs more than the waste.
fn view_waste_bytes(column: &ArrayRef) -> usize {
    let (buffers, used) = match column.data_type() {
        DataType::Utf8View => {
            let views = column.as_string_view();
            (views.data_buffers(), views.total_buffer_bytes_used())
        }
        DataType::BinaryView => {
            let views = column.as_binary_view();
            (views.data_buffers(), views.total_buffer_bytes_used())
        }
        _ => return 0,
    };
    let held: usize = buffers.iter().map(Buffer::len).sum();
    if held > used + used / 2 { held - used } else { 0 }
}

/// The bytes that a batch's rows take, without what its buffers hold of other rows.
pub fn batch_bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(column_bytes).sum()
}

fn column_bytes(column: &ArrayRef) -> usize {
    let sliced = column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size());
    sliced
        + match column.data_type() {
            DataType::Utf8View => column.as_string_view().total_buffer_bytes_used(),
            DataType::BinaryView => column.as_binary_view().total_buffer_bytes_used(),
            _ => 0,
        }
}

/// One channel's decoder.
pub struct BlockDecoder {
    decoder: StreamDecoder,
    schema: SchemaRef,
}

impl BlockDecoder {
    /// A decoder of batches that must have `schema`.
    pub fn new(schema: SchemaRef) -> Self {
        Self { decoder: StreamDecoder::new(), schema }
    }

    /// The batches of the next block.
    pub fn decode(&mut self, mut block: Buffer) -> Result<Vec<RecordBatch>, ArrowError> {
        let mut batches = Vec::with_capacity(1);
        while !block.is_empty() {
            if let Some(batch) = self.decoder.decode(&mut block)? {
                batches.push(with_schema(&batch, &self.schema)?);
            }
        }
        self.decoder.finish()?;
        Ok(batches)
    }
}

/// The same columns under the consumer's schema, which may know more (names, metadata, nullability) but not other types.
pub fn with_schema(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    if Arc::ptr_eq(batch.schema_ref(), schema) {
        return Ok(batch.clone());
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), batch.columns().to_vec(), &options)
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{DictionaryArray, Int32Array, StringArray, StringViewArray},
        datatypes::{Field, Int32Type},
    };

    use super::*;

    fn joined(block: EncodedBlock) -> Buffer {
        let bytes: Vec<u8> =
            block.buffers.iter().flat_map(|buffer| buffer.as_slice().iter().copied()).collect();
        Buffer::from(bytes)
    }

    fn batch(rows: std::ops::Range<i32>) -> RecordBatch {
        let text: Vec<String> = rows.clone().map(|n| format!("a text that is not inlined {n}")).collect();
        let word: DictionaryArray<Int32Type> = text.iter().map(|text| &text[..20]).collect();
        RecordBatch::try_from_iter([
            ("number", Arc::new(Int32Array::from_iter_values(rows)) as ArrayRef),
            ("text", Arc::new(StringArray::from(text.clone()))),
            ("view", Arc::new(StringViewArray::from(text.iter().map(String::as_str).collect::<Vec<_>>()))),
            ("word", Arc::new(word)),
        ])
        .unwrap()
    }

    #[test]
    fn batches_with_dictionaries_and_views_come_back_plain_and_compressed() {
        let whole = batch(0..1000);
        let schema = whole.schema();
        for mut encoder in [BlockEncoder::plain(&schema).unwrap(), BlockEncoder::compressed(&schema).unwrap()]
        {
            let mut decoder = BlockDecoder::new(Arc::clone(&schema));
            for sent in [whole.slice(0, 10), batch(5..9), whole.slice(990, 10)] {
                for block in encoder.encode(&sent).unwrap() {
                    assert_eq!(decoder.decode(joined(block)).unwrap(), std::slice::from_ref(&sent));
                }
            }
        }
    }

    #[test]
    fn a_slice_of_views_ships_its_own_bytes_only() {
        let whole = batch(0..10_000);
        let slice = whole.slice(3, 5);
        let mut encoder = BlockEncoder::plain(&whole.schema()).unwrap();
        let first: usize = encoder.encode(&slice).unwrap().iter().map(|block| block.bytes).sum();
        assert!(first < 100_000, "{first} bytes for five rows (most of them the dictionary)");
        assert!(batch_bytes(&slice.project(&[0, 1, 2]).unwrap()) < 1000);
    }

    #[test]
    fn a_huge_batch_becomes_several_blocks() {
        let text = "x".repeat(1 << 20);
        let column: ArrayRef = Arc::new(StringArray::from(vec![text.as_str(); 40]));
        let huge = RecordBatch::try_from_iter([("text", column)]).unwrap();
        let mut encoder = BlockEncoder::plain(&huge.schema()).unwrap();
        let mut decoder = BlockDecoder::new(huge.schema());
        let blocks = encoder.encode(&huge).unwrap();
        assert_eq!(blocks.len(), 3);
        let rows: usize = blocks
            .into_iter()
            .flat_map(|block| decoder.decode(joined(block)).unwrap())
            .map(|b| b.num_rows())
            .sum();
        assert_eq!(rows, 40);
    }

    #[test]
    fn another_schema_is_refused() {
        let sent = batch(0..3);
        let mut encoder = BlockEncoder::plain(&sent.schema()).unwrap();
        let other = Arc::new(Schema::new(vec![Field::new("number", DataType::Int64, false)]));
        let block = encoder.encode(&sent).unwrap().remove(0);
        assert!(BlockDecoder::new(other).decode(joined(block)).is_err());
    }
}

//! Chunks of state in files: each an Arrow IPC stream behind its checksum, so that damage is seen before it is believed.
//!
//! A block is the XXH3 hash (64 bits, little endian) of what follows, then the stream. The last column of its rows is their key group.
//! Whether it is compressed, the stream says itself.

use std::{io::Cursor, sync::Arc};

use arrow::{
    array::{
        Array as _, ArrayRef, AsArray as _, MutableArrayData, RecordBatch, RecordBatchOptions, UInt16Array,
        make_array,
    },
    buffer::Buffer,
    compute::concat_batches,
    datatypes::{DataType, Field, Schema, UInt16Type},
    error::ArrowError,
    ipc::{
        CompressionType,
        reader::StreamDecoder,
        writer::{IpcWriteOptions, StreamWriter},
    },
};
use bytes::Bytes;
use thalweg_graph::checkpoint::StoredChunk;
use xxhash_rust::xxh3::xxh3_64;

use super::chunk::StateChunk;

const CHECKSUM_BYTES: usize = 8;

/// A block that is not what was written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its bytes have changed, or some are missing.
    #[error("`{file}` is damaged: the state at byte {offset} does not have its checksum")]
    Checksum {
        /// The file.
        file: String,
        /// Where the block begins.
        offset: u64,
    },
    /// Its bytes are right and do not decode.
    #[error("the state in `{file}` at byte {offset} cannot be decoded")]
    Decode {
        /// The file.
        file: String,
        /// Where the block begins.
        offset: u64,
        /// Why.
        source: ArrowError,
    },
}

/// The block of a chunk. Compression costs more time than a local disk takes for what it saves, in both directions.
pub fn encode(chunk: &StateChunk, compression: Option<CompressionType>) -> Result<Bytes, ArrowError> {
    let mut fields: Vec<_> = chunk.rows.schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("key_group", DataType::UInt16, false)));
    let mut columns = chunk.rows.columns().to_vec();
    columns.push(Arc::new(UInt16Array::from(chunk.key_groups.clone())) as ArrayRef);
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
    let options = IpcWriteOptions::default().try_with_compression(compression)?;
    let mut block = Vec::with_capacity(chunk.bytes());
    block.resize(CHECKSUM_BYTES, 0);
    let mut cursor = Cursor::new(block);
    cursor.set_position(CHECKSUM_BYTES as u64);
    let mut writer = StreamWriter::try_new_with_options(cursor, &rows.schema(), options)?;
    writer.write(&rows)?;
    let mut block = writer.into_inner()?.into_inner();
    let checksum = xxh3_64(&block[CHECKSUM_BYTES..]).to_le_bytes();
    block[..CHECKSUM_BYTES].copy_from_slice(&checksum);
    Ok(block.into())
}

/// The chunk of a block that was stored as `stored`.
pub fn decode(stored: &StoredChunk, block: Bytes) -> Result<Arc<StateChunk>, Error> {
    let damaged = || Error::Checksum { file: stored.file.clone(), offset: stored.offset };
    let (checksum, stream) = block.split_at_checked(CHECKSUM_BYTES).ok_or_else(damaged)?;
    if block.len() as u64 != stored.bytes || checksum != xxh3_64(stream).to_le_bytes() {
        return Err(damaged());
    }
    let undecodable = |source| Error::Decode { file: stored.file.clone(), offset: stored.offset, source };
    let mut decoder = StreamDecoder::new();
    let mut stream = Buffer::from(block.slice(CHECKSUM_BYTES..));
    let mut batches = Vec::new();
    while !stream.is_empty() {
        batches.extend(decoder.decode(&mut stream).map_err(undecodable)?);
    }
    let schema = decoder.schema().ok_or_else(damaged)?;
    let rows = concat_batches(&schema, &batches).map_err(undecodable)?;
    let last = rows.num_columns().checked_sub(1).ok_or_else(damaged)?;
    let groups = rows.column(last).as_primitive_opt::<UInt16Type>().ok_or_else(damaged)?;
    let key_groups = groups.values().to_vec();
    let kept: Vec<usize> = (0..last).collect();
    let rows = owned(&rows.project(&kept).map_err(undecodable)?).map_err(undecodable)?;
    Ok(StateChunk::new(stored.table, rows, key_groups))
}

/// The rows in buffers of their own: what was not compressed is a part of its block, all of which each column would hold and count.
fn owned(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = rows.columns().iter().map(|column| {
        let data = column.to_data();
        let needed = data.get_slice_memory_size()?;
        if column.get_buffer_memory_size() <= 2 * needed {
            return Ok(Arc::clone(column));
        }
        let mut own = MutableArrayData::new(vec![&data], false, data.len());
        own.try_extend(0, 0, data.len())?;
        Ok(make_array(own.freeze()))
    });
    // Rows without columns are rows too: what is below a COUNT(*) needs none.
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(rows.schema(), columns.collect::<Result<_, ArrowError>>()?, &options)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray};

    use super::*;

    const COMPRESSIONS: [Option<CompressionType>; 2] = [None, Some(CompressionType::LZ4_FRAME)];

    fn block(compression: Option<CompressionType>) -> (StoredChunk, Bytes, Arc<StateChunk>) {
        let columns: [(&str, ArrayRef); 2] = [
            ("k", Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]))),
            ("v", Arc::new(StringArray::from(vec!["a", "b", "c"]))),
        ];
        let rows =
            RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)));
        let chunk = StateChunk::new(2, rows.unwrap(), vec![5, 6, 7]);
        let bytes = encode(&chunk, compression).unwrap();
        let stored = StoredChunk {
            table: 2,
            file: "file:///s".to_owned(),
            offset: 0,
            bytes: bytes.len() as u64,
            rows: 3,
            key_groups: (5, 7),
        };
        (stored, bytes, chunk)
    }

    #[test]
    fn a_chunk_comes_back_as_it_was() {
        for compression in COMPRESSIONS {
            let (stored, bytes, chunk) = block(compression);
            let back = decode(&stored, bytes).unwrap();
            assert_eq!((&back.rows, &back.key_groups, back.table), (&chunk.rows, &chunk.key_groups, 2));
        }
    }

    #[test]
    fn rows_without_columns_come_back() {
        let options = RecordBatchOptions::new().with_row_count(Some(3));
        let rows =
            RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options).unwrap();
        for compression in COMPRESSIONS {
            let bytes = encode(&StateChunk::new(0, rows.clone(), vec![1, 1, 1]), compression).unwrap();
            let stored = StoredChunk {
                table: 0,
                file: String::new(),
                offset: 0,
                bytes: bytes.len() as u64,
                rows: 3,
                key_groups: (1, 1),
            };
            let back = decode(&stored, bytes).unwrap();
            assert_eq!(back.rows, rows);
            assert_eq!(back.restricted(&(2..3)).unwrap().rows.num_rows(), 0);
        }
    }

    #[test]
    fn any_changed_or_missing_byte_is_seen() {
        let (stored, bytes, _) = block(None);
        for at in (0..bytes.len()).step_by(7) {
            let mut changed = bytes.to_vec();
            changed[at] ^= 1;
            assert!(matches!(decode(&stored, changed.into()), Err(Error::Checksum { .. })), "byte {at}");
        }
        assert!(matches!(decode(&stored, bytes.slice(..bytes.len() - 1)), Err(Error::Checksum { .. })));
        assert!(matches!(decode(&stored, Bytes::new()), Err(Error::Checksum { .. })));
    }

    #[test]
    fn what_came_back_counts_once() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..10_000));
        let columns = ["a", "b", "c", "d"].map(|name| (name, Arc::clone(&numbers)));
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let chunk = StateChunk::new(0, rows, vec![0; 10_000]);
        for compression in COMPRESSIONS {
            let bytes = encode(&chunk, compression).unwrap();
            let stored = StoredChunk {
                bytes: bytes.len() as u64,
                table: 0,
                file: String::new(),
                offset: 0,
                rows: 10_000,
                key_groups: (0, 0),
            };
            let back = decode(&stored, bytes).unwrap();
            assert_eq!(back.rows, chunk.rows);
            assert!(back.bytes() < 4 * 10_000 * 8 * 3 / 2, "{compression:?}: {} bytes", back.bytes());
        }
    }
}

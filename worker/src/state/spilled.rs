//! Chunks that wait on the local disk for the next checkpoint, because there are too many of them for memory.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use arrow::ipc::CompressionType;
use bytes::Bytes;
use datafusion::error::{DataFusionError, Result};
use thalweg_graph::checkpoint::StoredChunk;

use super::{
    chunk::{ChunkId, StateChunk},
    file,
    snapshot::StoredRows,
};

/// Chunks in a file of their own, which goes with this value.
pub struct SpilledChunks {
    id: ChunkId,
    path: PathBuf,
    blocks: Vec<StoredChunk>,
}

impl SpilledChunks {
    /// Writes chunks to a file below this folder.
    pub fn write(folder: &Path, chunks: &[Arc<StateChunk>]) -> Result<Arc<dyn StoredRows>> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let path = folder.join(format!("changes-{}", NEXT.fetch_add(1, Relaxed)));
        let mut file = BufWriter::new(File::create_new(&path).map_err(|error| failed(&path, error))?);
        let mut spilled = Self { id: ChunkId::next(), path, blocks: Vec::with_capacity(chunks.len()) };
        let mut offset = 0;
        for chunk in chunks {
            let block = file::encode(chunk, Some(CompressionType::LZ4_FRAME))?;
            file.write_all(&block).map_err(|error| failed(&spilled.path, error))?;
            let bytes = block.len() as u64;
            spilled.blocks.push(StoredChunk {
                table: chunk.table,
                file: spilled.path.display().to_string(),
                offset,
                bytes,
                rows: chunk.key_groups.len() as u64,
                // Of a file that only this subtask reads nobody asks.
                key_groups: (0, 0),
            });
            offset += bytes;
        }
        file.flush().map_err(|error| failed(&spilled.path, error))?;
        Ok(Arc::new(spilled))
    }

    fn read(&self, file: &mut File, stored: &StoredChunk) -> Result<Arc<StateChunk>> {
        let mut block = vec![0; stored.bytes as usize];
        file.read_exact(&mut block).map_err(|error| failed(&self.path, error))?;
        file::decode(stored, Bytes::from(block)).map_err(|error| DataFusionError::External(Box::new(error)))
    }
}

impl StoredRows for SpilledChunks {
    fn id(&self) -> ChunkId {
        self.id
    }

    fn chunks(&self) -> Box<dyn Iterator<Item = Result<Arc<StateChunk>>> + Send + '_> {
        let mut file = File::open(&self.path);
        Box::new(self.blocks.iter().map(move |stored| match &mut file {
            Ok(file) => self.read(file, stored),
            Err(error) => Err(failed(&self.path, io::Error::new(error.kind(), error.to_string()))),
        }))
    }
}

impl Drop for SpilledChunks {
    fn drop(&mut self) {
        // The worker's folder, which it is in, is removed in the end.
        let _ = fs::remove_file(&self.path);
    }
}

fn failed(path: &Path, error: io::Error) -> DataFusionError {
    DataFusionError::Context(
        format!("the state in `{}` on the local disk cannot be used", path.display()),
        Box::new(DataFusionError::IoError(error)),
    )
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, RecordBatch};

    use super::*;

    fn chunk(values: &[i64]) -> Arc<StateChunk> {
        let column = Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
        StateChunk::new(1, RecordBatch::try_from_iter([("v", column)]).unwrap(), vec![3; values.len()])
    }

    #[test]
    fn chunks_come_back_as_often_as_they_are_read_and_the_file_goes_with_them() {
        let folder = tempfile::tempdir().unwrap();
        let chunks = [chunk(&[1, 2, 3]), chunk(&[4])];
        let spilled = SpilledChunks::write(folder.path(), &chunks).unwrap();
        for _ in 0..2 {
            let back: Vec<_> = spilled.chunks().map(Result::unwrap).collect();
            assert_eq!(back.len(), 2);
            for (back, chunk) in back.iter().zip(&chunks) {
                assert_eq!(
                    (&back.rows, &back.key_groups, back.table),
                    (&chunk.rows, &chunk.key_groups, chunk.table)
                );
            }
        }
        drop(spilled);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_is_gone_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let spilled = SpilledChunks::write(folder.path(), &[chunk(&[1])]).unwrap();
        fs::remove_dir_all(folder.path()).unwrap();
        let error = spilled.chunks().next().unwrap().unwrap_err().to_string();
        assert!(error.contains("changes-") && error.contains("local disk"), "{error}");
    }
}

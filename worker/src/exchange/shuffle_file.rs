//! The output of one producer for consumers that run later: blocks in one file, each with its checksum, and an index that lists
//! the blocks of every subpartition.
//!
//! Blocks are appended when they are full, so that a producer's memory does not grow with its output, and are large enough that
//! reading one subpartition's blocks is a few long reads. The index stays in memory: the file means nothing to anybody after
//! its worker's end. The file is removed with the last value that refers to it, so a reader never loses it.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::RecordBatch,
    buffer::{Buffer, MutableBuffer},
    datatypes::SchemaRef,
    error::ArrowError,
};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::block::BlockEncoder;

/// Bytes that are gathered before a system call.
const WRITE_BUFFER_BYTES: usize = 256 << 10;

/// Why a shuffle file could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk did not do it.
    #[error("cannot {verb} the shuffle file `{}`", path.display())]
    Io {
        /// `write` or `read`.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No room left.
    #[error("no space is left in `{}` for shuffle files; free some or set `io.tmp.dirs` to a larger disk", folder.display())]
    DiskFull {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The bytes are not those that were written.
    #[error("the shuffle file `{}` is corrupt: the checksum of {length} bytes at {offset} does not match", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// How many.
        length: u32,
    },
    /// A batch that cannot be encoded.
    #[error("cannot encode a batch for a shuffle file")]
    Encode(#[from] ArrowError),
}

impl Error {
    fn write(path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Error::DiskFull { folder: path.parent().unwrap_or(path).to_owned(), source }
            }
            _ => Error::Io { verb: "write", path: path.to_owned(), source },
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct BlockEntry {
    offset: u64,
    length: u32,
    checksum: u64,
}

/// A finished file and its index.
#[derive(Debug)]
pub struct ShuffleFile {
    path: RemovedOnDrop,
    subpartitions: Vec<Vec<BlockEntry>>,
    /// All its bytes.
    pub bytes: u64,
}

#[derive(Debug)]
struct RemovedOnDrop(PathBuf);

impl Drop for RemovedOnDrop {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "cannot remove a shuffle file");
        }
    }
}

/// A file that is being written. Dropped before its end, it leaves nothing.
pub struct ShuffleWriter {
    file: BufWriter<File>,
    path: RemovedOnDrop,
    encoders: Vec<BlockEncoder>,
    subpartitions: Vec<Vec<BlockEntry>>,
    offset: u64,
}

impl ShuffleWriter {
    /// Creates the file.
    pub fn create(path: PathBuf, schema: &SchemaRef, subpartitions: usize) -> Result<Self, Error> {
        let file = File::create_new(&path).map_err(|source| Error::write(&path, source))?;
        let path = RemovedOnDrop(path);
        let encoders =
            (0..subpartitions).map(|_| BlockEncoder::compressed(schema)).collect::<Result<_, _>>()?;
        Ok(Self {
            file: BufWriter::with_capacity(WRITE_BUFFER_BYTES, file),
            path,
            encoders,
            subpartitions: vec![Vec::new(); subpartitions],
            offset: 0,
        })
    }

    /// Appends a batch to a subpartition; says how many bytes it became.
    pub fn write(&mut self, subpartition: usize, batch: &RecordBatch) -> Result<u64, Error> {
        let start = self.offset;
        for block in self.encoders[subpartition].encode(batch)? {
            let mut checksum = Xxh3::new();
            for buffer in &block.buffers {
                checksum.update(buffer);
                self.file.write_all(buffer).map_err(|source| Error::write(&self.path.0, source))?;
            }
            let length = u32::try_from(block.bytes).expect("batches are cut far below 4 GiB");
            let entry = BlockEntry { offset: self.offset, length, checksum: checksum.digest() };
            self.subpartitions[subpartition].push(entry);
            self.offset += u64::from(length);
        }
        Ok(self.offset - start)
    }

    /// Completes the file.
    pub fn finish(mut self) -> Result<ShuffleFile, Error> {
        self.file.flush().map_err(|source| Error::write(&self.path.0, source))?;
        Ok(ShuffleFile { path: self.path, subpartitions: self.subpartitions, bytes: self.offset })
    }
}

/// Reads one subpartition, block after block. Blocks its thread while it reads.
#[derive(Debug)]
pub struct ShuffleReader {
    file: Arc<ShuffleFile>,
    handle: File,
    subpartition: usize,
    next: usize,
}

impl ShuffleReader {
    /// Opens the file. `None` where it has no such subpartition.
    pub fn open(file: Arc<ShuffleFile>, subpartition: usize) -> Result<Option<Self>, Error> {
        if subpartition >= file.subpartitions.len() {
            return Ok(None);
        }
        let handle = File::open(&file.path.0).map_err(|source| file.read_error(source))?;
        Ok(Some(Self { file, handle, subpartition, next: 0 }))
    }

    /// The length of the next block; `None` after the last.
    pub fn next_length(&self) -> Option<u32> {
        self.file.subpartitions[self.subpartition].get(self.next).map(|entry| entry.length)
    }

    /// The next block, its checksum verified; `None` after the last.
    pub fn next_block(&mut self) -> Result<Option<Buffer>, Error> {
        let Some(entry) = self.file.subpartitions[self.subpartition].get(self.next) else { return Ok(None) };
        let mut block = MutableBuffer::from_len_zeroed(entry.length as usize);
        self.handle
            .read_exact_at(block.as_slice_mut(), entry.offset)
            .map_err(|source| self.file.read_error(source))?;
        if xxh3_64(&block) != entry.checksum {
            let path = self.file.path.0.clone();
            return Err(Error::Corrupt { path, offset: entry.offset, length: entry.length });
        }
        self.next += 1;
        Ok(Some(block.into()))
    }
}

impl ShuffleFile {
    fn read_error(&self, source: io::Error) -> Error {
        Error::Io { verb: "read", path: self.path.0.clone(), source }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path.0
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array};

    use super::*;
    use crate::exchange::block::BlockDecoder;

    fn batch(numbers: std::ops::Range<i64>) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers));
        RecordBatch::try_from_iter([("n", numbers)]).unwrap()
    }

    fn written(folder: &Path) -> Arc<ShuffleFile> {
        let schema = batch(0..0).schema();
        let mut writer = ShuffleWriter::create(folder.join("shuffle"), &schema, 3).unwrap();
        for (subpartition, rows) in [(2, 0..1000), (0, 5..6), (2, 1000..1500)] {
            assert!(writer.write(subpartition, &batch(rows)).unwrap() > 0);
        }
        Arc::new(writer.finish().unwrap())
    }

    #[test]
    fn each_subpartition_reads_its_own_rows_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let file = written(folder.path());
        let read = |subpartition| {
            let mut reader = ShuffleReader::open(Arc::clone(&file), subpartition).unwrap().unwrap();
            let mut decoder = BlockDecoder::new(batch(0..0).schema());
            let mut batches = Vec::new();
            while let Some(block) = reader.next_block().unwrap() {
                batches.extend(decoder.decode(block).unwrap());
            }
            batches
        };
        assert_eq!(read(0), [batch(5..6)]);
        assert_eq!(read(1), []);
        assert_eq!(read(2), [batch(0..1000), batch(1000..1500)]);
        assert!(ShuffleReader::open(Arc::clone(&file), 3).unwrap().is_none());
    }

    #[test]
    fn a_flipped_bit_and_a_short_file_are_seen() {
        let folder = tempfile::tempdir().unwrap();
        let file = written(folder.path());
        let mut bytes = fs::read(file.path()).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(file.path(), &bytes).unwrap();
        let mut reader = ShuffleReader::open(Arc::clone(&file), 2).unwrap().unwrap();
        assert!(reader.next_block().is_ok());
        assert!(matches!(reader.next_block(), Err(Error::Corrupt { .. })));

        fs::write(file.path(), &bytes[..10]).unwrap();
        let mut reader = ShuffleReader::open(file, 2).unwrap().unwrap();
        assert!(matches!(reader.next_block(), Err(Error::Io { verb: "read", .. })));
    }

    #[test]
    fn the_file_goes_with_its_last_user_and_a_full_disk_names_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let file = written(folder.path());
        let reader = ShuffleReader::open(Arc::clone(&file), 0).unwrap().unwrap();
        drop(file);
        assert!(folder.path().join("shuffle").exists());
        drop(reader);
        assert!(!folder.path().join("shuffle").exists());

        let full = Error::write(&folder.path().join("shuffle"), io::ErrorKind::StorageFull.into());
        assert!(full.to_string().contains(folder.path().to_str().unwrap()), "{full}");
    }
}

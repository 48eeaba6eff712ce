//! Bytes in memory while they are few, then in a file without a name: it goes with the process, whatever happens.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::Arc,
};

use bytes::{Buf as _, Bytes};
use futures::{Stream, StreamExt as _, stream};

/// Bytes that are kept in memory.
const MEMORY_BYTES_MAX: u64 = 16 << 20;
/// Bytes that are read from the file at once.
const READ_BYTES: usize = 256 << 10;

/// A growing sequence of bytes. Clones share what is written.
#[derive(Debug, Clone, Default)]
pub struct Spool {
    length: u64,
    /// The bytes, or their beginning while there is no file.
    memory: Vec<Bytes>,
    file: Option<Arc<File>>,
}

impl Spool {
    /// These bytes and more. The file, once it is needed, lies in `folder`.
    pub async fn append(mut self, bytes: Bytes, folder: &Arc<Path>) -> io::Result<Spool> {
        let length = self.length + bytes.len() as u64;
        if self.file.is_none() && length <= MEMORY_BYTES_MAX {
            self.length = length;
            self.memory.push(bytes);
            return Ok(self);
        }
        let folder = Arc::clone(folder);
        let written = tokio::task::spawn_blocking(move || {
            let mut at = self.length;
            if self.file.is_none() {
                self.file = Some(Arc::new(tempfile::tempfile_in(folder)?));
                at = 0;
            }
            let file = self.file.as_ref().expect("made above");
            for part in self.memory.drain(..).chain([bytes]) {
                file.write_all_at(&part, at)?;
                at += part.len() as u64;
            }
            self.memory.shrink_to_fit();
            self.length = at;
            io::Result::Ok(self)
        });
        written.await.map_err(io::Error::other)?
    }

    /// The number of bytes.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The bytes from the beginning, in pieces.
    pub fn stream(&self) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
        match self.file.clone() {
            None => stream::iter(self.memory.clone().into_iter().map(Ok)).left_stream(),
            Some(file) => {
                let length = self.length;
                let pieces = stream::try_unfold(0, move |at| read_piece(file.clone(), at, length));
                pieces.right_stream()
            }
        }
    }

    /// The bytes from the beginning, for a blocking reader.
    pub fn reader(&self) -> SpoolReader {
        SpoolReader { spool: self.clone(), at: 0, piece: Bytes::new(), next: 0 }
    }
}

async fn read_piece(file: Arc<File>, at: u64, length: u64) -> io::Result<Option<(Bytes, u64)>> {
    if at >= length {
        return Ok(None);
    }
    let read = tokio::task::spawn_blocking(move || read_at(&file, at, length));
    let piece = read.await.map_err(io::Error::other)??;
    let next = at + piece.len() as u64;
    Ok(Some((piece, next)))
}

fn read_at(file: &File, at: u64, length: u64) -> io::Result<Bytes> {
    let mut piece = vec![0; READ_BYTES.min((length - at) as usize)];
    file.read_exact_at(&mut piece, at)?;
    Ok(piece.into())
}

/// Reads a spool from its beginning.
#[derive(Debug)]
pub struct SpoolReader {
    spool: Spool,
    /// In the file.
    at: u64,
    /// What is read of it and not given out.
    piece: Bytes,
    /// In the memory's pieces.
    next: usize,
}

impl Read for SpoolReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match &self.spool.file {
                Some(_) if self.at >= self.spool.length => return Ok(0),
                Some(file) => {
                    self.piece = read_at(file, self.at, self.spool.length)?;
                    self.at += self.piece.len() as u64;
                }
                None => match self.spool.memory.get(self.next) {
                    Some(piece) => {
                        self.piece = piece.clone();
                        self.next += 1;
                    }
                    None => return Ok(0),
                },
            }
        }
        let count = out.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut out[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt as _;

    use super::*;

    #[tokio::test]
    async fn what_went_in_comes_out_from_memory_and_from_the_file() {
        for pieces in [3_usize, 20] {
            let mut spool = Spool::default();
            let mut expected = Vec::new();
            for piece in 0..pieces {
                let bytes = vec![piece as u8; 1 << 20];
                expected.extend_from_slice(&bytes);
                spool = spool.append(bytes.into(), &Arc::from(std::env::temp_dir())).await.unwrap();
            }
            assert_eq!(spool.file.is_some(), pieces > 16);
            let mut read = Vec::new();
            spool.reader().read_to_end(&mut read).unwrap();
            assert!(read == expected);
            let streamed: Vec<Bytes> = spool.stream().try_collect().await.unwrap();
            assert!(streamed.concat() == expected);
        }
    }
}

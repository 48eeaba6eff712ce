//! Plain bytes of text files to compressed ones, as an encoder around that of the rows.

use std::io::{self, Write};

use arrow::array::RecordBatch;
use bytes::Bytes;
use flate2::write::{GzEncoder, ZlibEncoder};

use super::{compression::Compression, encode::EncodeFile, hadoop_snappy};
use crate::error::{Error, Result};

/// Compresses what another encoder makes.
pub struct Compressed {
    rows: Box<dyn EncodeFile>,
    compressor: Compressor,
}

impl Compressed {
    /// Of the bytes of these rows; the encoder itself where nothing is to be compressed.
    pub fn of(rows: Box<dyn EncodeFile>, compression: Compression) -> Result<Box<dyn EncodeFile>> {
        Ok(match Compressor::of(compression)? {
            None => rows,
            Some(compressor) => Box::new(Self { rows, compressor }),
        })
    }
}

/// xz's own default takes 100 MB of memory for each open file; this takes a tenth.
const XZ_LEVEL: u32 = 2;

fn failed(error: io::Error) -> Error {
    Error::Internal(format!("bytes in memory were not compressed: {error}"))
}

impl EncodeFile for Compressed {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows.write(batch)?;
        let plain = self.rows.take();
        self.compressor.write(&plain)
    }

    fn take(&mut self) -> Bytes {
        self.compressor.take()
    }

    fn held_bytes(&self) -> usize {
        self.rows.held_bytes() + self.compressor.held_bytes()
    }

    fn finish(mut self: Box<Self>) -> Result<Bytes> {
        let rest = self.rows.finish()?;
        self.compressor.write(&rest)?;
        self.compressor.finish()
    }
}

/// Compresses bytes, the whole of one file.
pub struct Compressor(Algorithm);

impl Compressor {
    /// Of an algorithm; none where nothing is to be compressed.
    pub fn of(compression: Compression) -> Result<Option<Self>> {
        let algorithm = match compression {
            Compression::None => return Ok(None),
            Compression::Gzip => Algorithm::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::default())),
            Compression::Deflate => {
                Algorithm::Deflate(ZlibEncoder::new(Vec::new(), flate2::Compression::default()))
            }
            Compression::Bzip2 => {
                Algorithm::Bzip2(bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default()))
            }
            Compression::Zstd => {
                let level = zstd::DEFAULT_COMPRESSION_LEVEL;
                Algorithm::Zstd(zstd::stream::write::Encoder::new(Vec::new(), level).map_err(failed)?)
            }
            Compression::Xz => Algorithm::Xz(liblzma::write::XzEncoder::new(Vec::new(), XZ_LEVEL)),
            Compression::Snappy => Algorithm::Snappy(Snappy::default()),
        };
        Ok(Some(Self(algorithm)))
    }

    /// Takes plain bytes.
    pub fn write(&mut self, plain: &[u8]) -> Result<()> {
        self.0.writer().write_all(plain).map_err(failed)
    }

    /// The compressed bytes that are made since the last call.
    pub fn take(&mut self) -> Bytes {
        std::mem::take(self.0.made()).into()
    }

    fn held_bytes(&self) -> usize {
        self.0.held_bytes()
    }

    /// The bytes at the end of the file.
    pub fn finish(self) -> Result<Bytes> {
        self.0.finish().map(Bytes::from).map_err(failed)
    }
}

enum Algorithm {
    Gzip(GzEncoder<Vec<u8>>),
    Deflate(ZlibEncoder<Vec<u8>>),
    Bzip2(bzip2::write::BzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Xz(liblzma::write::XzEncoder<Vec<u8>>),
    Snappy(Snappy),
}

impl Algorithm {
    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Algorithm::Gzip(encoder) => encoder,
            Algorithm::Deflate(encoder) => encoder,
            Algorithm::Bzip2(encoder) => encoder,
            Algorithm::Zstd(encoder) => encoder,
            Algorithm::Xz(encoder) => encoder,
            Algorithm::Snappy(encoder) => encoder,
        }
    }

    /// The compressed bytes that are there.
    fn made(&mut self) -> &mut Vec<u8> {
        match self {
            Algorithm::Gzip(encoder) => encoder.get_mut(),
            Algorithm::Deflate(encoder) => encoder.get_mut(),
            Algorithm::Bzip2(encoder) => encoder.get_mut(),
            Algorithm::Zstd(encoder) => encoder.get_mut(),
            Algorithm::Xz(encoder) => encoder.get_mut(),
            Algorithm::Snappy(encoder) => &mut encoder.blocks,
        }
    }

    fn held_bytes(&self) -> usize {
        match self {
            Algorithm::Gzip(encoder) => encoder.get_ref().len(),
            Algorithm::Deflate(encoder) => encoder.get_ref().len(),
            Algorithm::Bzip2(encoder) => encoder.get_ref().len(),
            Algorithm::Zstd(encoder) => encoder.get_ref().len(),
            Algorithm::Xz(encoder) => encoder.get_ref().len(),
            Algorithm::Snappy(encoder) => encoder.blocks.len() + encoder.plain.len(),
        }
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Algorithm::Gzip(encoder) => encoder.finish(),
            Algorithm::Deflate(encoder) => encoder.finish(),
            Algorithm::Bzip2(encoder) => encoder.finish(),
            Algorithm::Zstd(encoder) => encoder.finish(),
            Algorithm::Xz(encoder) => encoder.finish(),
            Algorithm::Snappy(mut encoder) => {
                encoder.end_block()?;
                Ok(encoder.blocks)
            }
        }
    }
}

/// Gathers a block and compresses it.
#[derive(Default)]
struct Snappy {
    plain: Vec<u8>,
    blocks: Vec<u8>,
}

impl Snappy {
    fn end_block(&mut self) -> io::Result<()> {
        if !self.plain.is_empty() {
            self.blocks.extend(hadoop_snappy::block(&self.plain).map_err(io::Error::other)?);
            self.plain.clear();
        }
        Ok(())
    }
}

impl Write for Snappy {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(hadoop_snappy::BLOCK_BYTES - self.plain.len());
        self.plain.extend_from_slice(&bytes[..taken]);
        if self.plain.len() == hadoop_snappy::BLOCK_BYTES {
            self.end_block()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

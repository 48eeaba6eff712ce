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
        let compressor = match compression {
            Compression::None => return Ok(rows),
            Compression::Gzip => Compressor::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::default())),
            Compression::Deflate => {
                Compressor::Deflate(ZlibEncoder::new(Vec::new(), flate2::Compression::default()))
            }
            Compression::Bzip2 => {
                Compressor::Bzip2(bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default()))
            }
            Compression::Zstd => {
                let level = zstd::DEFAULT_COMPRESSION_LEVEL;
                Compressor::Zstd(zstd::stream::write::Encoder::new(Vec::new(), level).map_err(failed)?)
            }
            Compression::Xz => Compressor::Xz(liblzma::write::XzEncoder::new(Vec::new(), XZ_LEVEL)),
            Compression::Snappy => Compressor::Snappy(Snappy::default()),
        };
        Ok(Box::new(Self { rows, compressor }))
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
        self.compressor.writer().write_all(&plain).map_err(failed)
    }

    fn take(&mut self) -> Bytes {
        std::mem::take(self.compressor.made()).into()
    }

    fn held_bytes(&self) -> usize {
        self.rows.held_bytes() + self.compressor.held_bytes()
    }

    fn finish(mut self: Box<Self>) -> Result<Bytes> {
        let rest = self.rows.finish()?;
        self.compressor.writer().write_all(&rest).map_err(failed)?;
        self.compressor.finish().map(Bytes::from).map_err(failed)
    }
}

enum Compressor {
    Gzip(GzEncoder<Vec<u8>>),
    Deflate(ZlibEncoder<Vec<u8>>),
    Bzip2(bzip2::write::BzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Xz(liblzma::write::XzEncoder<Vec<u8>>),
    Snappy(Snappy),
}

impl Compressor {
    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Compressor::Gzip(encoder) => encoder,
            Compressor::Deflate(encoder) => encoder,
            Compressor::Bzip2(encoder) => encoder,
            Compressor::Zstd(encoder) => encoder,
            Compressor::Xz(encoder) => encoder,
            Compressor::Snappy(encoder) => encoder,
        }
    }

    /// The compressed bytes that are there.
    fn made(&mut self) -> &mut Vec<u8> {
        match self {
            Compressor::Gzip(encoder) => encoder.get_mut(),
            Compressor::Deflate(encoder) => encoder.get_mut(),
            Compressor::Bzip2(encoder) => encoder.get_mut(),
            Compressor::Zstd(encoder) => encoder.get_mut(),
            Compressor::Xz(encoder) => encoder.get_mut(),
            Compressor::Snappy(encoder) => &mut encoder.blocks,
        }
    }

    fn held_bytes(&self) -> usize {
        match self {
            Compressor::Gzip(encoder) => encoder.get_ref().len(),
            Compressor::Deflate(encoder) => encoder.get_ref().len(),
            Compressor::Bzip2(encoder) => encoder.get_ref().len(),
            Compressor::Zstd(encoder) => encoder.get_ref().len(),
            Compressor::Xz(encoder) => encoder.get_ref().len(),
            Compressor::Snappy(encoder) => encoder.blocks.len() + encoder.plain.len(),
        }
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Compressor::Gzip(encoder) => encoder.finish(),
            Compressor::Deflate(encoder) => encoder.finish(),
            Compressor::Bzip2(encoder) => encoder.finish(),
            Compressor::Zstd(encoder) => encoder.finish(),
            Compressor::Xz(encoder) => encoder.finish(),
            Compressor::Snappy(mut encoder) => {
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

//! Snappy as Hadoop's `SnappyCodec` frames it: blocks that begin with the length of their plain bytes, each of one or more chunks
//! that begin with the length of their compressed ones; numbers of four bytes, the highest first.

use bytes::{Buf, Bytes, BytesMut};

/// Plain bytes of one block: Hadoop's decompressor has a buffer of 256 kB by default and takes no larger chunk.
pub const BLOCK_BYTES: usize = 128 << 10;
/// A longer chunk is taken for a file of another format.
const CHUNK_BYTES_MAX: usize = 64 << 20;
/// How a file in Snappy's own framing format begins.
const FRAMING_MAGIC: &[u8] = b"\xff\x06\x00\x00sNaPpY";

/// One block of at most [`BLOCK_BYTES`] plain bytes.
pub fn block(plain: &[u8]) -> Result<Vec<u8>, snap::Error> {
    let chunk = snap::raw::Encoder::new().compress_vec(plain)?;
    let mut block = Vec::with_capacity(chunk.len() + 8);
    for length in [plain.len(), chunk.len()] {
        block.extend_from_slice(&u32::try_from(length).expect("blocks are far below 4 GiB").to_be_bytes());
    }
    block.extend_from_slice(&chunk);
    Ok(block)
}

/// Takes a file's bytes as they come and gives the plain ones.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
    /// Plain bytes that are still to come of the block that is being read.
    block_left: usize,
    is_begun: bool,
}

impl Decoder {
    /// The plain bytes of the chunks that are complete with these; the reason where they are none.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Bytes, String> {
        self.buffer.extend_from_slice(bytes);
        if !self.is_begun && self.buffer.len() >= FRAMING_MAGIC.len() {
            self.is_begun = true;
            if self.buffer.starts_with(FRAMING_MAGIC) {
                return Err("it is in Snappy's framing format; Hadoop's blocks are read".to_owned());
            }
        }
        let mut plain = Vec::new();
        while let Some(length) = self.length_at(0) {
            if self.block_left == 0 {
                self.block_left = length;
                self.buffer.advance(4);
                continue;
            }
            if length > CHUNK_BYTES_MAX {
                return Err(format!("a chunk of {length} bytes; is it in Hadoop's blocks?"));
            }
            if self.buffer.len() < 4 + length {
                break;
            }
            self.buffer.advance(4);
            self.chunk(length, &mut plain)?;
        }
        Ok(plain.into())
    }

    fn length_at(&self, start: usize) -> Option<usize> {
        let bytes = self.buffer.get(start..start + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?) as usize)
    }

    fn chunk(&mut self, length: usize, plain: &mut Vec<u8>) -> Result<(), String> {
        let chunk = self.buffer.split_to(length);
        let bytes = snap::raw::decompress_len(&chunk).map_err(|error| error.to_string())?;
        if bytes == 0 || bytes > self.block_left {
            return Err(format!("a chunk of {bytes} plain bytes in a block that lacks {}", self.block_left));
        }
        let start = plain.len();
        plain.resize(start + bytes, 0);
        snap::raw::Decoder::new()
            .decompress(&chunk, &mut plain[start..])
            .map_err(|error| error.to_string())?;
        self.block_left -= bytes;
        Ok(())
    }

    /// Whether the file may end here.
    pub fn is_complete(&self) -> bool {
        self.block_left == 0 && self.buffer.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_and_several_chunks_in_a_block_make_no_difference() {
        let chunk = |plain: &[u8]| {
            let chunk = snap::raw::Encoder::new().compress_vec(plain).unwrap();
            [&u32::try_from(chunk.len()).unwrap().to_be_bytes()[..], &chunk].concat()
        };
        let two = [&10_u32.to_be_bytes()[..], &chunk(b"hello "), &chunk(b"snap")].concat();
        let file = [block(b"first,").unwrap(), two, 0_u32.to_be_bytes().to_vec()].concat();
        for cut in 0..file.len() {
            let mut decoder = Decoder::default();
            let plain = [decoder.push(&file[..cut]).unwrap(), decoder.push(&file[cut..]).unwrap()].concat();
            assert_eq!(plain, b"first,hello snap", "cut at {cut}");
            assert!(decoder.is_complete());
        }
        let mut short = Decoder::default();
        short.push(&file[..20]).unwrap();
        assert!(!short.is_complete());
    }

    #[test]
    fn other_bytes_are_refused() {
        let framed = [FRAMING_MAGIC, &[0; 20]].concat();
        assert!(Decoder::default().push(&framed).unwrap_err().contains("framing format"));
        assert!(Decoder::default().push(b"plain text, no blocks").unwrap_err().contains("Hadoop's blocks"));
        let mut long = block(b"twelve bytes").unwrap();
        long[3] = 3;
        assert!(Decoder::default().push(&long).is_err());
    }
}

//! Bytes of compressed text files to plain ones, while they come.

use bytes::Bytes;
use datafusion::error::DataFusionError;
use flate2::{Decompress, FlushDecompress, Status};
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};

use super::{compression::Compression, hadoop_snappy};
use crate::error::{Cause, Error, Result};

/// Plain bytes that are made at once.
const PLAIN_BYTES: usize = 256 << 10;

type Pieces = BoxStream<'static, Result<Bytes>>;

/// The plain bytes of a file, given its own.
pub fn plain(compression: Compression, url: &str, pieces: Pieces) -> Result<Pieces> {
    let Some(file_type) = compression.file_type() else {
        let decoder: Box<dyn Decode> = match compression {
            Compression::Snappy => Box::new(hadoop_snappy::Decoder::default()),
            _ => Box::new(Zlib::default()),
        };
        return Ok(decoded(url.to_owned(), pieces, decoder));
    };
    if compression == Compression::None {
        return Ok(pieces);
    }
    let plain = file_type.convert_stream(pieces.map_err(DataFusionError::from).boxed())?;
    let url = url.to_owned();
    Ok(plain
        .map_err(move |error| match Error::from(error) {
            Error::Rows(source) => corrupt(&url, Box::new(source)),
            own => own,
        })
        .boxed())
}

fn corrupt(url: &str, source: Cause) -> Error {
    Error::Corrupt { path: url.to_owned(), format: "compressed", source }
}

/// What DataFusion does not decompress.
trait Decode: Send {
    fn push(&mut self, bytes: &[u8]) -> Result<Bytes, String>;
    /// Whether the file may end here.
    fn is_complete(&self) -> bool;
}

fn decoded(url: String, pieces: Pieces, decoder: Box<dyn Decode>) -> Pieces {
    let step = |(url, mut pieces, mut decoder): (String, Pieces, Box<dyn Decode>)| async move {
        let Some(piece) = pieces.try_next().await? else {
            return match decoder.is_complete() {
                true => Ok(None),
                false => Err(corrupt(&url, "it ends in the middle".into())),
            };
        };
        let plain = decoder.push(&piece).map_err(|reason| corrupt(&url, reason.into()))?;
        Ok(Some((plain, (url, pieces, decoder))))
    };
    stream::try_unfold((url, pieces, decoder), step).boxed()
}

impl Decode for hadoop_snappy::Decoder {
    fn push(&mut self, bytes: &[u8]) -> Result<Bytes, String> {
        self.push(bytes)
    }

    fn is_complete(&self) -> bool {
        self.is_complete()
    }
}

/// Streams in zlib's format, one after the other.
struct Zlib {
    inflate: Decompress,
    /// Whether a stream has begun and not ended.
    in_stream: bool,
}

impl Default for Zlib {
    fn default() -> Self {
        Self { inflate: Decompress::new(true), in_stream: false }
    }
}

impl Decode for Zlib {
    fn push(&mut self, mut bytes: &[u8]) -> Result<Bytes, String> {
        let mut plain = Vec::new();
        while !bytes.is_empty() {
            self.in_stream = true;
            let (read, made) = (self.inflate.total_in(), plain.len());
            plain.reserve(PLAIN_BYTES);
            let status = self
                .inflate
                .decompress_vec(bytes, &mut plain, FlushDecompress::None)
                .map_err(|error| error.to_string())?;
            let read = (self.inflate.total_in() - read) as usize;
            bytes = &bytes[read..];
            if status == Status::StreamEnd {
                self.inflate.reset(true);
                self.in_stream = false;
            } else if read == 0 && plain.len() == made {
                return Err("no progress is made in a stream of zlib's format".to_owned());
            }
        }
        Ok(plain.into())
    }

    fn is_complete(&self) -> bool {
        !self.in_stream
    }
}

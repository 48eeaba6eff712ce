//! What CSV and JSON lines have in common: bytes are fetched in pieces, decompressed, cut into blocks of whole records and
//! decoded a block at a time. Where a block does not decode, its records are decoded one by one, to name or skip the bad one.

use std::{ops::Range, sync::Arc};

use arrow::{array::RecordBatch, compute::concat_batches};
use bytes::{Buf, Bytes, BytesMut};
use datafusion::physical_plan::metrics::Count;
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};

use super::{
    compression::Compression,
    decompress,
    records::{Quoting, Scanner},
};
use crate::error::{Error, Result};

/// Bytes that are fetched at once; the next piece is under way while one is decoded.
const PIECE_BYTES: u64 = 2 << 20;
/// A record longer than this is taken for a file of another format.
const RECORD_BYTES_MAX: usize = 64 << 20;
const BYTE_ORDER_MARK: &[u8] = &[0xef, 0xbb, 0xbf];

/// Turns records into rows.
pub trait DecodeRecords: Send {
    /// The format's name, as its options begin.
    fn format(&self) -> &'static str;
    /// How records end.
    fn quoting(&self) -> Quoting;
    /// Records at the start of each file that are no rows.
    fn header_records(&self) -> usize;
    /// Whether records that do not decode are left out.
    fn skips_malformed(&self) -> bool;
    /// Decodes whole records; the reason where one of them is malformed.
    fn decode(&mut self, block: &[u8]) -> std::result::Result<RecordBatch, String>;
}

/// A range of a text file: the records that begin in it.
#[derive(Debug, Clone)]
pub struct TextRange {
    /// Where the file is.
    pub store: Arc<dyn ObjectStore>,
    /// The file there.
    pub location: Path,
    /// The file, for people.
    pub url: String,
    /// The range; compressed files are only read whole.
    pub range: Range<u64>,
    /// The length of the file.
    pub file_bytes: u64,
}

impl TextRange {
    /// The bytes from the byte before the range to the end of the file, decompressed.
    pub fn bytes(&self) -> Result<BoxStream<'static, Result<Bytes>>> {
        let first = self.range.start.saturating_sub(1);
        let starts = (first..self.file_bytes).step_by(PIECE_BYTES as usize);
        let (store, location, file_bytes) = (Arc::clone(&self.store), self.location.clone(), self.file_bytes);
        let pieces = stream::iter(starts).map(move |start| {
            let (store, location) = (Arc::clone(&store), location.clone());
            async move { store.get_range(&location, start..file_bytes.min(start + PIECE_BYTES)).await }
        });
        let url = self.url.clone();
        let pieces =
            pieces.buffered(2).map_err(move |error| vanished(Error::from_store("read", &url, error)));
        decompress::plain(Compression::of(&self.url), &self.url, pieces.boxed())
    }
}

/// The file was listed when the query was planned.
pub fn vanished(error: Error) -> Error {
    match error {
        Error::NotFound { path } => Error::Vanished { path },
        other => other,
    }
}

/// The rows of the records that begin in a range. Records that are left out are counted in `skipped`.
pub fn read(
    range: TextRange,
    decoder: Box<dyn DecodeRecords>,
    skipped: Count,
) -> BoxStream<'static, Result<RecordBatch>> {
    let pieces = match range.bytes() {
        Ok(pieces) => pieces,
        Err(error) => return stream::iter([Err(error)]).boxed(),
    };
    let scanner = Scanner::new(decoder.quoting());
    let header_records = if range.range.start == 0 { decoder.header_records() } else { 0 };
    let reader = Reader {
        buffer: BytesMut::new(),
        buffer_start: range.range.start.saturating_sub(1),
        in_first_record: range.range.start > 0,
        header_records,
        line: 1,
        skipped_here: 0,
        skipped,
        done: range.range.is_empty(),
        range,
        pieces,
        scanner,
        decoder,
    };
    stream::try_unfold(
        reader,
        |mut reader| async move { Ok(reader.next().await?.map(|batch| (batch, reader))) },
    )
    .boxed()
}

struct Reader {
    range: TextRange,
    pieces: BoxStream<'static, Result<Bytes>>,
    scanner: Scanner,
    decoder: Box<dyn DecodeRecords>,
    /// Bytes that are not decoded yet.
    buffer: BytesMut,
    /// Where the buffer begins in the (decompressed) file.
    buffer_start: u64,
    /// Whether the buffer begins in a record that belongs to the range before.
    in_first_record: bool,
    header_records: usize,
    /// The number of the next line, counted from the start of the range.
    line: u64,
    /// Of this range; and of the whole scan.
    skipped_here: usize,
    skipped: Count,
    done: bool,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        while let Some(block) = self.next_block().await? {
            let block = self.without_header(block);
            let batch = if block.is_empty() { None } else { Some(self.decode(&block)?) };
            self.line += newlines(&block);
            if let Some(batch) = batch.filter(|batch| batch.num_rows() > 0) {
                return Ok(Some(batch));
            }
        }
        if self.skipped_here > 0 {
            tracing::warn!(
                file = self.range.url,
                rows = self.skipped_here,
                "skipped malformed rows, as `{}.ignore-parse-errors` says",
                self.decoder.format()
            );
            self.skipped_here = 0;
        }
        Ok(None)
    }

    /// Bytes of whole records, as many as there are.
    async fn next_block(&mut self) -> Result<Option<Bytes>> {
        while !self.done {
            let Some(piece) = self.pieces.try_next().await? else {
                self.done = true;
                let rest = std::mem::take(&mut self.buffer).freeze();
                return Ok(Some(rest).filter(|rest| !rest.is_empty() && !self.in_first_record));
            };
            let mut scanned = self.buffer.len();
            self.buffer.extend_from_slice(&piece);
            if self.buffer_start == 0
                && scanned == 0
                && self.line == 1
                && self.buffer.starts_with(BYTE_ORDER_MARK)
            {
                self.buffer.advance(BYTE_ORDER_MARK.len());
                self.buffer_start += BYTE_ORDER_MARK.len() as u64;
            }
            if self.in_first_record {
                let Some(end) = self.scanner.first_end(&self.buffer[scanned..]) else { continue };
                self.drop_front(scanned + end);
                self.in_first_record = false;
                scanned = 0;
            }
            if let Some(block) = self.whole_records(scanned)? {
                return Ok(Some(block));
            }
        }
        Ok(None)
    }

    fn drop_front(&mut self, bytes: usize) {
        self.buffer.advance(bytes);
        self.buffer_start += bytes as u64;
        self.done = self.buffer_start >= self.range.range.end;
    }

    /// Cuts off the records that are complete and begin in the range; bytes before `scanned` were looked at before.
    fn whole_records(&mut self, scanned: usize) -> Result<Option<Bytes>> {
        if self.done {
            return Ok(None);
        }
        let is_whole_file = self.range.range == (0..self.range.file_bytes);
        let stop = match is_whole_file {
            true => None,
            false => Some((self.range.range.end - self.buffer_start) as usize),
        };
        let ends = self.scanner.ends(&self.buffer[scanned..]);
        let ends = ends.map(|end| scanned + end);
        let mut last = 0;
        for end in ends {
            last = end;
            if stop.is_some_and(|stop| end >= stop) {
                self.done = true;
                break;
            }
        }
        if last == 0 {
            return match self.buffer.len() {
                0..RECORD_BYTES_MAX => Ok(None),
                _ => Err(self
                    .malformed(self.line, "a record longer than 64 MB; is a quote not closed?".to_owned())),
            };
        }
        self.buffer_start += last as u64;
        Ok(Some(self.buffer.split_to(last).freeze()))
    }

    /// The block without the records that are no rows; their lines still count.
    fn without_header(&mut self, mut block: Bytes) -> Bytes {
        while self.header_records > 0 && !block.is_empty() {
            let end = Scanner::new(self.decoder.quoting()).first_end(&block).unwrap_or(block.len());
            self.line += newlines(&block.split_to(end));
            self.header_records -= 1;
        }
        block
    }

    fn decode(&mut self, block: &[u8]) -> Result<RecordBatch> {
        match self.decoder.decode(block) {
            Ok(batch) => Ok(batch),
            Err(_) => self.decode_one_by_one(block),
        }
    }

    fn decode_one_by_one(&mut self, block: &[u8]) -> Result<RecordBatch> {
        let mut batches = Vec::new();
        let mut line = self.line;
        let mut start = 0;
        let mut scanner = Scanner::new(self.decoder.quoting());
        let ends: Vec<usize> = scanner.ends(block).chain([block.len()]).collect();
        for end in ends {
            let record = &block[start..end];
            start = end;
            match self.decoder.decode(record) {
                Ok(batch) => batches.push(batch),
                Err(_) if self.decoder.skips_malformed() => {
                    self.skipped_here += 1;
                    self.skipped.add(1);
                }
                Err(reason) => return Err(self.malformed(line, reason)),
            }
            line += newlines(record);
        }
        let schema = match batches.first() {
            Some(batch) => batch.schema(),
            None => self.decoder.decode(b"").map_err(Error::Internal)?.schema(),
        };
        concat_batches(&schema, &batches).map_err(|error| Error::Rows(error.into()))
    }

    fn malformed(&self, line: u64, reason: String) -> Error {
        let place = match self.range.range.start {
            0 => format!("line {line}"),
            start => format!("line {line} counted from byte {start}"),
        };
        Error::MalformedRow { path: self.range.url.clone(), place, format: self.decoder.format(), reason }
    }
}

fn newlines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

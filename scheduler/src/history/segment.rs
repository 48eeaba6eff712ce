//! A file with many jobs.
//!
//! ```text
//! magic (8 bytes) | job | job | ... | index | length of the index (u64) | checksum of the index (u32)
//! ```
//!
//! Jobs and index are JSON, deflated; numbers are little-endian, checksums CRC-32. The index has a line of each job and where it is, so that a list of
//! jobs reads no job, and files are merged without reading one.

use std::{
    io::{self, Read as _, Write as _},
    ops::Range,
};

use bytes::Bytes;
use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::view::{EndedJob, JobSummary};

/// Begins each file; the digit is the version.
const MAGIC: &[u8; 8] = b"THLWGH1\n";
/// Length and checksum of the index.
const TRAILER_BYTES: usize = 12;
/// Longest part when it is inflated: nothing that was written here is.
const INFLATED_BYTES_MAX: u64 = 256 << 20;

/// One job of a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its line.
    pub summary: JobSummary,
    /// Where it begins in the file.
    pub offset: u64,
    /// Its length.
    pub bytes: u64,
    /// Of those bytes.
    pub checksum: u32,
}

/// A file that is none of these, or was changed.
#[derive(Debug, thiserror::Error)]
pub enum Damaged {
    /// It begins or ends in another way.
    #[error("it is no file of jobs, or was cut off")]
    NoSegment,
    /// Bytes differ.
    #[error("the checksum of the bytes {}..{} is wrong", .0.start, .0.end)]
    Checksum(Range<usize>),
    /// It cannot be inflated.
    #[error("it cannot be inflated")]
    Inflate(#[source] io::Error),
    /// It says something else.
    #[error("it cannot be understood")]
    Json(#[source] serde_json::Error),
}

/// A file under way.
pub struct Builder {
    file: Vec<u8>,
    entries: Vec<Entry>,
}

impl Builder {
    /// Without any job.
    pub fn new() -> Self {
        Self { file: MAGIC.to_vec(), entries: Vec::new() }
    }

    /// Adds a job.
    pub fn add(&mut self, job: &EndedJob) -> serde_json::Result<()> {
        let bytes = deflated(job)?;
        self.append(job.details.summary.clone(), &bytes, crc32fast::hash(&bytes));
        Ok(())
    }

    /// Adds a job of another file.
    pub fn copy(&mut self, file: &[u8], entry: &Entry) -> Result<(), Damaged> {
        let bytes = part(file, entry)?;
        self.append(entry.summary.clone(), bytes, entry.checksum);
        Ok(())
    }

    fn append(&mut self, summary: JobSummary, bytes: &[u8], checksum: u32) {
        let (offset, length) = (self.file.len() as u64, bytes.len() as u64);
        self.entries.push(Entry { summary, offset, bytes: length, checksum });
        self.file.extend_from_slice(bytes);
    }

    /// The file and what is in it.
    pub fn finish(mut self) -> serde_json::Result<(Bytes, Vec<Entry>)> {
        let index = deflated(&self.entries)?;
        self.file.extend_from_slice(&index);
        self.file.extend_from_slice(&(index.len() as u64).to_le_bytes());
        self.file.extend_from_slice(&crc32fast::hash(&index).to_le_bytes());
        Ok((Bytes::from(self.file), self.entries))
    }
}

/// What is in a file.
pub fn entries(file: &[u8]) -> Result<Vec<Entry>, Damaged> {
    let body = file.strip_prefix(MAGIC).ok_or(Damaged::NoSegment)?;
    let (body, trailer) = body.split_last_chunk::<TRAILER_BYTES>().ok_or(Damaged::NoSegment)?;
    let (length, checksum) = trailer.split_at(size_of::<u64>());
    let length = length.try_into().map(u64::from_le_bytes).map_err(|_| Damaged::NoSegment)?;
    let checksum = checksum.try_into().map(u32::from_le_bytes).map_err(|_| Damaged::NoSegment)?;
    let begin = usize::try_from(length).ok().and_then(|length| body.len().checked_sub(length));
    let begin = begin.ok_or(Damaged::NoSegment)?;
    let index = &body[begin..];
    if crc32fast::hash(index) != checksum {
        return Err(Damaged::Checksum(MAGIC.len() + begin..MAGIC.len() + body.len()));
    }
    inflated(index)
}

/// One job of a file.
pub fn job(file: &[u8], entry: &Entry) -> Result<EndedJob, Damaged> {
    inflated(part(file, entry)?)
}

fn part<'a>(file: &'a [u8], entry: &Entry) -> Result<&'a [u8], Damaged> {
    let begin = usize::try_from(entry.offset).map_err(|_| Damaged::NoSegment)?;
    let length = usize::try_from(entry.bytes).map_err(|_| Damaged::NoSegment)?;
    let range = begin..begin.checked_add(length).ok_or(Damaged::NoSegment)?;
    let bytes = file.get(range.clone()).ok_or(Damaged::NoSegment)?;
    if crc32fast::hash(bytes) == entry.checksum { Ok(bytes) } else { Err(Damaged::Checksum(range)) }
}

fn deflated(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&serde_json::to_vec(value)?).map_err(serde_json::Error::io)?;
    encoder.finish().map_err(serde_json::Error::io)
}

fn inflated<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Damaged> {
    let mut text = Vec::new();
    let mut decoder = DeflateDecoder::new(bytes).take(INFLATED_BYTES_MAX);
    decoder.read_to_end(&mut text).map_err(Damaged::Inflate)?;
    serde_json::from_slice(&text).map_err(Damaged::Json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::testing::ended_job;

    fn two() -> (Bytes, Vec<Entry>) {
        let mut builder = Builder::new();
        builder.add(&ended_job(1)).unwrap();
        builder.add(&ended_job(2)).unwrap();
        builder.finish().unwrap()
    }

    #[test]
    fn jobs_come_back_as_they_were() {
        let (file, written) = two();
        let read = entries(&file).unwrap();
        assert_eq!(read, written);
        for (entry, number) in read.iter().zip([1, 2]) {
            let (back, expected) = (job(&file, entry).unwrap(), ended_job(number));
            assert_eq!(serde_json::to_value(&back).unwrap(), serde_json::to_value(&expected).unwrap());
        }
    }

    #[test]
    fn merged_files_have_the_jobs_of_all() {
        let (file, written) = two();
        let mut builder = Builder::new();
        builder.add(&ended_job(3)).unwrap();
        for entry in &written {
            builder.copy(&file, entry).unwrap();
        }
        let (merged, entries) = builder.finish().unwrap();
        let jobs: Vec<_> = entries.iter().map(|entry| job(&merged, entry).unwrap().job().0).collect();
        assert_eq!(jobs, [3, 1, 2]);
    }

    #[test]
    fn any_changed_or_missing_byte_is_seen() {
        let (file, _) = two();
        let all = |file: &[u8]| entries(file)?.iter().try_for_each(|entry| job(file, entry).map(drop));
        all(&file).unwrap();
        for at in 0..file.len() {
            let mut changed = file.to_vec();
            changed[at] ^= 1;
            assert!(all(&changed).is_err(), "byte {at}");
            assert!(all(&file[..at]).is_err(), "the first {at} bytes");
        }
    }

    /// A file that the first version has written: what is in files is read by every build that comes.
    #[test]
    fn a_file_of_the_first_version_is_read() {
        let file = include_bytes!("segment_v1.bin");
        let read = entries(file).unwrap();
        let jobs: Vec<EndedJob> = read.iter().map(|entry| job(file, entry).unwrap()).collect();
        let values = serde_json::to_value(&jobs).unwrap();
        assert_eq!(values, serde_json::to_value([ended_job(1), ended_job(2)]).unwrap());
    }
}

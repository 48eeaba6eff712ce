//! Which files of a watched folder are done, as checkpoints keep it.
//!
//! Each file belongs to one of a fixed number of buckets by its path, so that positions mean the same at every parallelism. A bucket
//! knows its files by hashes, and only those that are still in the folder: what is kept is bounded by the folder.

use std::{
    collections::{BTreeSet, HashSet},
    sync::OnceLock,
};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    error::{Error, Result},
    source::{Share, SplitPosition},
};

/// How many buckets there are, and so how many subtasks can have files to read.
pub const BUCKETS: u8 = 128;
/// The version of a position's bytes.
const VERSION: u8 = 1;

/// A file as a bucket knows it. The hash is in checkpoints, so it must never be another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(u64);

impl FileId {
    /// Of the file at a path.
    pub fn of(path: &str) -> Self {
        Self(xxh3_64(path.as_bytes()))
    }

    /// The bucket that the file belongs to.
    pub fn bucket(self) -> u8 {
        (self.0 % u64::from(BUCKETS)) as u8
    }
}

/// Whether a bucket is a subtask's own.
pub fn is_own(bucket: u8, share: Share) -> bool {
    u32::from(bucket) % share.parallelism.max(1) == share.subtask
}

/// A file of which some rows were given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnderWay {
    /// Its path.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// How many of its rows were given.
    pub rows: u64,
}

/// The files of one bucket.
#[derive(Debug, Default)]
pub struct Bucket {
    done: BTreeSet<FileId>,
    under_way: Option<UnderWay>,
    /// The position, until something changes: there may be many files and many checkpoints.
    encoded: OnceLock<Bytes>,
}

impl Bucket {
    /// Whether all rows of a file were given.
    pub fn is_done(&self, file: FileId) -> bool {
        self.done.contains(&file)
    }

    /// The file that was begun and is not done.
    pub fn under_way(&self) -> Option<&UnderWay> {
        self.under_way.as_ref()
    }

    /// So many rows of a file were given by now.
    pub fn given(&mut self, file: UnderWay) {
        self.encoded.take();
        self.under_way = Some(file);
    }

    /// All rows of a file were given.
    pub fn finish(&mut self, file: FileId) {
        self.encoded.take();
        self.under_way = None;
        self.done.insert(file);
    }

    /// Forgets the files that are not there any more.
    pub fn retain(&mut self, there: &HashSet<FileId>) {
        let known = self.done.len();
        self.done.retain(|file| there.contains(file));
        if self.done.len() < known {
            self.encoded.take();
        }
    }

    /// The bucket's position, unless there is nothing to keep.
    pub fn position(&self, table: &str, number: u8) -> Result<Option<SplitPosition>> {
        if self.done.is_empty() && self.under_way.is_none() {
            return Ok(None);
        }
        let position = match self.encoded.get() {
            Some(encoded) => encoded.clone(),
            None => {
                let encoded = self.encode(number)?;
                self.encoded.get_or_init(|| encoded).clone()
            }
        };
        Ok(Some(SplitPosition { split: format!("{table}-{number}"), position }))
    }

    fn encode(&self, number: u8) -> Result<Bytes> {
        let mut bytes = BytesMut::with_capacity(6 + 8 * self.done.len());
        bytes.put_u8(VERSION);
        bytes.put_u8(number);
        bytes.put_u32_le(self.done.len() as u32);
        self.done.iter().for_each(|file| bytes.put_u64_le(file.0));
        if let Some(under_way) = &self.under_way {
            let text = serde_json::to_vec(under_way).map_err(|error| Error::Internal(error.to_string()))?;
            bytes.put_slice(&text);
        }
        Ok(bytes.freeze())
    }

    /// Back from a position, with the bucket's number.
    pub fn decode(position: &SplitPosition) -> Result<(u8, Self)> {
        let unreadable = |why: String| {
            Error::Internal(format!("the position of split `{}` cannot be read: {why}", position.split))
        };
        let mut bytes = position.position.clone();
        if bytes.len() < 6 || bytes.get_u8() != VERSION {
            return Err(unreadable("it is of another version".to_owned()));
        }
        let number = bytes.get_u8();
        let count = bytes.get_u32_le() as usize;
        if number >= BUCKETS || bytes.len() / 8 < count {
            return Err(unreadable("it is cut off".to_owned()));
        }
        let done = (0..count).map(|_| FileId(bytes.get_u64_le())).collect();
        let under_way = match bytes.is_empty() {
            true => None,
            false => Some(serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?),
        };
        Ok((number, Self { done, under_way, encoded: OnceLock::new() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_tells_what_is_done_and_how_far_the_rest_is() {
        let mut bucket = Bucket::default();
        assert_eq!(bucket.position("t", 7).unwrap(), None);
        let (a, b) = (FileId::of("/t/a"), FileId::of("/t/b"));
        bucket.finish(a);
        let under_way = UnderWay { path: "/t/b".to_owned(), bytes: 10, rows: 3 };
        bucket.given(under_way.clone());
        let position = bucket.position("t", 7).unwrap().unwrap();
        assert_eq!(position.split, "t-7");
        let (number, restored) = Bucket::decode(&position).unwrap();
        assert_eq!((number, restored.is_done(a), restored.is_done(b)), (7, true, false));
        assert_eq!(restored.under_way(), Some(&under_way));
        bucket.finish(b);
        bucket.retain(&HashSet::from([b]));
        let (_, restored) = Bucket::decode(&bucket.position("t", 7).unwrap().unwrap()).unwrap();
        assert_eq!((restored.is_done(a), restored.is_done(b), restored.under_way()), (false, true, None));
    }

    #[test]
    fn a_damaged_position_is_an_error() {
        for bytes in
            [&b""[..], b"\x01\x07\x01\0\0\0", b"\x02\x07\0\0\0\0", b"\x01\xff\0\0\0\0", b"\x01\x07\0\0\0\0{"]
        {
            let position = SplitPosition { split: "t-7".to_owned(), position: Bytes::from_static(bytes) };
            assert!(Bucket::decode(&position).is_err(), "{bytes:?}");
        }
    }

    /// The values are in checkpoints. They are those that the reference implementation of XXH3 gives for these bytes.
    #[test]
    fn files_keep_their_bucket() {
        assert_eq!(FileId::of(""), FileId(0x2d06_8005_38d3_94c2));
        assert_eq!(FileId::of("").bucket(), 0x42);
    }

    #[test]
    fn each_bucket_is_read_by_one_subtask() {
        for parallelism in [1, 2, 3, 7, 128] {
            for bucket in 0..BUCKETS {
                let owners = (0..parallelism)
                    .filter(|subtask| is_own(bucket, Share { subtask: *subtask, parallelism }));
                assert_eq!(owners.count(), 1);
            }
        }
    }
}

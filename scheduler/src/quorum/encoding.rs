//! How commands and states are kept: a version, a checksum, and MessagePack with the names of fields, so that a newer build reads what an
//! older one wrote where a field that came later has a default.

use serde::{Serialize, de::DeserializeOwned};

/// The version that is written. Older ones are read as long as [`decode`] knows them.
const VERSION: u8 = 1;
/// Version and checksum.
const HEADER: usize = 5;

/// Kept bytes that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// They are not what was written.
    #[error("it is damaged: its checksum is wrong")]
    Damaged,
    /// A later build wrote them.
    #[error("it is of version {0}, which a later build wrote; this one reads up to {VERSION}")]
    Newer(u8),
    /// They are of this version and mean nothing.
    #[error("it cannot be read")]
    Decode(#[from] rmp_serde::decode::Error),
    /// A value that cannot be written.
    #[error("it cannot be written")]
    Encode(#[from] rmp_serde::encode::Error),
}

/// Writes a value.
pub fn encode(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; HEADER];
    rmp_serde::encode::write_named(&mut bytes, value)?;
    let checksum = crc32fast::hash(&bytes[HEADER..]);
    bytes[0] = VERSION;
    bytes[1..HEADER].copy_from_slice(&checksum.to_le_bytes());
    Ok(bytes)
}

/// Reads a value.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let (header, body) = bytes.split_at_checked(HEADER).ok_or(Error::Damaged)?;
    if header[0] > VERSION {
        return Err(Error::Newer(header[0]));
    }
    if header[0] == 0 || header[1..] != crc32fast::hash(body).to_le_bytes() {
        return Err(Error::Damaged);
    }
    Ok(rmp_serde::from_slice(body)?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use thalweg_graph::exchange::ExchangeKind::Pipelined;

    use super::*;
    use crate::{clock::Timestamp, quorum::Command, testing::graph};

    #[test]
    fn a_graph_comes_back_as_it_was() {
        let graph = Arc::new(graph(u128::MAX - 7, &[2, 1], &[(0, 1, Pipelined)], &[("a", "b")]));
        let command = Command::SubmitJob { graph, at: Timestamp(u64::MAX) };
        let bytes = encode(&command).unwrap();
        assert_eq!(decode::<Command>(&bytes).unwrap(), command);
    }

    #[test]
    fn damage_and_later_versions_are_told() {
        let mut bytes = encode(&Command::Lead { member: 3 }).unwrap();
        bytes[0] = VERSION + 1;
        assert!(matches!(decode::<Command>(&bytes), Err(Error::Newer(_))));
        bytes[0] = VERSION;
        *bytes.last_mut().unwrap() ^= 1;
        assert!(matches!(decode::<Command>(&bytes), Err(Error::Damaged)));
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_decoder(bytes: Vec<u8>) {
            let _ = decode::<Command>(&bytes);
            let mut sealed = vec![VERSION];
            sealed.extend(crc32fast::hash(&bytes).to_le_bytes());
            sealed.extend(&bytes);
            let _ = decode::<Command>(&sealed);
        }
    }
}

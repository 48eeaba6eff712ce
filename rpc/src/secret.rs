//! The cluster's secret: a text that all its processes know. It never crosses the network: whoever knows it proves so by a keyed digest.

use std::{fmt, fs, io, path::PathBuf, sync::Arc};

use ring::hmac::{self, HMAC_SHA256, Tag};
use thalweg_graph::{
    Options,
    options::{self, InvalidValue},
};

/// Fewest characters: what is shorter can be guessed by whoever has heard a proof.
const SECRET_LENGTH_MIN: usize = 16;
/// A longer file is not a secret.
const SECRET_FILE_BYTES_MAX: u64 = 64 << 10;
/// Bytes of a proof.
pub const PROOF_BYTES: usize = 32;

/// What the cluster's processes prove themselves by.
#[derive(Clone)]
pub struct ClusterSecret(Arc<hmac::Key>);

/// A secret that cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Too easy to guess.
    #[error(
        "the cluster's secret has fewer than {SECRET_LENGTH_MIN} characters; make one with `openssl rand -hex 32`"
    )]
    TooShort,
    /// Its file cannot be read.
    #[error("cannot read the cluster's secret from `{}`", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read its file.
    #[error("`{}` may be read by others than its owner; run `chmod 600` on it", path.display())]
    Open {
        /// Which.
        path: PathBuf,
    },
    /// Two places.
    #[error(
        "the cluster's secret is given twice: set either `{}` or `{}`",
        options::CLUSTER_SECRET.name,
        options::CLUSTER_SECRET_FILE.name
    )]
    Twice,
    /// An option.
    #[error(transparent)]
    Option(#[from] InvalidValue),
}

impl ClusterSecret {
    /// Takes a secret; white space around it does not count.
    pub fn new(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if text.len() < SECRET_LENGTH_MIN {
            return Err(Error::TooShort);
        }
        Ok(Self(Arc::new(hmac::Key::new(HMAC_SHA256, text.as_bytes()))))
    }

    /// The one that the options give, themselves or by a file; `None` where they give none.
    pub fn from_options(options: &Options) -> Result<Option<Self>, Error> {
        let inline = options.get(&options::CLUSTER_SECRET)?;
        let path = options.get(&options::CLUSTER_SECRET_FILE)?;
        match (inline.is_empty(), path.is_empty()) {
            (true, true) => Ok(None),
            (false, false) => Err(Error::Twice),
            (false, true) => Self::new(&inline).map(Some),
            (true, false) => Self::new(&read(path.into())?).map(Some),
        }
    }

    /// What only somebody who knows the secret can say of `parts`.
    pub fn proof(&self, parts: &[&[u8]]) -> [u8; PROOF_BYTES] {
        let mut proof = [0; PROOF_BYTES];
        proof.copy_from_slice(self.tag(parts).as_ref());
        proof
    }

    /// Whether `proof` is that of `parts`; takes the same time wherever they differ.
    pub fn proves(&self, parts: &[&[u8]], proof: &[u8]) -> bool {
        hmac::verify(&self.0, &joined(parts), proof).is_ok()
    }

    fn tag(&self, parts: &[&[u8]]) -> Tag {
        hmac::sign(&self.0, &joined(parts))
    }
}

/// Each part behind its length, so that none can pass for another.
fn joined(parts: &[&[u8]]) -> Vec<u8> {
    let mut all = Vec::new();
    for part in parts {
        all.extend_from_slice(&(part.len() as u64).to_le_bytes());
        all.extend_from_slice(part);
    }
    all
}

/// Reads a secret's file, which must be its owner's alone.
fn read(path: PathBuf) -> Result<String, Error> {
    use std::{io::Read as _, os::unix::fs::PermissionsExt as _};
    let read = || -> io::Result<(u32, String)> {
        let file = fs::File::open(&path)?;
        let mode = file.metadata()?.permissions().mode();
        let mut text = String::new();
        file.take(SECRET_FILE_BYTES_MAX).read_to_string(&mut text)?;
        Ok((mode, text))
    };
    match read() {
        Ok((mode, _)) if mode & 0o004 != 0 => Err(Error::Open { path }),
        Ok((_, text)) => Ok(text),
        Err(source) => Err(Error::File { path, source }),
    }
}

/// Says nothing of it.
impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterSecret")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_is_long_enough_and_in_one_place_that_others_do_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let name = path.display().to_string();
        let from = |pairs: &[(&str, &str)]| ClusterSecret::from_options(&pairs.iter().copied().collect());
        assert!(from(&[]).unwrap().is_none());
        assert!(matches!(from(&[("security.cluster.secret", "short")]), Err(Error::TooShort)));
        assert!(matches!(from(&[("security.cluster.secret-file", &name)]), Err(Error::File { .. })));
        fs::write(&path, "0123456789abcdef\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(from(&[("security.cluster.secret-file", &name)]), Err(Error::Open { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let of_file = from(&[("security.cluster.secret-file", &name)]).unwrap().unwrap();
        let inline = from(&[("security.cluster.secret", "0123456789abcdef")]).unwrap().unwrap();
        assert_eq!(of_file.proof(&[b"a"]), inline.proof(&[b"a"]));
        let both =
            [("security.cluster.secret", "0123456789abcdef"), ("security.cluster.secret-file", &*name)];
        assert!(matches!(from(&both), Err(Error::Twice)));
        assert_eq!(format!("{inline:?}"), "ClusterSecret");
    }

    #[test]
    fn a_proof_is_of_its_parts_and_of_one_secret() {
        let ours = ClusterSecret::new("0123456789abcdef").unwrap();
        let theirs = ClusterSecret::new("0123456789abcdeg").unwrap();
        let proof = ours.proof(&[b"ab", b"c"]);
        assert!(ours.proves(&[b"ab", b"c"], &proof));
        assert!(!ours.proves(&[b"a", b"bc"], &proof) && !theirs.proves(&[b"ab", b"c"], &proof));
        assert!(!ours.proves(&[b"ab", b"c"], &proof[1..]));
    }
}

//! The PEM files that the options name.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustls::{
    RootCertStore,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
};
use thalweg_graph::{
    Options,
    options::{self, ClientAuthentication, InvalidValue, Key},
};

/// A larger file is none of certificates; those of all authorities of a system are about 200 KiB.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// TLS that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option.
    #[error(transparent)]
    Option(#[from] InvalidValue),
    /// An option that is needed.
    #[error("`{}` is on: set `{needed}` to a PEM file, too", options::SSL_ENABLED.name)]
    Missing {
        /// Which.
        needed: &'static str,
    },
    /// A file that cannot be read.
    #[error("cannot read `{}` of `{option}`", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Named by what.
        option: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Others may read the key.
    #[error("`{}` may be read by others than its owner; run `chmod 600` on it", path.display())]
    Open {
        /// Which.
        path: PathBuf,
    },
    /// A file that has not what it is for.
    #[error("`{}` of `{option}` has no {expected} in PEM", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// Named by what.
        option: &'static str,
        /// What it is for.
        expected: &'static str,
        /// Why, if it has something else.
        source: Option<pem::Error>,
    },
    /// What is in the files does not do.
    #[error("the certificate of `{}` cannot be used with the key of `{}`", options::SSL_CERTIFICATE.name, options::SSL_KEY.name)]
    Identity(#[source] rustls::Error),
    /// Authorities that cannot be used.
    #[error("the certificates of `{}` cannot be those of authorities", options::SSL_CA.name)]
    Authorities(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What the options say.
pub(super) struct Settings {
    ca: PathBuf,
    /// The certificate and its key.
    identity: Option<(PathBuf, PathBuf)>,
    pub verifies_names: bool,
    pub authentication: ClientAuthentication,
}

/// Which files those are at a moment: a file that was replaced or written to is another.
pub(super) type Versions = Vec<Option<(u64, u64, i64, i64)>>;

impl Settings {
    /// `None` where TLS is off.
    pub fn from_options(options: &Options) -> Result<Option<Self>, Error> {
        if !options.get(&options::SSL_ENABLED)? {
            return Ok(None);
        }
        let file = |key: &Key<String>| -> Result<Option<PathBuf>, InvalidValue> {
            let path = options.get(key)?;
            Ok((!path.is_empty()).then(|| path.into()))
        };
        let identity = match (file(&options::SSL_CERTIFICATE)?, file(&options::SSL_KEY)?) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, Some(_)) => return Err(Error::Missing { needed: options::SSL_CERTIFICATE.name }),
            (Some(_), None) => return Err(Error::Missing { needed: options::SSL_KEY.name }),
        };
        Ok(Some(Self {
            ca: file(&options::SSL_CA)?.ok_or(Error::Missing { needed: options::SSL_CA.name })?,
            identity,
            verifies_names: options.get(&options::SSL_VERIFY_HOSTNAME)?,
            authentication: options.get(&options::SSL_CLIENT_AUTHENTICATION)?,
        }))
    }

    pub fn check_serves(&self) -> Result<(), Error> {
        match self.identity {
            Some(_) => Ok(()),
            None => Err(Error::Missing { needed: options::SSL_CERTIFICATE.name }),
        }
    }

    pub fn versions(&self) -> Versions {
        let identity = self.identity.iter().flat_map(|(certificate, key)| [certificate, key]);
        let version = |path: &PathBuf| {
            let file = fs::metadata(path).ok()?;
            Some((file.ino(), file.len(), file.mtime(), file.mtime_nsec()))
        };
        std::iter::once(&self.ca).chain(identity).map(version).collect()
    }

    /// The authorities.
    pub fn roots(&self) -> Result<RootCertStore, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.ca, options::SSL_CA.name)? {
            roots.add(certificate).map_err(|error| Error::Authorities(error.into()))?;
        }
        Ok(roots)
    }

    /// The certificate, behind it those that vouch for it, and the key.
    pub fn identity(&self) -> Result<Option<Identity>, Error> {
        let Some((certificate, key)) = &self.identity else { return Ok(None) };
        let chain = certificates(certificate, options::SSL_CERTIFICATE.name)?;
        Ok(Some(Identity { chain, key: private_key(key)? }))
    }
}

/// What a process shows of itself.
pub(super) struct Identity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

fn certificates(path: &Path, option: &'static str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let (_, bytes) = read(path, option)?;
    let failed = |source| Error::Pem { path: path.to_owned(), option, expected: "certificate", source };
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let read = read.map_err(|error| failed(Some(error)))?;
    if read.is_empty() { Err(failed(None)) } else { Ok(read) }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let option = options::SSL_KEY.name;
    let (mode, bytes) = read(path, option)?;
    if mode & 0o004 != 0 {
        return Err(Error::Open { path: path.to_owned() });
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| Error::Pem {
        path: path.to_owned(),
        option,
        expected: "unencrypted private key",
        source: Some(error),
    })
}

fn read(path: &Path, option: &'static str) -> Result<(u32, Vec<u8>), Error> {
    let read = || -> io::Result<(u32, Vec<u8>)> {
        let file = File::open(path)?;
        let mode = file.metadata()?.permissions().mode();
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok((mode, bytes))
    };
    read().map_err(|source| Error::File { path: path.to_owned(), option, source })
}

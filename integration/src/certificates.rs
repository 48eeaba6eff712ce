//! Authorities and certificates for clusters whose ports speak TLS; and calls to those, as their own processes make them.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use serde_json::Value;
use thalweg_graph::{Options, options};
use thalweg_rpc::{Trust, call};

/// Whoever vouches for the processes of a cluster.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// The files of a process.
#[derive(Debug, Clone)]
pub struct Files {
    /// The authority's certificate.
    pub ca: PathBuf,
    /// The process's certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// When certificates hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// Now.
    Now,
    /// Not any more.
    Expired,
}

impl Authority {
    /// A new one, which nobody else knows.
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::new([])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // One of the same name as what it signs would be taken for that.
        params.distinguished_name.push(DnType::CommonName, "authority");
        Ok(Self(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    /// Writes its certificate, and one for a process of this host with its key, into a folder that is made.
    pub fn issue(&self, folder: &Path, validity: Validity) -> Result<Files> {
        fs::create_dir_all(folder)?;
        let mut params = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, "process");
        if validity == Validity::Expired {
            (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
        }
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.0)?;
        let file = |name| folder.join(name);
        let files = Files { ca: file("ca.pem"), certificate: file("certificate.pem"), key: file("key.pem") };
        fs::write(&files.ca, self.0.pem())?;
        fs::write(&files.certificate, certificate.pem())?;
        fs::write(&files.key, key.serialize_pem())?;
        fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600))?;
        Ok(files)
    }
}

impl Files {
    /// The options that name them.
    pub fn options(&self) -> Options {
        let [ca, certificate, key] =
            [&self.ca, &self.certificate, &self.key].map(|path| path.display().to_string());
        [
            (options::SSL_ENABLED.name, "true"),
            (options::SSL_CA.name, &ca),
            (options::SSL_CERTIFICATE.name, &certificate),
            (options::SSL_KEY.name, &key),
        ]
        .into_iter()
        .collect()
    }
}

/// Asks the REST API at `address`, as a process with these options would; a JobManager that sends elsewhere does not answer.
pub async fn get(options: &Options, address: &str, path: &str) -> Result<Value> {
    let trust = Trust::from_options(options)?;
    let answer = call::call(address, &trust, reqwest::Method::GET, path, Default::default()).await?;
    ensure!(answer.status.is_success(), "`{address}{path}` answered {}", answer.status);
    serde_json::from_slice(&answer.body).with_context(|| format!("the answer of `{address}{path}`"))
}

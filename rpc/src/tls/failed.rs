//! Why there is no TLS with somebody, and what to do about it.

use std::io;

use rustls::{AlertDescription, CertificateError, InvalidMessage};
use thalweg_graph::options;

use super::TLS_TIMEOUT;

/// A TLS connection that was not opened.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The two do not agree.
    #[error("no TLS with the other side: {}", hint(.0))]
    Tls(#[source] rustls::Error),
    /// The other side speaks something else.
    #[error("the other side does not speak TLS: set `{}` there, or call by `https://`", options::SSL_ENABLED.name)]
    Plain,
    /// It says nothing.
    #[error("the other side did not open TLS within {} s", TLS_TIMEOUT.as_secs())]
    Silent,
    /// The connection broke.
    #[error("the connection broke before TLS was open")]
    Broken(#[source] io::Error),
    /// What was dialled is nothing that a certificate could name.
    #[error("`{host}` is neither the name of a host nor an IP address")]
    Name {
        /// What was given.
        host: String,
    },
    /// This process only calls.
    #[error("this process has no certificate: set `{}`", options::SSL_CERTIFICATE.name)]
    NoCertificate,
}

impl Failed {
    /// Whether it is about who may come in, and not about the connection.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Failed::Tls(_) | Failed::Plain | Failed::Name { .. } | Failed::NoCertificate)
    }

    /// That of an error of a connection, if it is about TLS. Of TLS 1.3 whoever dials hears only then that its certificate is refused.
    pub fn in_chain(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        std::iter::successors(Some(error), |error| error.source()).find_map(|error| {
            let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            let found = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
            found.or_else(|| error.downcast_ref()).cloned().map(Failed::Tls)
        })
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Failed::in_chain(&error).unwrap_or(Failed::Broken(error))
    }
}

/// What it means to whoever runs the cluster.
fn hint(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "it does not speak TLS; set `security.ssl.enabled` there"
        }
        rustls::Error::InvalidCertificate(error) => match error {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "its certificate is of no authority in the file of `security.ssl.ca` here"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate names another host; give it the names and addresses by which it is dialled, or turn \
                 `security.ssl.verify-hostname` off"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet, or the clock here is behind"
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                "its certificate is for another purpose; processes of a cluster both call and are called"
            }
            _ => "its certificate is refused here",
        },
        rustls::Error::NoCertificatesPresented => {
            "it has shown no certificate; set `security.ssl.certificate` there"
        }
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "it asks for a certificate; set `security.ssl.certificate` here"
        }
        rustls::Error::AlertReceived(AlertDescription::UnknownCA | AlertDescription::DecryptError) => {
            "the certificate of this process is of no authority in the file of `security.ssl.ca` there"
        }
        rustls::Error::AlertReceived(AlertDescription::CertificateExpired) => {
            "the certificate of this process has expired"
        }
        rustls::Error::AlertReceived(AlertDescription::BadCertificate) => {
            "it refuses the certificate of this process"
        }
        rustls::Error::AlertReceived(_) => "it has given up",
        _ => "the handshake failed",
    }
}

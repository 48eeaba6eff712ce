//! What rustls needs to know, made of the files and the options.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion,
    client::Resumption,
    crypto::{CryptoProvider, ring},
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};
use thalweg_graph::options::ClientAuthentication;

use super::{
    any_name::AnyName,
    material::{Error, Identity, Settings},
};

/// Both ends are ours.
const OURS: &[&SupportedProtocolVersion] = &[&TLS13];
/// For REST clients that are older than TLS 1.3.
const OF_REST: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// How connections are opened and taken.
#[derive(Clone)]
pub(super) struct Configs {
    pub client: Arc<ClientConfig>,
    /// Of the control port, where there is a certificate.
    pub control: Option<Arc<ServerConfig>>,
    /// Of a data port, where there is a certificate.
    pub data: Option<Arc<ServerConfig>>,
}

/// Who must show a certificate at a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asks {
    Nobody,
    /// Whoever has one; who must is decided when it is known who is there.
    WhoeverCan,
    Everybody,
}

impl Configs {
    /// Reads the files.
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let provider = Arc::new(ring::default_provider());
        let roots = Arc::new(settings.roots()?);
        let identity = settings.identity()?;
        let client = client(&provider, &roots, identity.as_ref(), settings.verifies_names)?;
        let (at_control, at_data) = match settings.authentication {
            ClientAuthentication::None => (Asks::Nobody, Asks::Nobody),
            ClientAuthentication::Cluster => (Asks::WhoeverCan, Asks::Everybody),
            ClientAuthentication::All => (Asks::Everybody, Asks::Everybody),
        };
        let server = |versions, asks| {
            identity.as_ref().map(|identity| server(&provider, versions, &roots, identity, asks)).transpose()
        };
        let mut control = server(OF_REST, at_control)?;
        if let Some(control) = &mut control {
            control.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        }
        let data = server(OURS, at_data)?;
        Ok(Self { client: Arc::new(client), control: control.map(Arc::new), data: data.map(Arc::new) })
    }
}

fn client(
    provider: &Arc<CryptoProvider>,
    roots: &Arc<RootCertStore>,
    identity: Option<&Identity>,
    verifies_names: bool,
) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider));
    let builder = builder.with_protocol_versions(OURS).map_err(Error::Identity)?;
    let builder = match verifies_names {
        true => builder.with_root_certificates(Arc::clone(roots)),
        false => {
            let any_name = AnyName::new(Arc::clone(roots), provider);
            builder.dangerous().with_custom_certificate_verifier(Arc::new(any_name))
        }
    };
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(Identity { chain, key }) => {
            builder.with_client_auth_cert(chain.clone(), key.clone_key()).map_err(Error::Identity)?
        }
    };
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn server(
    provider: &Arc<CryptoProvider>,
    versions: &[&'static SupportedProtocolVersion],
    roots: &Arc<RootCertStore>,
    Identity { chain, key }: &Identity,
    asks: Asks,
) -> Result<ServerConfig, Error> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider));
    let builder = builder.with_protocol_versions(versions).map_err(Error::Identity)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider));
    let verifier = match asks {
        Asks::Nobody => None,
        Asks::WhoeverCan => Some(verifier.allow_unauthenticated()),
        Asks::Everybody => Some(verifier),
    };
    let builder = match verifier {
        None => builder.with_no_client_auth(),
        Some(verifier) => {
            let verifier = verifier.build().map_err(|error| Error::Authorities(error.into()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain.clone(), key.clone_key()).map_err(Error::Identity)?;
    config.send_tls13_tickets = 0;
    Ok(config)
}

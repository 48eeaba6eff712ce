//! TLS of the cluster's ports: what the options name is read, made into what opens and takes connections, and read again when the files
//! change. Each connection is a handshake of its own: nothing is resumed, so what has expired or was exchanged does not come in by an old
//! session.

use std::{
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::{ServerConfig, pki_types::ServerName};
use thalweg_graph::{Options, failure::chain, options::ClientAuthentication};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, timeout},
};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

mod any_name;
mod configs;
mod failed;
mod material;

pub use failed::Failed;
pub use material::Error;

use configs::Configs;
use material::{Settings, Versions};

use crate::{farewell, handshake::Binding};

/// Time for the other side's part of the handshake.
pub const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// What the first record of whoever speaks TLS begins with.
pub const FIRST_BYTE: u8 = 0x16;
/// How long files may have changed before that is seen, at the next connection.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Says what the bytes are for that bind the secret's proofs to their connection.
const BINDING_LABEL: &[u8] = b"EXPORTER-thalweg-cluster-secret";

/// What opens and takes connections.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    settings: Settings,
    current: Mutex<Current>,
}

/// What was made of the files, and which ones those were.
struct Current {
    configs: Configs,
    versions: Versions,
    looked: Instant,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// As the options say; `None` where it is off.
    pub fn from_options(options: &Options) -> Result<Option<Self>, Error> {
        let Some(settings) = Settings::from_options(options)? else { return Ok(None) };
        // What changes while it is read is seen at the next look.
        let versions = settings.versions();
        let configs = Configs::new(&settings)?;
        let current = Mutex::new(Current { configs, versions, looked: Instant::now() });
        Ok(Some(Self(Arc::new(Shared { settings, current }))))
    }

    /// Makes sure that this process can be called, and not only call.
    pub fn check_serves(&self) -> Result<(), Error> {
        self.0.settings.check_serves()
    }

    /// Whether the cluster's processes must show certificates to each other.
    pub fn asks_certificates(&self) -> bool {
        self.0.settings.authentication != ClientAuthentication::None
    }

    /// Opens TLS to `address`, `host:port`, over a connection that is there.
    pub async fn connect<S>(&self, address: &str, stream: S) -> Result<TlsStream<S>, Failed>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|_| Failed::Name { host: host.to_owned() })?;
        let connector = TlsConnector::from(self.configs().client);
        in_time(async { Ok(TlsStream::Client(connector.connect(name, stream).await?)) }).await
    }

    /// Takes a connection at the control port.
    pub async fn accept_control<S>(&self, stream: S) -> Result<TlsStream<S>, Failed>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        accept(self.configs().control, stream).await
    }

    /// Takes a connection at a data port.
    pub async fn accept_data<S>(&self, stream: S) -> Result<TlsStream<S>, Failed>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        accept(self.configs().data, stream).await
    }

    /// What is made of the files as they are now, or were a moment ago.
    fn configs(&self) -> Configs {
        let mut current = self.0.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.looked.elapsed() >= LOOK_INTERVAL {
            current.looked = Instant::now();
            current.look(&self.0.settings);
        }
        current.configs.clone()
    }
}

impl Current {
    /// Reads the files again if they have changed. They are few, small and local: whoever opens a connection may do that.
    fn look(&mut self, settings: &Settings) {
        let versions = settings.versions();
        if versions == self.versions {
            return;
        }
        match Configs::new(settings) {
            Ok(configs) => {
                tracing::info!("the files of `security.ssl.*` have changed and were read again");
                (self.configs, self.versions) = (configs, versions);
            }
            // Perhaps only one of two files is there yet.
            Err(error) => tracing::warn!(
                error = chain(&error),
                "the files of `security.ssl.*` have changed and cannot be used: those from before still hold"
            ),
        }
    }
}

async fn accept<S>(config: Option<Arc<ServerConfig>>, stream: S) -> Result<TlsStream<S>, Failed>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let acceptor = TlsAcceptor::from(config.ok_or(Failed::NoCertificate)?);
    let accepting = async {
        match acceptor.accept(stream).into_fallible().await {
            Ok(accepted) => Ok(TlsStream::Server(accepted)),
            Err((error, mut stream)) => {
                // It has been told why, and may be sending its first words already.
                let _ = farewell::end(&mut stream).await;
                Err(error)
            }
        }
    };
    in_time(accepting).await
}

async fn in_time<T>(opening: impl Future<Output = io::Result<T>>) -> Result<T, Failed> {
    match timeout(TLS_TIMEOUT, opening).await {
        Ok(opened) => opened.map_err(Failed::from),
        Err(_) => Err(Failed::Silent),
    }
}

/// What both ends of a TLS connection know of it and nobody else does.
pub fn binding<S>(stream: &TlsStream<S>) -> Result<Binding, Failed> {
    let bytes = match stream {
        TlsStream::Client(stream) => stream.get_ref().1.export_keying_material([0; 32], BINDING_LABEL, None),
        TlsStream::Server(stream) => stream.get_ref().1.export_keying_material([0; 32], BINDING_LABEL, None),
    };
    Ok(Some(bytes.map_err(Failed::Tls)?))
}

/// Whether the other side has shown a certificate; then it is a good one.
pub fn is_certified<S>(stream: &TlsStream<S>) -> bool {
    stream.get_ref().1.peer_certificates().is_some_and(|chain| !chain.is_empty())
}

#[cfg(test)]
mod tests;

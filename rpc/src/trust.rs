//! What a process proves itself by to the others of its cluster, and whom it believes; and the connections that are opened and taken so:
//! first TLS, if it is on, then the proofs of the secret, if there is one.

use std::{
    io,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::Uri;
use hyper_util::rt::TokioIo;
use thalweg_graph::Options;
use tokio::{io::AsyncReadExt as _, net::TcpStream, time::timeout};
use tokio_rustls::TlsStream;

use crate::{
    Network, Tcp, Tls,
    handshake::{self, Binding, Purpose},
    network::Stream,
    plain,
    secret::{self, ClusterSecret},
    tls::{self, FIRST_BYTE, TLS_TIMEOUT},
    unread::Unread,
};

/// What a process proves itself by, and whom it believes. Without anything it believes everybody.
#[derive(Debug, Clone)]
pub struct Trust {
    /// What all processes of the cluster know.
    pub secret: Option<ClusterSecret>,
    /// What hides and signs all that they say, and by which certificates.
    pub tls: Option<Tls>,
    /// The way to their control ports.
    pub network: Arc<dyn Network>,
}

impl Default for Trust {
    /// Whoever is reached by TCP.
    fn default() -> Self {
        Self { secret: None, tls: None, network: Arc::new(Tcp) }
    }
}

/// Options that do not say what is to be believed.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// The cluster's secret.
    #[error(transparent)]
    Secret(#[from] secret::Error),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] tls::Error),
}

/// A connection that was not opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody is there.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// The other side's certificate or this one's is refused, or it speaks no TLS.
    #[error(transparent)]
    Tls(#[from] tls::Failed),
    /// The other side is not believed, or does not believe this one.
    #[error(transparent)]
    Handshake(handshake::Error),
}

impl Error {
    /// Whether it is about who may come in: it will be the same the next time.
    pub fn is_refusal(&self) -> bool {
        match self {
            Error::Connect(_) => false,
            Error::Tls(failed) => failed.is_refusal(),
            Error::Handshake(error) => error.is_refusal(),
        }
    }
}

impl From<handshake::Error> for Error {
    fn from(error: handshake::Error) -> Self {
        // Whoever dials hears only now that its certificate is refused.
        let failed = matches!(error, handshake::Error::Broken(_)).then(|| tls::Failed::in_chain(&error));
        failed.flatten().map_or(Error::Handshake(error), Error::Tls)
    }
}

/// A connection that came to a control port.
pub struct Accepted {
    /// What is said on it, TLS taken off.
    pub stream: Box<dyn Stream>,
    /// Whether it comes from somebody with a certificate of the authorities.
    pub is_certified: bool,
    /// What the secret's proofs are bound to.
    pub binding: Binding,
}

/// A connection between two workers.
pub enum DataStream {
    /// In the clear.
    Plain(TcpStream),
    /// By TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Trust {
    /// As the options say.
    pub fn from_options(options: &Options) -> Result<Self, OptionsError> {
        let (secret, tls) = (ClusterSecret::from_options(options)?, Tls::from_options(options)?);
        Ok(Self { secret, tls, ..Self::default() })
    }

    /// The same without the secret, for calls like those of everybody.
    pub fn without_secret(self) -> Self {
        Self { secret: None, ..self }
    }

    /// Makes sure that this process can be called as the options say, and not only call.
    pub fn check_serves(&self) -> Result<(), tls::Error> {
        self.tls.as_ref().map_or(Ok(()), Tls::check_serves)
    }

    /// How URLs of control ports begin.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Whether the cluster's processes must show certificates to each other.
    pub fn asks_certificates(&self) -> bool {
        self.tls.as_ref().is_some_and(Tls::asks_certificates)
    }

    /// Opens a connection to a control port, `host:port`, for calls inside the cluster.
    pub async fn connect(&self, address: &str) -> Result<Box<dyn Stream>, Error> {
        let stream = self.network.connect(address).await.map_err(Error::Connect)?;
        let (mut stream, binding): (Box<dyn Stream>, Binding) = match &self.tls {
            None => (stream, None),
            Some(tls) => {
                let stream = tls.connect(address, stream).await?;
                let binding = tls::binding(&stream)?;
                (Box::new(stream), binding)
            }
        };
        // Without a secret, such calls are like all others.
        if self.secret.is_some() {
            handshake::dial(&mut stream, Purpose::Control, self.secret.as_ref(), binding).await?;
        }
        Ok(stream)
    }

    /// Takes a connection that came to a control port, as far as TLS goes.
    pub async fn accept(&self, mut stream: Box<dyn Stream>) -> Result<Accepted, tls::Failed> {
        let Some(tls) = &self.tls else { return Ok(Accepted { stream, is_certified: false, binding: None }) };
        let first = in_time(stream.read_u8()).await?;
        if first != FIRST_BYTE {
            in_time(plain::turn_away(&mut stream, first)).await?;
            return Err(tls::Failed::Plain);
        }
        let stream = tls.accept_control(Unread { first: Bytes::copy_from_slice(&[first]), stream }).await?;
        let (is_certified, binding) = (tls::is_certified(&stream), tls::binding(&stream)?);
        Ok(Accepted { stream: Box::new(stream), is_certified, binding })
    }

    /// Opens a connection to a data port, `host:port`.
    pub async fn connect_data(&self, address: &str) -> Result<DataStream, Error> {
        let mut stream = TcpStream::connect(address).await.map_err(Error::Connect)?;
        stream.set_nodelay(true).map_err(Error::Connect)?;
        let Some(tls) = &self.tls else {
            handshake::dial(&mut stream, Purpose::Data, self.secret.as_ref(), None).await?;
            return Ok(DataStream::Plain(stream));
        };
        let mut stream = tls.connect(address, stream).await?;
        let binding = tls::binding(&stream)?;
        handshake::dial(&mut stream, Purpose::Data, self.secret.as_ref(), binding).await?;
        Ok(DataStream::Tls(Box::new(stream)))
    }

    /// Takes a connection that came to a data port.
    pub async fn accept_data(&self, mut stream: TcpStream) -> Result<DataStream, Error> {
        stream.set_nodelay(true).map_err(Error::Connect)?;
        let Some(tls) = &self.tls else {
            handshake::accept(&mut stream, Purpose::Data, self.secret.as_ref(), None).await?;
            return Ok(DataStream::Plain(stream));
        };
        let mut first = [0];
        if in_time(stream.peek(&mut first)).await? == 1 && first != [FIRST_BYTE] {
            in_time(async {
                let first = stream.read_u8().await?;
                plain::turn_away(&mut stream, first).await
            })
            .await?;
            return Err(tls::Failed::Plain.into());
        }
        let mut stream = tls.accept_data(stream).await?;
        let binding = tls::binding(&stream)?;
        handshake::accept(&mut stream, Purpose::Data, self.secret.as_ref(), binding).await?;
        Ok(DataStream::Tls(Box::new(stream)))
    }
}

async fn in_time<T>(saying: impl Future<Output = io::Result<T>>) -> Result<T, tls::Failed> {
    match timeout(TLS_TIMEOUT, saying).await {
        Ok(said) => said.map_err(tls::Failed::Broken),
        Err(_) => Err(tls::Failed::Silent),
    }
}

/// Opens connections to control ports for a client that keeps several.
#[derive(Debug, Clone)]
pub struct Connector {
    /// What it proves itself by.
    pub trust: Trust,
    /// Time for a connection.
    pub timeout: Duration,
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Stream>>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<TokioIo<Box<dyn Stream>>, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { trust, timeout } = self.clone();
        Box::pin(async move {
            let address = uri.authority().map_or_else(String::new, |authority| authority.to_string());
            match tokio::time::timeout(timeout, trust.connect(&address)).await {
                Ok(connected) => Ok(TokioIo::new(connected?)),
                Err(_) => Err(Error::Connect(io::ErrorKind::TimedOut.into())),
            }
        })
    }
}

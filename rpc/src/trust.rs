//! What a process proves itself by to the others of its cluster, and whom it believes; and the connections that are opened so.

use std::{
    io,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::Uri;
use hyper_util::rt::TokioIo;
use thalweg_graph::Options;
use tokio::net::TcpStream;

use crate::{
    Network, Tcp,
    handshake::{self, Purpose},
    network::Stream,
    secret::{self, ClusterSecret},
};

/// What a process proves itself by, and whom it believes. Without anything it believes everybody.
#[derive(Debug, Clone)]
pub struct Trust {
    /// What all processes of the cluster know.
    pub secret: Option<ClusterSecret>,
    /// The way to their control ports.
    pub network: Arc<dyn Network>,
}

impl Default for Trust {
    /// Whoever is reached by TCP.
    fn default() -> Self {
        Self { secret: None, network: Arc::new(Tcp) }
    }
}

/// A connection that was not opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody is there.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// The other side is not believed, or does not believe this one.
    #[error(transparent)]
    Handshake(#[from] handshake::Error),
}

impl Error {
    /// Whether it is about who may come in: it will be the same the next time.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Error::Handshake(error) if error.is_refusal())
    }
}

impl Trust {
    /// As the options say.
    pub fn from_options(options: &Options) -> Result<Self, secret::Error> {
        Ok(Self { secret: ClusterSecret::from_options(options)?, ..Self::default() })
    }

    /// Opens a connection to a control port, `host:port`, for calls inside the cluster.
    pub async fn connect(&self, address: &str) -> Result<Box<dyn Stream>, Error> {
        let mut stream = self.network.connect(address).await.map_err(Error::Connect)?;
        // Without a secret, such calls are like all others.
        if self.secret.is_some() {
            handshake::dial(&mut stream, Purpose::Control, self.secret.as_ref()).await?;
        }
        Ok(stream)
    }

    /// Opens a connection to a data port, `host:port`.
    pub async fn connect_data(&self, address: &str) -> Result<TcpStream, Error> {
        let mut stream = TcpStream::connect(address).await.map_err(Error::Connect)?;
        stream.set_nodelay(true).map_err(Error::Connect)?;
        handshake::dial(&mut stream, Purpose::Data, self.secret.as_ref()).await?;
        Ok(stream)
    }

    /// Takes a connection that came to a data port.
    pub async fn accept_data(&self, mut stream: TcpStream) -> Result<TcpStream, Error> {
        stream.set_nodelay(true).map_err(Error::Connect)?;
        handshake::accept(&mut stream, Purpose::Data, self.secret.as_ref()).await?;
        Ok(stream)
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

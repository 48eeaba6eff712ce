//! The simulated network under the real control ports.

use std::{io, net::SocketAddr};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use thalweg_rpc::{Network, network::Stream};
use thalweg_scheduler::rest::serve::Listener;
use turmoil::net::{TcpListener, TcpStream};

/// Opens simulated connections.
#[derive(Debug, Default)]
pub struct SimNetwork {
    /// Whom it was asked for last.
    dialled: Mutex<String>,
}

impl SimNetwork {
    /// Whom it was asked for last, `host:port`.
    pub fn dialled(&self) -> String {
        self.dialled.lock().clone()
    }
}

impl Network for SimNetwork {
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        address.clone_into(&mut self.dialled.lock());
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }
}

/// Takes simulated connections.
pub struct SimListener(pub TcpListener);

impl Listener for SimListener {
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, SocketAddr)> {
        let (stream, address) = self.0.accept().await?;
        Ok((Box::new(stream), address))
    }
}

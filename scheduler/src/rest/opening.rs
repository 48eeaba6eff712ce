//! The first bytes of a connection to the control port, behind its TLS if that is on: those of a process of the cluster, which then proves
//! itself, or those of HTTP, which are put back.

use std::{io, net::SocketAddr};

use bytes::Bytes;
use thalweg_graph::failure::chain;
use thalweg_rpc::{
    Trust,
    handshake::{self, OPENING, Purpose},
    network::Stream,
    tls,
    trust::Accepted,
    unread::Unread,
};
use tokio::io::AsyncReadExt as _;

/// Who is at the other end of a connection; every request on it has this as an extension.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Where from.
    pub address: SocketAddr,
    /// Whether it has proven to know the cluster's secret.
    pub of_cluster: bool,
    /// Whether it has shown a certificate of the authorities.
    pub is_certified: bool,
}

/// Finds out who is there; `None` where that is nobody to talk to, and has been told.
pub async fn meet(
    stream: Box<dyn Stream>,
    address: SocketAddr,
    trust: &Trust,
) -> io::Result<Option<(Unread<Box<dyn Stream>>, Peer)>> {
    let Accepted { mut stream, is_certified, binding } = match trust.accept(stream).await {
        Ok(accepted) => accepted,
        // It asked whether the port is there.
        Err(tls::Failed::Broken(error)) => return Err(error),
        Err(failed) => {
            tracing::warn!(peer = %address, why = chain(&failed), "refused a connection");
            return Ok(None);
        }
    };
    let mut first = [0; OPENING.len()];
    let mut filled = 0;
    while filled < first.len() && OPENING.starts_with(&first[..filled]) {
        match stream.read(&mut first[filled..]).await? {
            0 => break,
            read => filled += read,
        }
    }
    if first != OPENING {
        let first = Bytes::copy_from_slice(&first[..filled]);
        return Ok(Some((Unread { first, stream }, Peer { address, of_cluster: false, is_certified })));
    }
    let proven = if trust.asks_certificates() && !is_certified {
        handshake::refuse_uncertified(&mut stream).await
    } else {
        handshake::accept_opened(&mut stream, Purpose::Control, trust.secret.as_ref(), binding).await
    };
    match proven {
        Ok(()) => {
            let peer = Peer { address, of_cluster: trust.secret.is_some(), is_certified };
            Ok(Some((Unread { first: Bytes::new(), stream }, peer)))
        }
        Err(error) => {
            tracing::warn!(peer = %address, why = %error, "refused a connection of the cluster");
            Ok(None)
        }
    }
}

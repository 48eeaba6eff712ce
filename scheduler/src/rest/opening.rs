//! The first bytes of a connection to the control port: those of a process of the cluster, which then proves itself, or those of HTTP,
//! which are put back.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf as _, Bytes};
use thalweg_rpc::{
    Trust,
    handshake::{self, OPENING, Purpose},
    network::Stream,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// Who is at the other end of a connection; every request on it has this as an extension.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Where from.
    pub address: SocketAddr,
    /// Whether it has proven to know the cluster's secret.
    pub of_cluster: bool,
}

/// Finds out who is there.
pub async fn meet(
    mut stream: Box<dyn Stream>,
    address: SocketAddr,
    trust: &Trust,
) -> io::Result<Option<(Unread, Peer)>> {
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
        return Ok(Some((Unread { first, stream }, Peer { address, of_cluster: false })));
    }
    match handshake::accept_opened(&mut stream, Purpose::Control, trust.secret.as_ref()).await {
        Ok(()) => {
            let of_cluster = trust.secret.is_some();
            Ok(Some((Unread { first: Bytes::new(), stream }, Peer { address, of_cluster })))
        }
        Err(error) => {
            tracing::warn!(peer = %address, why = %error, "refused a connection of the cluster");
            Ok(None)
        }
    }
}

/// A connection whose first bytes are read once more.
pub struct Unread {
    first: Bytes,
    stream: Box<dyn Stream>,
}

impl AsyncRead for Unread {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let count = self.first.len().min(buffer.remaining());
        buffer.put_slice(&self.first[..count]);
        self.first.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Unread {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

//! The end of a connection whose other side is to hear why: closed at once, with something of it unread, it would break before that.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};

/// What the other side still says is read for so long, and so much of it.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 64 << 10;

/// Ends a connection behind what was written to it.
pub async fn end<S>(stream: &mut S) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.shutdown().await?;
    // Whatever comes of it, the last words are out.
    let rest = &mut stream.take(LINGER_BYTES);
    let _ = timeout(LINGER, tokio::io::copy(rest, &mut tokio::io::sink())).await;
    Ok(())
}

//! Both ends of a data connection write and watch it alike: whole frames in one system call, signs of life, timeouts.

use std::{
    io::{self, IoSlice},
    pin::pin,
    time::Duration,
};

use arrow::buffer::Buffer;
use futures::{Stream, StreamExt as _};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};

use super::{
    block::EncodedBlock,
    frame::{self, ChannelId, Frame, PREFACE, Role},
    subpartition_queue::Held,
};

/// Time for connecting, and for the first bytes of the other side.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A side with nothing to say gives a sign of life this often.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// A side that neither says anything nor takes anything for so long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(40);
/// Frames that go into one system call at most.
const FRAMES_PER_WRITE: usize = 16;

/// A frame to be written, its body where it lies.
pub struct Outgoing {
    head: Vec<u8>,
    body: Vec<Buffer>,
    /// Given back when the frame is written.
    _held: Option<Held>,
}

impl Outgoing {
    /// A block. What its batch held is given back when it is written.
    pub fn block(channel: ChannelId, block: EncodedBlock, held: Option<Held>) -> Self {
        Self { head: frame::block_header(channel, block.bytes).to_vec(), body: block.buffers, _held: held }
    }
}

impl From<Frame> for Outgoing {
    fn from(frame: Frame) -> Self {
        Self { head: frame.encode(), body: Vec::new(), _held: None }
    }
}

/// Makes sure that the other side speaks the same protocol.
pub async fn greet(
    read: &mut (impl AsyncRead + Unpin),
    write: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let exchange = async {
        write.write_all(&PREFACE).await?;
        write.flush().await?;
        let mut theirs = [0; PREFACE.len()];
        read.read_exact(&mut theirs).await?;
        if theirs == PREFACE {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "the other side does not speak our data protocol"))
    };
    timeout(CONNECT_TIMEOUT, exchange).await.unwrap_or_else(|_| Err(silent(CONNECT_TIMEOUT)))
}

/// Reads the next frame that means something; `None` where the connection ended in good order.
pub async fn read_frame<R: AsyncRead + Unpin>(reader: &mut R, role: Role) -> io::Result<Option<Frame>> {
    loop {
        match timeout(SILENCE_MAX, frame::read(reader, role)).await {
            Err(_) => return Err(silent(SILENCE_MAX)),
            Ok(Ok(Some(Frame::Ping))) => {}
            Ok(result) => return result,
        }
    }
}

/// Writes frames until there are no more.
pub async fn write_frames(
    mut writer: impl AsyncWrite + Unpin,
    frames: impl Stream<Item = Outgoing>,
) -> io::Result<()> {
    let mut frames = pin!(frames.ready_chunks(FRAMES_PER_WRITE));
    loop {
        let ready = match timeout(PING_INTERVAL, frames.next()).await {
            Ok(Some(ready)) => ready,
            Ok(None) => return writer.shutdown().await,
            Err(_) => vec![Frame::Ping.into()],
        };
        match timeout(SILENCE_MAX, write_all(&mut writer, &ready)).await {
            Ok(result) => result?,
            Err(_) => return Err(silent(SILENCE_MAX)),
        }
    }
}

async fn write_all(writer: &mut (impl AsyncWrite + Unpin), frames: &[Outgoing]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = Vec::new();
    for frame in frames {
        slices.push(IoSlice::new(&frame.head));
        slices.extend(frame.body.iter().map(|buffer| IoSlice::new(buffer)));
    }
    let mut rest = slices.as_mut_slice();
    while !rest.is_empty() {
        let written = writer.write_vectored(rest).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut rest, written);
    }
    // TLS may still hold the last record; a socket holds nothing.
    writer.flush().await
}

fn silent(time: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("the other side was silent for {} s", time.as_secs()))
}

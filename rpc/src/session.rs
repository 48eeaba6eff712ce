//! A two-way, ordered, bounded stream of messages: over a byte stream between processes, over channels inside one.

use std::io;

use bytes::Bytes;
use futures::SinkExt;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, BufReader},
    sync::mpsc,
};
use tokio_util::codec::{FramedWrite, LengthDelimitedCodec};

/// Messages that wait in each direction before the sender waits.
const QUEUE_MESSAGES: usize = 64;
/// Largest message. A deploy order carries fragments and splits; results come in chunks of 256 KiB.
const MESSAGE_BYTES_MAX: usize = 256 << 20;
/// Room for a message before any of it has come. From there it grows with what comes: a length is only a claim.
const ROOM_BYTES: usize = 64 << 10;

/// One end of a session: what is put into `sender` comes out of the other end's `receiver`. The session is over when `receiver`
/// yields `None` or `sender` is closed.
pub struct Session<Out, In> {
    /// To the other end.
    pub sender: mpsc::Sender<Out>,
    /// From the other end.
    pub receiver: mpsc::Receiver<In>,
}

impl<Out, In> Session<Out, In>
where
    Out: Send + 'static,
    In: Send + 'static,
{
    /// Both ends of a session inside one process.
    pub fn pair() -> (Session<Out, In>, Session<In, Out>) {
        let (out_sender, out_receiver) = mpsc::channel(QUEUE_MESSAGES);
        let (in_sender, in_receiver) = mpsc::channel(QUEUE_MESSAGES);
        let here = Session { sender: out_sender, receiver: in_receiver };
        (here, Session { sender: in_sender, receiver: out_receiver })
    }
}

impl<Out, In> Session<Out, In>
where
    Out: Serialize + Send + Sync + 'static,
    In: DeserializeOwned + Send + 'static,
{
    /// A session over a byte stream. Must be called inside a tokio runtime, which then carries the messages. A message that cannot be
    /// decoded ends the session: the other side is of another version or is not ours.
    pub fn over<S: AsyncRead + AsyncWrite + Send + 'static>(stream: S) -> Self {
        let (read, write) = tokio::io::split(stream);
        let (sender, outgoing) = mpsc::channel(QUEUE_MESSAGES);
        let (incoming, receiver) = mpsc::channel(QUEUE_MESSAGES);
        let writer = tokio::spawn(write_messages(write, outgoing));
        tokio::spawn(async move {
            if read_messages(read, incoming).await == ReadEnd::OtherSideGone {
                // Whoever still sends learns it from the closed channel.
                writer.abort();
            }
        });
        Session { sender, receiver }
    }
}

fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().max_frame_length(MESSAGE_BYTES_MAX).new_codec()
}

async fn write_messages<Out: Serialize>(write: impl AsyncWrite + Unpin, mut outgoing: mpsc::Receiver<Out>) {
    let mut frames = FramedWrite::new(write, codec());
    while let Some(message) = outgoing.recv().await {
        let encoded = match postcard::to_stdvec(&message) {
            Ok(encoded) => encoded,
            Err(error) => return tracing::error!(%error, "cannot encode a message; closing the session"),
        };
        // Messages that are already waiting go out in the same write.
        let written = match outgoing.is_empty() {
            true => frames.send(Bytes::from(encoded)).await,
            false => frames.feed(Bytes::from(encoded)).await,
        };
        if let Err(error) = written {
            return tracing::debug!(%error, "the session's connection broke while writing");
        }
    }
    // All senders are gone: say so to the other side after what is still buffered.
    let _ = SinkExt::<Bytes>::close(&mut frames).await;
}

#[derive(PartialEq, Eq)]
enum ReadEnd {
    OtherSideGone,
    /// Nobody here reads any more; what was sent before still goes out.
    ReceiverDropped,
}

async fn read_messages<In: DeserializeOwned>(
    read: impl AsyncRead + Unpin,
    incoming: mpsc::Sender<In>,
) -> ReadEnd {
    let mut read = BufReader::new(read);
    loop {
        let frame = tokio::select! {
            frame = read_frame(&mut read) => frame,
            () = incoming.closed() => return ReadEnd::ReceiverDropped,
        };
        let message = match frame {
            Ok(None) => return ReadEnd::OtherSideGone,
            Err(error) => {
                tracing::debug!(%error, "the session's connection broke while reading");
                return ReadEnd::OtherSideGone;
            }
            Ok(Some(frame)) => postcard::from_bytes(&frame),
        };
        match message {
            Ok(message) => {
                if incoming.send(message).await.is_err() {
                    return ReadEnd::ReceiverDropped;
                }
            }
            Err(error) => {
                tracing::error!(%error, "cannot decode a message; closing the session");
                return ReadEnd::OtherSideGone;
            }
        }
    }
}

/// Reads the bytes of the next message; `None` where the connection ended between two.
async fn read_frame(read: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match read.read(&mut length).await? {
        0 => return Ok(None),
        begun => read.read_exact(&mut length[begun..]).await?,
    };
    let length = u32::from_be_bytes(length) as usize;
    if length > MESSAGE_BYTES_MAX {
        let text = format!("a message has {length} bytes; at most {MESSAGE_BYTES_MAX} are taken");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut frame = Vec::with_capacity(length.min(ROOM_BYTES));
    let read = read.take(length as u64).read_to_end(&mut frame).await?;
    if read < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(Some(frame)) }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        task::{Context, Poll},
    };

    use tokio::io::ReadBuf;

    use super::*;

    /// Gives bytes, then none for ever; notes how much room it was offered at most beyond what it has given.
    struct Stalls<'a> {
        bytes: &'a [u8],
        given: usize,
        room: usize,
    }

    impl AsyncRead for Stalls<'_> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.room = self.room.max(buffer.remaining().saturating_sub(self.given));
            let part = self.bytes.len().min(buffer.remaining());
            let (now, later) = self.bytes.split_at(part);
            if now.is_empty() {
                return Poll::Pending;
            }
            buffer.put_slice(now);
            self.bytes = later;
            self.given += part;
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_length_that_is_only_claimed_takes_no_memory() {
        for given in [0, 100, 1 << 20] {
            let bytes = [&(MESSAGE_BYTES_MAX as u32).to_be_bytes()[..], &vec![7; given]].concat();
            let mut stalls = Stalls { bytes: &bytes, given: 0, room: 0 };
            assert!(futures::poll!(std::pin::pin!(read_frame(&mut stalls))).is_pending());
            assert!(stalls.bytes.is_empty() && stalls.room <= 2 * ROOM_BYTES, "{}", stalls.room);
        }
        let too_long = (MESSAGE_BYTES_MAX as u32 + 1).to_be_bytes();
        let error = read_frame(&mut too_long.as_slice()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let torn = read_frame(&mut [0, 0, 0, 2, 1].as_slice()).await.unwrap_err();
        assert_eq!(torn.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn messages_cross_a_byte_stream_in_order_and_the_end_is_seen() {
        let (left, right) = tokio::io::duplex(64);
        let left = Session::<String, u32>::over(left);
        let mut right = Session::<u32, String>::over(right);
        for number in 0..100 {
            left.sender.send(format!("message {number}")).await.unwrap();
            assert_eq!(right.receiver.recv().await, Some(format!("message {number}")));
        }
        drop(left);
        assert_eq!(right.receiver.recv().await, None);
    }

    #[tokio::test]
    async fn garbage_ends_the_session() {
        let (left, right) = tokio::io::duplex(64);
        let left = Session::<u8, u8>::over(left);
        let mut right = Session::<String, String>::over(right);
        left.sender.send(200).await.unwrap();
        assert_eq!(right.receiver.recv().await, None);
    }
}

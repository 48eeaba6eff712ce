//! A two-way, ordered, bounded stream of messages: over a byte stream between processes, over channels inside one.

use bytes::Bytes;
use futures::{SinkExt, StreamExt as _};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

/// Messages that wait in each direction before the sender waits.
const QUEUE_MESSAGES: usize = 64;
/// Largest message. A deploy order carries fragments and splits; results come in chunks of 256 KiB.
const MESSAGE_BYTES_MAX: usize = 256 << 20;

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
    let mut frames = FramedRead::new(read, codec());
    loop {
        let frame = tokio::select! {
            frame = frames.next() => frame,
            () = incoming.closed() => return ReadEnd::ReceiverDropped,
        };
        let message = match frame {
            None => return ReadEnd::OtherSideGone,
            Some(Err(error)) => {
                tracing::debug!(%error, "the session's connection broke while reading");
                return ReadEnd::OtherSideGone;
            }
            Some(Ok(frame)) => postcard::from_bytes(&frame),
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

#[cfg(test)]
mod tests {
    use super::*;

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

//! The words on a data connection: a header of 12 bytes, then as many bytes as it says.
//!
//! The worker that consumes dials and asks (`Open`, `Credit`, `Close`); the worker that produces answers (`Block`, `Signal`,
//! `End`, `Failed`). A block is the next part of one channel's Arrow IPC stream. Nothing that the other side says is trusted: lengths have limits, and what is not understood ends the
//! connection.

use std::io;

use arrow::buffer::{Buffer, MutableBuffer};
use serde::{Deserialize, Serialize};
use thalweg_graph::exchange::{ExchangeKind, ResultPartitionId};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::event::Signal;

/// What each side sends before its first frame, once both have proven themselves: a name and the protocol's version.
pub const PREFACE: [u8; 8] = *b"THALWEG\x01";
/// Bytes of a header.
pub const HEADER_BYTES: usize = 12;
/// Largest body of a frame that is not a block.
const CONTROL_BYTES_MAX: usize = 64 << 10;
/// Largest block.
pub const BLOCK_BYTES_MAX: usize = 1 << 30;

/// Room for a body before any of it has come: more than most blocks have.
const ROOM_BYTES: usize = 8 << 20;

/// Which kinds of frames may be received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// This side asked for data.
    Consumer,
    /// This side is asked for data.
    Producer,
}

/// One channel's number on its connection; chosen by the consumer, never used twice.
pub type ChannelId = u32;

/// What a consumer asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRequest {
    /// The producer's output.
    pub partition: ResultPartitionId,
    /// The part of it.
    pub subpartition: u32,
    /// A pipelined partition may still be to come, a blocking one must be there.
    pub kind: ExchangeKind,
    /// Bytes that may be under way on this channel; a larger block counts as this many.
    pub window_bytes: u32,
}

/// One frame.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// Starts a channel.
    Open(ChannelId, OpenRequest),
    /// Gives a channel's producer leave to send that many more bytes.
    Credit(ChannelId, u32),
    /// The consumer wants no more of a channel.
    Close(ChannelId),
    /// The next part of a channel's Arrow IPC stream.
    Block(ChannelId, Buffer),
    /// What a stream says between rows.
    Signal(ChannelId, Signal),
    /// The channel's input is complete.
    End(ChannelId),
    /// The channel's input cannot be had: why.
    Failed(ChannelId, String),
    /// Sign of life.
    Ping,
}

const OPEN: u8 = 1;
const CREDIT: u8 = 2;
const CLOSE: u8 = 3;
const BLOCK: u8 = 4;
const END: u8 = 5;
const FAILED: u8 = 6;
const PING: u8 = 7;
const SIGNAL: u8 = 16;

/// A header, as it stands on the wire: kind, three zero bytes, channel, length of the body.
fn header(kind: u8, channel: ChannelId, body_bytes: usize) -> [u8; HEADER_BYTES] {
    let body_bytes = u32::try_from(body_bytes).expect("bodies are cut below their limit");
    let mut header = [0; HEADER_BYTES];
    header[0] = kind;
    header[4..8].copy_from_slice(&channel.to_le_bytes());
    header[8..].copy_from_slice(&body_bytes.to_le_bytes());
    header
}

/// The header of a block whose bytes are written from where they lie.
pub fn block_header(channel: ChannelId, body_bytes: usize) -> [u8; HEADER_BYTES] {
    header(BLOCK, channel, body_bytes)
}

impl Frame {
    /// The frame as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, channel, body) = match self {
            Frame::Open(channel, request) => {
                let body = postcard::to_stdvec(request).expect("a request is plain data");
                (OPEN, *channel, body)
            }
            Frame::Credit(channel, bytes) => (CREDIT, *channel, bytes.to_le_bytes().to_vec()),
            Frame::Close(channel) => (CLOSE, *channel, Vec::new()),
            Frame::Block(channel, bytes) => (BLOCK, *channel, bytes.to_vec()),
            Frame::Signal(channel, signal) => {
                let body = postcard::to_stdvec(signal).expect("a signal is plain data");
                (SIGNAL, *channel, body)
            }
            Frame::End(channel) => (END, *channel, Vec::new()),
            Frame::Failed(channel, why) => (FAILED, *channel, shortened(why).as_bytes().to_vec()),
            Frame::Ping => (PING, 0, Vec::new()),
        };
        let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
        bytes.extend_from_slice(&header(kind, channel, body.len()));
        bytes.extend_from_slice(&body);
        bytes
    }
}

fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(CONTROL_BYTES_MAX)]
}

/// Reads the next frame; `None` where the connection ended between two frames.
pub async fn read<R: AsyncRead + Unpin>(reader: &mut R, role: Role) -> io::Result<Option<Frame>> {
    let mut header = [0; HEADER_BYTES];
    // A single read tells a clean end from a torn frame.
    match reader.read(&mut header).await? {
        0 => return Ok(None),
        read => reader.read_exact(&mut header[read..]).await?,
    };
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (kind, channel, body_bytes) = (header[0], word(4), word(8) as usize);
    check(kind, role, body_bytes)?;
    if header[1..4] != [0; 3] {
        return Err(invalid("a frame's header has bits that mean nothing here"));
    }
    // One allocation, aligned as Arrow wants it, so that the batch is decoded where it lies. That of a giant grows with what comes: its
    // length is only a claim.
    let mut body = MutableBuffer::from_len_zeroed(body_bytes.min(ROOM_BYTES));
    reader.read_exact(body.as_slice_mut()).await?;
    while body.len() < body_bytes {
        let read = body.len();
        body.resize((2 * read).min(body_bytes), 0);
        reader.read_exact(&mut body.as_slice_mut()[read..]).await?;
    }
    decode(kind, channel, body.into()).map(Some)
}

fn check(kind: u8, role: Role, body_bytes: usize) -> io::Result<()> {
    let (receiver, limit) = match kind {
        OPEN => (Some(Role::Producer), CONTROL_BYTES_MAX),
        CREDIT => (Some(Role::Producer), 4),
        CLOSE => (Some(Role::Producer), 0),
        BLOCK => (Some(Role::Consumer), BLOCK_BYTES_MAX),
        SIGNAL => (Some(Role::Consumer), CONTROL_BYTES_MAX),
        END => (Some(Role::Consumer), 0),
        FAILED => (Some(Role::Consumer), CONTROL_BYTES_MAX),
        PING => (None, 0),
        _ => return Err(invalid(format!("a frame has the unknown kind {kind}"))),
    };
    if receiver.is_some_and(|receiver| receiver != role) {
        return Err(invalid(format!("a frame of kind {kind} came to the wrong side")));
    }
    if body_bytes > limit {
        return Err(invalid(format!(
            "a frame of kind {kind} has {body_bytes} bytes; at most {limit} are allowed"
        )));
    }
    Ok(())
}

fn decode(kind: u8, channel: ChannelId, body: Buffer) -> io::Result<Frame> {
    Ok(match kind {
        OPEN => {
            let request = postcard::from_bytes(&body).map_err(|_| invalid("a request cannot be decoded"))?;
            Frame::Open(channel, request)
        }
        CREDIT => {
            let bytes = body.as_slice().try_into().map_err(|_| invalid("a credit is not four bytes"))?;
            Frame::Credit(channel, u32::from_le_bytes(bytes))
        }
        CLOSE => Frame::Close(channel),
        BLOCK => Frame::Block(channel, body),
        SIGNAL => {
            let signal = postcard::from_bytes(&body).map_err(|_| invalid("a signal cannot be decoded"))?;
            Frame::Signal(channel, signal)
        }
        END => Frame::End(channel),
        FAILED => Frame::Failed(channel, String::from_utf8_lossy(&body).into_owned()),
        _ => Frame::Ping,
    })
}

fn invalid(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use proptest::prelude::*;
    use thalweg_graph::{
        Attempt, CheckpointId, EdgeId, JobId, SubtaskId, VertexId,
        checkpoint::{AfterBarrier, Barrier},
    };

    use super::*;
    use crate::watermark::Watermark;

    fn requests() -> impl Strategy<Value = OpenRequest> {
        (any::<u128>(), any::<[u32; 6]>(), any::<bool>()).prop_map(|(job, n, blocking)| {
            let subtask = SubtaskId { vertex: VertexId(n[0]), index: n[1] };
            let producer = Attempt { job: JobId(job), subtask, number: n[2] };
            OpenRequest {
                partition: ResultPartitionId { producer, edge: EdgeId(n[3]) },
                subpartition: n[4],
                kind: if blocking { ExchangeKind::Blocking } else { ExchangeKind::Pipelined },
                window_bytes: n[5],
            }
        })
    }

    fn barrier(id: u64) -> Signal {
        let then = if id.is_multiple_of(2) { AfterBarrier::GoOn } else { AfterBarrier::Drain };
        Signal::Barrier(Barrier { checkpoint: CheckpointId(id), savepoint: Some("hdfs://nn/s".into()), then })
    }

    fn frames() -> impl Strategy<Value = (Role, Frame)> {
        let bytes = prop::collection::vec(any::<u8>(), 0..300);
        prop_oneof![
            (any::<u32>(), requests()).prop_map(|(c, request)| (Role::Producer, Frame::Open(c, request))),
            any::<(u32, u32)>().prop_map(|(c, bytes)| (Role::Producer, Frame::Credit(c, bytes))),
            any::<u32>().prop_map(|c| (Role::Producer, Frame::Close(c))),
            (any::<u32>(), bytes)
                .prop_map(|(c, bytes)| (Role::Consumer, Frame::Block(c, Buffer::from(bytes)))),
            any::<(u32, i64)>()
                .prop_map(|(c, ms)| (Role::Consumer, Frame::Signal(c, Signal::Watermark(Watermark(ms))))),
            any::<(u32, u64)>().prop_map(|(c, id)| (Role::Consumer, Frame::Signal(c, barrier(id)))),
            any::<u32>().prop_map(|c| (Role::Consumer, Frame::End(c))),
            any::<(u32, String)>().prop_map(|(c, why)| (Role::Consumer, Frame::Failed(c, why))),
            Just((Role::Consumer, Frame::Ping)),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back((role, frame) in frames()) {
            let bytes = frame.encode();
            let read_back = block_on(read(&mut bytes.as_slice(), role)).unwrap();
            prop_assert_eq!(read_back, Some(frame));
        }

        #[test]
        fn a_torn_frame_is_an_error((role, frame) in frames(), cut in 1..HEADER_BYTES) {
            let bytes = frame.encode();
            prop_assert!(block_on(read(&mut &bytes[..bytes.len() - cut.min(bytes.len() - 1)], role)).is_err());
        }

        /// Random bytes behind a header that is often plausible: no panic, no allocation beyond the limits of small frames.
        #[test]
        fn garbage_is_refused_or_read_to_its_end(
            kind in 0u8..20, rest in prop::collection::vec(any::<u8>(), 0..400), small in any::<bool>()
        ) {
            let mut bytes = rest;
            if bytes.len() >= HEADER_BYTES {
                bytes[0] = kind;
                bytes[1..4].fill(0);
                if small { bytes[9..12].fill(0); }
            }
            let mut input = bytes.as_slice();
            while let Ok(Some(_)) = block_on(read(&mut input, Role::Producer)) {}
        }
    }

    #[test]
    fn a_block_longer_than_the_room_that_is_made_at_first_comes_whole() {
        for bytes in [ROOM_BYTES - 1, ROOM_BYTES, ROOM_BYTES + 1, 3 * ROOM_BYTES + 5] {
            let body: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
            let frame = Frame::Block(1, Buffer::from(body));
            let read_back = block_on(read(&mut frame.encode().as_slice(), Role::Consumer)).unwrap();
            assert!(read_back == Some(frame), "{bytes}");
        }
    }

    #[test]
    fn an_endless_block_is_not_believed() {
        let mut bytes = header(BLOCK, 1, 0);
        bytes[8..].fill(0xff);
        let error = block_on(read(&mut bytes.as_slice(), Role::Consumer)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(block_on(read(&mut header(BLOCK, 1, 0).as_slice(), Role::Producer)).is_err());
    }
}

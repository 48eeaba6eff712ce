//! The data port: other workers ask here for what this worker's tasks wrote.
//!
//! Each channel has a pump of its own, which sends only as much as its consumer gave credit for, so a slow consumer holds up
//! neither the connection nor its neighbours. Sockets are served on the runtime that starts the server, batches encoded on the
//! compute runtime.

use std::{
    collections::{HashMap, hash_map::Entry},
    io,
    net::SocketAddr,
    sync::Arc,
};

use arrow::buffer::Buffer;
use futures::stream;
use thalweg_rpc::{Trust, trust::DataStream};
use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader},
    net::TcpListener,
    runtime::Handle,
    sync::{Semaphore, mpsc},
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    block::{BlockEncoder, EncodedBlock},
    connection::{self, Outgoing},
    frame::{ChannelId, Frame, OpenRequest, Role},
    partition_store::{PartitionStore, Taken, chain},
    shuffle_file::ShuffleReader,
    subpartition_queue::{Item, QueueReader},
};

/// Frames of all channels that wait for the socket.
const WAITING_FRAMES: usize = 8;
/// Connections that may be opening at a time; each has a few seconds for it, and others wait. Far fewer than a process may have files open
/// (1,024 by default): tasks open theirs meanwhile.
const OPENING_MAX: usize = 256;
/// Channels that one connection may have open.
const CHANNELS_MAX: usize = 1 << 16;

/// Serves a data port until it is dropped.
pub struct DataServer {
    _accept: AbortOnDropHandle<()>,
}

impl DataServer {
    /// Starts to accept. Must be called on the runtime that is to serve the sockets.
    pub fn start(listener: TcpListener, store: Arc<PartitionStore>, compute: Handle, trust: Trust) -> Self {
        Self { _accept: AbortOnDropHandle::new(tokio::spawn(accept(listener, store, compute, trust))) }
    }
}

async fn accept(listener: TcpListener, store: Arc<PartitionStore>, compute: Handle, trust: Trust) {
    let openings = Arc::new(Semaphore::new(OPENING_MAX));
    let mut connections = JoinSet::new();
    loop {
        // Never closed.
        let opening = Arc::clone(&openings).acquire_owned().await;
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let (store, compute, trust) = (Arc::clone(&store), compute.clone(), trust.clone());
                    connections.spawn(async move {
                        let stream = trust.accept_data(stream).await;
                        drop(opening);
                        match stream {
                            Ok(stream) => serve_opened(stream, peer, store, compute).await,
                            Err(error) => {
                                tracing::warn!(%peer, why = chain(&error), "refused a data connection");
                            }
                        }
                    });
                }
                Err(error) => {
                    // Out of file descriptors, as a rule: connections that end give some back.
                    tracing::warn!(%error, "cannot accept a data connection");
                    tokio::time::sleep(connection::CONNECT_TIMEOUT / 100).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_opened(stream: DataStream, peer: SocketAddr, store: Arc<PartitionStore>, compute: Handle) {
    let served = match stream {
        DataStream::Plain(stream) => {
            let (read, write) = stream.into_split();
            serve(read, write, store, compute).await
        }
        DataStream::Tls(stream) => {
            let (read, write) = tokio::io::split(stream);
            serve(read, write, store, compute).await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "a data connection broke");
    }
}

/// A channel as the connection knows it. Dropping it stops its pump.
struct Channel {
    credit: Arc<Semaphore>,
    _pump: AbortOnDropHandle<()>,
}

async fn serve(
    mut read: impl AsyncRead + Unpin,
    mut write: impl AsyncWrite + Send + Unpin + 'static,
    store: Arc<PartitionStore>,
    compute: Handle,
) -> io::Result<()> {
    connection::greet(&mut read, &mut write).await?;
    let (sender, mut receiver) = mpsc::channel(WAITING_FRAMES);
    let frames = stream::poll_fn(move |context| receiver.poll_recv(context));
    let mut writing = AbortOnDropHandle::new(tokio::spawn(connection::write_frames(write, frames)));
    let mut read = BufReader::new(read);
    let mut channels = HashMap::<ChannelId, Channel>::new();
    loop {
        let frame = tokio::select! {
            frame = connection::read_frame(&mut read, Role::Producer) => frame?,
            result = &mut writing => return result.unwrap_or(Ok(())),
        };
        match frame {
            None => return Ok(()),
            Some(Frame::Open(id, request)) => {
                if channels.len() >= CHANNELS_MAX {
                    return Err(refused("too many channels"));
                }
                let Entry::Vacant(entry) = channels.entry(id) else {
                    return Err(refused("a channel was opened twice"));
                };
                let credit = Arc::new(Semaphore::new(request.window_bytes as usize));
                let pump = Pump { channel: id, request, credit: Arc::clone(&credit), frames: sender.clone() };
                let pump = AbortOnDropHandle::new(compute.spawn(pump.run(Arc::clone(&store))));
                entry.insert(Channel { credit, _pump: pump });
            }
            Some(Frame::Credit(id, bytes)) => {
                if let Some(channel) = channels.get(&id) {
                    let bytes = bytes as usize;
                    if channel.credit.available_permits() + bytes > u32::MAX as usize {
                        return Err(refused("a channel was given more credit than it took"));
                    }
                    channel.credit.add_permits(bytes);
                }
            }
            Some(Frame::Close(id)) => {
                channels.remove(&id);
            }
            Some(frame) => return Err(refused(&format!("{frame:?} came to a producer"))),
        }
    }
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Moves one subpartition into frames, as fast as its consumer gives credit.
struct Pump {
    channel: ChannelId,
    request: OpenRequest,
    credit: Arc<Semaphore>,
    frames: mpsc::Sender<Outgoing>,
}

impl Pump {
    async fn run(self, store: Arc<PartitionStore>) {
        let moved = match store.take(&self.request).await {
            Ok(Taken::Queue(queue)) => self.move_queue(queue).await,
            Ok(Taken::File(file)) => self.move_file(file).await,
            Err(failed) => Err(failed.why),
        };
        let last = match moved {
            Ok(()) => Frame::End(self.channel),
            Err(why) => Frame::Failed(self.channel, why),
        };
        self.send(last.into()).await;
    }

    async fn move_queue(&self, mut queue: QueueReader) -> Result<(), String> {
        let mut encoder = None;
        loop {
            let queued = match queue.next().await {
                Some(Item::Batch(queued)) => queued,
                Some(Item::Signal(signal, _)) => {
                    self.send(Frame::Signal(self.channel, signal).into()).await;
                    continue;
                }
                Some(Item::End) => return Ok(()),
                Some(Item::Failed(why)) => return Err(why),
                None => return Err("its task ended without completing it".to_owned()),
            };
            let encoder = match &mut encoder {
                Some(encoder) => encoder,
                None => encoder.insert(BlockEncoder::plain(&queued.batch.schema()).map_err(|e| chain(&e))?),
            };
            let mut blocks =
                encoder.encode(&queued.batch).map_err(|error| chain(&error))?.into_iter().peekable();
            let mut held = Some(queued.held);
            while let Some(block) = blocks.next() {
                self.take_credit(block.bytes).await;
                let held = if blocks.peek().is_none() { held.take() } else { None };
                self.send(Outgoing::block(self.channel, block, held)).await;
            }
        }
    }

    async fn move_file(&self, mut file: ShuffleReader) -> Result<(), String> {
        while let Some(length) = file.next_length() {
            self.take_credit(length as usize).await;
            let block;
            (file, block) = read_block(file).await?;
            let Some(block) = block else { return Ok(()) };
            let block = EncodedBlock { bytes: block.len(), buffers: vec![block] };
            self.send(Outgoing::block(self.channel, block, None)).await;
        }
        Ok(())
    }

    async fn take_credit(&self, bytes: usize) {
        let bytes = bytes.min(self.request.window_bytes as usize) as u32;
        // Never closed: the connection drops the pump instead.
        if let Ok(credit) = self.credit.acquire_many(bytes).await {
            credit.forget();
        }
    }

    async fn send(&self, frame: Outgoing) {
        // A connection that is gone drops the pump at its next step.
        let _ = self.frames.send(frame).await;
    }
}

/// Reads the next block off the compute threads, which a slow disk must not hold up.
pub async fn read_block(mut file: ShuffleReader) -> Result<(ShuffleReader, Option<Buffer>), String> {
    let reading = tokio::task::spawn_blocking(move || {
        let block = file.next_block();
        (file, block)
    });
    let (file, block) = reading.await.map_err(|error| chain(&error))?;
    Ok((file, block.map_err(|error| chain(&error))?))
}

//! One connection to each worker that this worker's tasks read from, shared by all their channels.

use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use arrow::{array::RecordBatch, buffer::Buffer, datatypes::SchemaRef};
use datafusion::execution::memory_pool::MemoryReservation;
use futures::stream;
use parking_lot::Mutex;
use thalweg_rpc::{Trust, trust::DataStream};
use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader},
    runtime::Handle,
    sync::mpsc,
    time::timeout,
};

use super::{
    block::BlockDecoder,
    connection::{self, Outgoing},
    credit::Credit,
    event::{Event, Signal},
    frame::{ChannelId, Frame, OpenRequest, Role},
    partition_store::chain,
};

/// When nothing has come for so long, the next block may need credit that is held back.
const HOLD_BACK_MAX: Duration = Duration::from_millis(50);

/// Opens channels to other workers.
pub struct DataClient {
    /// A slot for each address; locked while it is dialled, so that it is dialled once.
    connections: Mutex<HashMap<String, Arc<Slot>>>,
    /// The runtime that serves the sockets.
    io: Handle,
    /// Where received bytes are counted until they are decoded.
    memory: MemoryReservation,
    /// What this worker proves itself by.
    trust: Trust,
}

type Slot = tokio::sync::Mutex<Option<Arc<Connection>>>;

struct Connection {
    /// Unbounded, but all that goes this way are requests and credits, one for each block received at most.
    outgoing: mpsc::UnboundedSender<Outgoing>,
    channels: Arc<Mutex<Channels>>,
    next_id: AtomicU32,
}

#[derive(Default)]
struct Channels {
    open: HashMap<ChannelId, mpsc::UnboundedSender<Incoming>>,
    /// Why the connection can be used no more.
    broken: Option<String>,
}

enum Incoming {
    Block(Buffer, MemoryReservation),
    Signal(Signal),
    End,
    Failed(String),
}

impl DataClient {
    /// A client whose sockets live on the runtime `io`.
    pub fn new(io: Handle, memory: MemoryReservation, trust: Trust) -> Self {
        Self { connections: Mutex::default(), io, memory, trust }
    }

    /// Opens a channel to the worker at `address`.
    pub async fn open(
        &self,
        address: &str,
        request: OpenRequest,
        schema: SchemaRef,
    ) -> Result<RemoteChannel, String> {
        let connection = self.connection(address).await?;
        let id = connection.next_id.fetch_add(1, Relaxed);
        let (sender, incoming) = mpsc::unbounded_channel();
        {
            let mut channels = connection.channels.lock();
            if let Some(why) = &channels.broken {
                return Err(why.clone());
            }
            channels.open.insert(id, sender);
        }
        connection.send(Frame::Open(id, request));
        Ok(RemoteChannel {
            id,
            connection,
            incoming,
            credit: Credit::new(request.window_bytes),
            decoder: BlockDecoder::new(schema),
            decoded: VecDeque::new(),
        })
    }

    async fn connection(&self, address: &str) -> Result<Arc<Connection>, String> {
        let slot = Arc::clone(self.connections.lock().entry(address.to_owned()).or_default());
        let mut slot = slot.lock().await;
        if let Some(connection) = slot.as_ref().filter(|connection| connection.is_usable()) {
            return Ok(Arc::clone(connection));
        }
        let dialling = self.io.spawn(dial(address.to_owned(), self.memory.new_empty(), self.trust.clone()));
        let dialled = dialling.await.map_err(|error| chain(&error))?;
        let connection =
            dialled.map_err(|error| format!("cannot connect to its worker at `{address}`: {error}"))?;
        *slot = Some(Arc::clone(&connection));
        Ok(connection)
    }
}

async fn dial(address: String, memory: MemoryReservation, trust: Trust) -> io::Result<Arc<Connection>> {
    let connecting = timeout(connection::CONNECT_TIMEOUT, trust.connect_data(&address));
    let connected = connecting.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
    match connected.map_err(|error| io::Error::other(chain(&error)))? {
        DataStream::Plain(stream) => {
            let (read, write) = stream.into_split();
            open(address, memory, read, write).await
        }
        DataStream::Tls(stream) => {
            let (read, write) = tokio::io::split(stream);
            open(address, memory, read, write).await
        }
    }
}

async fn open(
    address: String,
    memory: MemoryReservation,
    mut read: impl AsyncRead + Send + Unpin + 'static,
    mut write: impl AsyncWrite + Send + Unpin + 'static,
) -> io::Result<Arc<Connection>> {
    connection::greet(&mut read, &mut write).await?;
    let (outgoing, mut receiver) = mpsc::unbounded_channel();
    let channels = Arc::new(Mutex::new(Channels::default()));
    let frames = stream::poll_fn(move |context| receiver.poll_recv(context));
    // Ends when the connection's last user drops it; the other side then ends the reading side.
    let writing = tokio::spawn(connection::write_frames(write, frames));
    let reading_channels = Arc::clone(&channels);
    tokio::spawn(async move {
        let ended = read_frames(read, &reading_channels, &memory).await;
        writing.abort();
        let why = match ended {
            Ok(()) => format!("its worker at `{address}` closed the connection"),
            Err(error) => format!("the connection to its worker at `{address}` broke: {error}"),
        };
        let mut channels = reading_channels.lock();
        for (_, channel) in channels.open.drain() {
            let _ = channel.send(Incoming::Failed(why.clone()));
        }
        channels.broken = Some(why);
    });
    Ok(Arc::new(Connection { outgoing, channels, next_id: AtomicU32::new(0) }))
}

async fn read_frames(
    read: impl AsyncRead + Unpin,
    channels: &Mutex<Channels>,
    memory: &MemoryReservation,
) -> io::Result<()> {
    let mut read = BufReader::new(read);
    while let Some(frame) = connection::read_frame(&mut read, Role::Consumer).await? {
        let (id, incoming) = match frame {
            Frame::Block(id, bytes) => {
                let held = memory.new_empty();
                held.grow(bytes.len());
                (id, Incoming::Block(bytes, held))
            }
            Frame::Signal(id, signal) => (id, Incoming::Signal(signal)),
            Frame::End(id) => (id, Incoming::End),
            Frame::Failed(id, why) => (id, Incoming::Failed(why)),
            frame => {
                let why = format!("{frame:?} came to a consumer");
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
        };
        // What was under way when a consumer left finds nobody.
        if let Some(channel) = channels.lock().open.get(&id) {
            let _ = channel.send(incoming);
        }
    }
    Ok(())
}

impl Connection {
    fn is_usable(&self) -> bool {
        self.channels.lock().broken.is_none()
    }

    /// A connection that broke tells its channels so by itself.
    fn send(&self, frame: Frame) {
        let _ = self.outgoing.send(frame.into());
    }
}

/// One subpartition of another worker's task.
pub struct RemoteChannel {
    id: ChannelId,
    connection: Arc<Connection>,
    incoming: mpsc::UnboundedReceiver<Incoming>,
    credit: Credit,
    decoder: BlockDecoder,
    decoded: VecDeque<RecordBatch>,
}

impl RemoteChannel {
    /// What comes next and its bytes; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<(Event, usize)>, String> {
        let mut bytes = 0;
        loop {
            if let Some(batch) = self.decoded.pop_front() {
                return Ok(Some((Event::Rows(batch), bytes)));
            }
            self.credit.asked(Instant::now());
            match self.received().await {
                Some(Incoming::Block(block, held)) => {
                    bytes += block.len();
                    let credit = self.credit.taken(block.len(), self.incoming.is_empty(), Instant::now());
                    self.send_credit(credit);
                    self.decoded = self.decoder.decode(block).map_err(|error| chain(&error))?.into();
                    drop(held);
                }
                Some(Incoming::Signal(signal)) => return Ok(Some((Event::Signal(signal), 0))),
                Some(Incoming::End) => return Ok(None),
                Some(Incoming::Failed(why)) => return Err(why),
                None => return Err("the connection to its worker is closed".to_owned()),
            }
        }
    }

    async fn received(&mut self) -> Option<Incoming> {
        if self.credit.is_held_back() && self.incoming.is_empty() {
            if let Ok(incoming) = timeout(HOLD_BACK_MAX, self.incoming.recv()).await {
                return incoming;
            }
            let bytes = self.credit.all();
            self.send_credit(bytes);
        }
        self.incoming.recv().await
    }

    fn send_credit(&self, bytes: u32) {
        if bytes > 0 {
            self.connection.send(Frame::Credit(self.id, bytes));
        }
    }
}

impl Drop for RemoteChannel {
    fn drop(&mut self) {
        self.connection.channels.lock().open.remove(&self.id);
        self.connection.send(Frame::Close(self.id));
    }
}

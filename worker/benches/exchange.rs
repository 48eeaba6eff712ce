//! What moving rows between tasks costs: bytes for each second of CPU time, sender and receiver together.
//!
//! `cargo bench --workspace --bench exchange` prints a line for each way: queues inside a worker, one connection between two, in the clear
//! and by TLS, and shuffle files. CPU time is the process's, so what other threads do for the exchange is in it.

use std::{
    fs::Permissions,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use arrow::{
    array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray},
    datatypes::SchemaRef,
};
use datafusion::{
    execution::{
        TaskContext,
        memory_pool::{MemoryPool, UnboundedMemoryPool},
    },
    physical_expr::expressions::col,
};
use futures::StreamExt as _;
use thalweg_graph::{
    Attempt, EdgeId, JobId, SubtaskId, VertexId, WorkerId,
    exchange::{
        ExchangeKind, InputGate, Partitioning, ResultPartitionDescriptor, ResultPartitionId,
        ResultPartitionLocation,
    },
};
use thalweg_plan::exec::{Channel, OpenExchange as _, codec};
use thalweg_rpc::Trust;
use thalweg_worker::{
    counters::TaskCounters,
    exchange::{
        self, Exchange, block::batch_bytes, data_client::DataClient, data_server::DataServer,
        input_gate::InputGates, partition_store::PartitionStore, result_partition::ResultPartition,
    },
};
use tokio::{net::TcpListener, runtime::Handle, task::JoinSet};

const ROWS: usize = 8192;
const BATCHES: usize = 64;
const ROUNDS: usize = 20;
const CONSUMERS: u32 = 4;
const EDGE: EdgeId = EdgeId(0);
const JOB: JobId = JobId(1);

/// Columns as a fact table has them: three numbers, a decimal, a short text.
fn batches() -> Vec<RecordBatch> {
    let numbers = |step: i64, from: i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values((0..ROWS as i64).map(|row| (from + row) * step)))
    };
    let batch = |number: usize| {
        let from = (number * ROWS) as i64;
        let texts = (0..ROWS).map(|row| format!("text {row}"));
        let price = Decimal128Array::from_iter_values((0..ROWS as i128).map(|row| row * 100));
        RecordBatch::try_from_iter([
            ("key", numbers(1, from)),
            ("part", numbers(7, from)),
            ("quantity", numbers(13, from)),
            ("price", Arc::new(price) as ArrayRef),
            ("comment", Arc::new(StringArray::from_iter_values(texts))),
        ])
        .expect("columns of one length")
    };
    (0..BATCHES).map(batch).collect()
}

/// By a certificate that vouches for itself.
fn by_tls(folder: &Path) -> Trust {
    let generated = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a name");
    let file = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("a writable folder");
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("it is ours");
        path.display().to_string()
    };
    let certificate = file("certificate.pem", generated.cert.pem());
    let key = file("key.pem", generated.signing_key.serialize_pem());
    let options = [
        ("security.ssl.enabled", "true"),
        ("security.ssl.ca", &certificate),
        ("security.ssl.certificate", &certificate),
        ("security.ssl.key", &key),
    ];
    Trust::from_options(&options.into_iter().collect()).expect("a certificate and its key")
}

/// Serves what a worker's tasks write; where.
async fn served(exchange: &Exchange, trust: Trust) -> (DataServer, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    (DataServer::start(listener, Arc::clone(&exchange.store), Handle::current(), trust), address)
}

fn exchange_of(name: &str, folder: &tempfile::TempDir, trust: Trust) -> Arc<Exchange> {
    let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
    let memory = exchange::reservation(&pool);
    let store = Arc::new(PartitionStore::default());
    store.open_job(JOB);
    Arc::new(Exchange {
        worker: WorkerId(name.to_owned()),
        store,
        client: DataClient::new(Handle::current(), memory.new_empty(), trust),
        shuffle_dirs: vec![folder.path().to_owned()],
        memory,
    })
}

struct Run {
    producer: Arc<Exchange>,
    consumer: Arc<Exchange>,
    address: String,
    kind: ExchangeKind,
    attempt: u32,
}

impl Run {
    async fn produce(&self, output: ResultPartition, batches: &[RecordBatch]) {
        let output = Arc::new(output);
        let mut writer = output.writer(&TaskContext::default()).expect("a hash of a column");
        for batch in batches.iter().cycle().take(BATCHES * ROUNDS) {
            writer.write(batch.clone()).await.expect("consumers live");
        }
        writer.flush().await.expect("consumers live");
        drop(writer);
        Arc::into_inner(output).expect("the writer is gone").finish().expect("the disk has room");
    }

    fn output(&self, schema: &SchemaRef) -> ResultPartition {
        let key =
            codec::encode_expr(&col("key", schema).expect("a column")).expect("a column can be encoded");
        let descriptor = ResultPartitionDescriptor {
            id: self.id(),
            partitioning: Partitioning::Hash { expressions: vec![key], display: "key".to_owned() },
            kind: self.kind,
            subpartitions: CONSUMERS,
        };
        let counters = Arc::new(TaskCounters::default());
        ResultPartition::create(&descriptor, schema, &self.producer, &counters).expect("the job is open")
    }

    fn id(&self) -> ResultPartitionId {
        let subtask = SubtaskId { vertex: VertexId(0), index: 0 };
        ResultPartitionId { producer: Attempt { job: JOB, subtask, number: self.attempt }, edge: EDGE }
    }

    fn consume(&self, schema: &SchemaRef) -> JoinSet<usize> {
        let mut consumers = JoinSet::new();
        for subpartition in 0..CONSUMERS {
            let location = ResultPartitionLocation {
                id: self.id(),
                worker: self.producer.worker.clone(),
                data_address: self.address.clone(),
            };
            let producers = [location].into_iter().collect();
            let gates = InputGates {
                gates: vec![InputGate { edge: EDGE, kind: self.kind, subpartition, producers }],
                exchange: Arc::clone(&self.consumer),
                counters: Arc::default(),
            };
            let mut rows = gates.open(EDGE, Channel::All, Arc::clone(schema)).expect("the gate exists");
            consumers.spawn(async move {
                let mut count = 0;
                while let Some(batch) = rows.next().await {
                    count += batch.expect("the producer lives").num_rows();
                }
                count
            });
        }
        consumers
    }

    async fn run(self, batches: &[RecordBatch]) {
        let schema = batches[0].schema();
        let output = self.output(&schema);
        let consumers = match self.kind {
            ExchangeKind::Pipelined => {
                let consumers = self.consume(&schema);
                self.produce(output, batches).await;
                consumers
            }
            ExchangeKind::Blocking => {
                self.produce(output, batches).await;
                self.consume(&schema)
            }
        };
        let rows: usize = consumers.join_all().await.into_iter().sum();
        assert_eq!(rows, ROWS * BATCHES * ROUNDS);
    }
}

/// CPU time of the process so far.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields = stat.rsplit(')').next().expect("a command in parentheses").split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).map(|field| field.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 10)
}

#[tokio::main]
async fn main() {
    let batches = batches();
    let bytes = batches.iter().map(batch_bytes).sum::<usize>() * ROUNDS;
    let rows = ROWS * BATCHES * ROUNDS;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tls = by_tls(folder.path());
    let here = exchange_of("here", &folder, Trust::default());
    let there = exchange_of("there", &folder, Trust::default());
    let far = exchange_of("far", &folder, tls.clone());
    let (_server, address) = served(&here, Trust::default()).await;
    let (_tls_server, tls_address) = served(&here, tls).await;
    let ways = [
        ("queues in one worker", &here, &address, ExchangeKind::Pipelined),
        ("a connection between two", &there, &address, ExchangeKind::Pipelined),
        ("the same by TLS", &far, &tls_address, ExchangeKind::Pipelined),
        ("shuffle files in one worker", &here, &address, ExchangeKind::Blocking),
        ("shuffle files of another", &there, &address, ExchangeKind::Blocking),
        ("the same by TLS", &far, &tls_address, ExchangeKind::Blocking),
    ];
    let mut out = std::io::stdout();
    for (attempt, (name, consumer, address, kind)) in (0..).zip(ways) {
        let run = Run {
            producer: Arc::clone(&here),
            consumer: Arc::clone(consumer),
            address: address.clone(),
            kind,
            attempt,
        };
        let (start, cpu) = (Instant::now(), cpu_time());
        run.run(&batches).await;
        let (wall, cpu) = (start.elapsed().as_secs_f64(), (cpu_time() - cpu).as_secs_f64());
        let (gigabytes, ns) = (bytes as f64 / 1e9, cpu * 1e9 / rows as f64);
        writeln!(
            out,
            "{name:<28} {gigabytes:>5.2} GB  {wall:>6.2} s  {:>6.2} GB/s per core  {ns:>5.0} ns/row",
            gigabytes / cpu
        )
        .expect("stdout is open");
    }
}

//! Options: a flat, ordered map of text to text, as `-D key=value`, `SET` and `config.yaml` give them, and the options that
//! the engine knows, each with its type and default. Names are Flink's where Flink has one.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::job_queues::JobQueues;

/// The environment variable with options for a process, `key=value` in lines, below those of its command line. For secrets: arguments are
/// shown to every user of a host.
pub const ENVIRONMENT: &str = "THALWEG_OPTIONS";

/// Options as given, by name. Values are validated when they are set (see [`check`]) and read through a [`Key`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Options(pub BTreeMap<String, String>);

/// A value that an option cannot take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("option `{key}` cannot be `{value}`: expected {expected}")]
pub struct InvalidValue {
    /// The option.
    pub key: String,
    /// What was given.
    pub value: String,
    /// What it takes, in words.
    pub expected: String,
}

/// A type that option values are read as.
pub trait Value: Sized {
    /// What it looks like, in words.
    const EXPECTED: &'static str;
    /// Reads it; `None` if the text is not one.
    fn parse(text: &str) -> Option<Self>;
}

impl Value for String {
    const EXPECTED: &'static str = "text";
    fn parse(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl Value for bool {
    const EXPECTED: &'static str = "`true` or `false`";
    fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }
}

impl Value for u32 {
    const EXPECTED: &'static str = "a whole number from 0 to 4294967295";
    fn parse(text: &str) -> Option<Self> {
        text.trim().parse().ok()
    }
}

impl Value for i32 {
    const EXPECTED: &'static str = "a whole number from -2147483648 to 2147483647";
    fn parse(text: &str) -> Option<Self> {
        text.trim().parse().ok()
    }
}

impl Value for u64 {
    const EXPECTED: &'static str = "a whole number";
    fn parse(text: &str) -> Option<Self> {
        text.trim().parse().ok()
    }
}

impl Value for f64 {
    const EXPECTED: &'static str = "a number";
    fn parse(text: &str) -> Option<Self> {
        text.trim().parse().ok().filter(|number: &f64| number.is_finite())
    }
}

impl Value for Duration {
    const EXPECTED: &'static str = "a duration such as `500 ms`, `10 s`, `5 min`, `1 h`, `2 d`";
    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = number_and_unit(text)?;
        let ms = match unit.as_str() {
            "ns" | "nano" | "nanos" | "nanosecond" | "nanoseconds" => {
                return Some(Duration::from_nanos(number));
            }
            "us" | "µs" | "micro" | "micros" | "microsecond" | "microseconds" => {
                return Some(Duration::from_micros(number));
            }
            "" | "ms" | "milli" | "millis" | "millisecond" | "milliseconds" => 1,
            "s" | "sec" | "secs" | "second" | "seconds" => 1_000,
            "m" | "min" | "mins" | "minute" | "minutes" => 60_000,
            "h" | "hour" | "hours" => 3_600_000,
            "d" | "day" | "days" => 86_400_000,
            _ => return None,
        };
        number.checked_mul(ms).map(Duration::from_millis)
    }
}

/// A size in bytes: `64kb`, `128MB`, `4 gb`, `1g`; a bare number is bytes. Units are powers of 1024, as in Flink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemorySize(pub u64);

impl Value for MemorySize {
    const EXPECTED: &'static str = "a size such as `64kb`, `128mb`, `4gb`";
    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = number_and_unit(text)?;
        let shift = match unit.as_str() {
            "" | "b" | "bytes" => 0,
            "k" | "kb" | "kib" | "kibibytes" => 10,
            "m" | "mb" | "mib" | "mebibytes" => 20,
            "g" | "gb" | "gib" | "gibibytes" => 30,
            "t" | "tb" | "tib" | "tebibytes" => 40,
            _ => return None,
        };
        number.checked_mul(1 << shift).map(MemorySize)
    }
}

/// Where a stream's operators keep their state. Flink's names for such are taken too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateBackend {
    /// In memory.
    Memory,
    /// In memory as far as there is room, the rest in an LSM tree on the local disk, where the operator can.
    Lsm,
}

impl Value for StateBackend {
    const EXPECTED: &'static str = "`memory` or `lsm`";
    fn parse(text: &str) -> Option<Self> {
        match text.trim().to_ascii_lowercase().as_str() {
            "memory" | "hashmap" => Some(StateBackend::Memory),
            "lsm" | "rocksdb" => Some(StateBackend::Lsm),
            _ => None,
        }
    }
}

impl Value for JobQueues {
    const EXPECTED: &'static str =
        "queues with what their jobs may have together, such as `etl: slots=10, jobs=2; adhoc: slots=4`";
    fn parse(text: &str) -> Option<Self> {
        JobQueues::parse(text)
    }
}

/// Who must show a certificate where the cluster's ports speak TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// Nobody.
    None,
    /// The cluster's own processes.
    Cluster,
    /// Callers of REST, too.
    All,
}

impl Value for ClientAuthentication {
    const EXPECTED: &'static str = "`none`, `cluster` or `all`";
    fn parse(text: &str) -> Option<Self> {
        match text.trim().to_ascii_lowercase().as_str() {
            "none" => Some(ClientAuthentication::None),
            "cluster" => Some(ClientAuthentication::Cluster),
            "all" => Some(ClientAuthentication::All),
            _ => None,
        }
    }
}

/// Where rows of an aggregation without windows are gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AggPhaseStrategy {
    /// Where that is best.
    Auto,
    /// Behind the exchange by key.
    OnePhase,
    /// Before the exchange by key.
    TwoPhase,
}

impl Value for AggPhaseStrategy {
    const EXPECTED: &'static str = "`AUTO`, `ONE_PHASE` or `TWO_PHASE`";
    fn parse(text: &str) -> Option<Self> {
        match text.trim().to_ascii_uppercase().as_str() {
            "AUTO" => Some(AggPhaseStrategy::Auto),
            "ONE_PHASE" => Some(AggPhaseStrategy::OnePhase),
            "TWO_PHASE" => Some(AggPhaseStrategy::TwoPhase),
            _ => None,
        }
    }
}

fn number_and_unit(text: &str) -> Option<(u64, String)> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    Some((text[..digits].parse().ok()?, text[digits..].trim().to_lowercase()))
}

/// An option that the engine reads.
#[derive(Debug, Clone, Copy)]
pub struct Key<T> {
    /// Its name.
    pub name: &'static str,
    /// What holds where it is not given; empty text for an option without a default.
    pub default: &'static str,
    /// What it does, for `docs/configuration.md`.
    pub doc: &'static str,
    parse: fn(&str) -> Option<T>,
}

impl Options {
    /// The value of an option, its default where not given.
    pub fn get<T: Value>(&self, key: &Key<T>) -> Result<T, InvalidValue> {
        let text = self.0.get(key.name).map_or(key.default, String::as_str);
        (key.parse)(text).ok_or_else(|| invalid::<T>(key.name, text))
    }

    /// The value of an option that may be absent.
    pub fn get_optional<T: Value>(&self, key: &Key<T>) -> Result<Option<T>, InvalidValue> {
        let Some(text) = self.0.get(key.name) else { return Ok(None) };
        (key.parse)(text).map(Some).ok_or_else(|| invalid::<T>(key.name, text))
    }

    /// These without the operator's own, `security.*`, and without a client's token: what sessions and jobs may see of a process's options.
    pub fn of_jobs(&self) -> Options {
        let options = self.0.iter().filter(|(name, _)| !is_operators(name));
        Options(options.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// The folders for temporary files, in order; empty for the system's.
    pub fn tmp_dirs(&self) -> Result<Vec<PathBuf>, InvalidValue> {
        let folders: String = self.get(&TMP_DIRS)?;
        let folders = folders.split(',').map(str::trim).filter(|folder| !folder.is_empty());
        Ok(folders.map(PathBuf::from).collect())
    }

    /// These options, overridden by `other`'s.
    pub fn overridden_by(&self, other: &Options) -> Options {
        let mut merged = self.clone();
        merged.0.extend(other.0.iter().map(|(key, value)| (key.clone(), value.clone())));
        merged
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Options {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Options(pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

/// Whether an option is the operator's alone: it holds for a process, and no session or job sets or sees it.
pub fn is_operators(name: &str) -> bool {
    name.starts_with("security.") || name.starts_with("rest.token")
}

fn invalid<T: Value>(key: &str, value: &str) -> InvalidValue {
    InvalidValue { key: key.to_owned(), value: value.to_owned(), expected: T::EXPECTED.to_owned() }
}

/// A known option without its type: for checking, listing and documenting.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// Its name.
    pub name: &'static str,
    /// Its default; empty where there is none.
    pub default: &'static str,
    /// What it does.
    pub doc: &'static str,
    check: fn(&str) -> Option<&'static str>,
}

/// Checks a value for an option that the engine knows. `Ok(false)`: the name is not known (a warning, not an error: scripts
/// written for Flink set many options that have no meaning here).
pub fn check(name: &str, value: &str) -> Result<bool, InvalidValue> {
    let Some(known) = KNOWN.iter().find(|known| known.name == name) else { return Ok(false) };
    match (known.check)(value) {
        None => Ok(true),
        Some(expected) => {
            Err(InvalidValue { key: name.to_owned(), value: value.to_owned(), expected: expected.to_owned() })
        }
    }
}

/// The known option whose name is nearest to `name`, for "did you mean"; `None` if none is near.
pub fn nearest(name: &str) -> Option<&'static str> {
    crate::table::nearest(name, KNOWN.iter().map(|known| known.name))
}

macro_rules! keys {
    ($($(#[doc = $doc:literal])+ $ident:ident: $type:ty = $name:literal, $default:literal;)*) => {
        $($(#[doc = $doc])+ pub const $ident: Key<$type> =
            Key { name: $name, default: $default, doc: concat!($($doc),+), parse: <$type as Value>::parse };)*

        /// Every option that the engine knows, by name.
        pub const KNOWN: &[Known] = &[$(Known {
            name: $name,
            default: $default,
            doc: concat!($($doc),+),
            check: |text| match <$type as Value>::parse(text) {
                Some(_) => None,
                None => Some(<$type as Value>::EXPECTED),
            },
        }),*];
    };
}

keys! {
    /// Subtasks of a vertex where nothing else is said. In embedded mode 0 means the number of cores.
    PARALLELISM_DEFAULT: u32 = "parallelism.default", "0";
    /// `AUTOMATIC`, `BATCH` or `STREAMING`. Automatic is batch when every source is bounded.
    RUNTIME_MODE: String = "execution.runtime-mode", "AUTOMATIC";
    /// How batch vertices exchange data: `ALL_EXCHANGES_PIPELINED`, `ALL_EXCHANGES_BLOCKING`, or `AUTOMATIC`, which takes blocking
    /// where the estimated bytes pass `execution.batch.pipelined-threshold`. Where several places of a query read the same vertex, its edges are
    /// always blocking.
    BATCH_SHUFFLE_MODE: String = "execution.batch-shuffle-mode", "AUTOMATIC";
    /// Largest estimated size of an exchange that `AUTOMATIC` leaves pipelined.
    PIPELINED_THRESHOLD: MemorySize = "execution.batch.pipelined-threshold", "256mb";
    /// How long a batch waits to be filled before it is sent.
    BUFFER_TIMEOUT: Duration = "execution.buffer-timeout", "100 ms";
    /// How often a source says at most how far event time has come; with 0 behind every batch of rows.
    WATERMARK_INTERVAL: Duration = "pipeline.auto-watermark-interval", "10 ms";
    /// After how long without rows a split of a source is idle: event time does not wait for it until rows come again. With 0 never.
    SOURCE_IDLE_TIMEOUT: Duration = "table.exec.source.idle-timeout", "0 ms";
    /// Most rows that each subtask of a stream's source gives in a second; with 0 as many as there are. For a job that is to spare what it
    /// reads, or what it writes to.
    SOURCE_RATE: u64 = "table.exec.source.rows-per-second", "0";
    /// How many key groups the keys of a stream are divided into: the most subtasks that a vertex with state can ever have. A job
    /// that goes on from a savepoint keeps the number it began with.
    MAX_PARALLELISM: u32 = "pipeline.max-parallelism", "128";
    /// Where the operators of a stream keep their state: `memory`, or `lsm`, which keeps in memory what was asked for lately and the rest on the
    /// worker's disk: of aggregations, joins, Top-N and the last rows of keys. Flink's `hashmap` and `rocksdb` are taken for these.
    STATE_BACKEND: StateBackend = "state.backend.type", "memory";
    /// After how long without a change what an aggregation, a join or a Top-N without windows keeps of a key is forgotten; with 0 never.
    STATE_TTL: Duration = "table.exec.state.ttl", "0 ms";
    /// Whether aggregations without windows gather rows and put their results out less often: per key one change for many rows.
    MINI_BATCH: bool = "table.exec.mini-batch.enabled", "false";
    /// For how long rows are gathered at most.
    MINI_BATCH_LATENCY: Duration = "table.exec.mini-batch.allow-latency", "500 ms";
    /// How many rows are gathered at most.
    MINI_BATCH_SIZE: u64 = "table.exec.mini-batch.size", "1000000";
    /// Where rows are gathered: `ONE_PHASE` behind the exchange by key; `TWO_PHASE` and `AUTO` before it, so that what is exchanged is an aggregate of many
    /// rows.
    AGG_PHASE_STRATEGY: AggPhaseStrategy = "table.optimizer.agg-phase-strategy", "AUTO";
    /// How often a checkpoint of a stream is begun; with 0 never.
    CHECKPOINT_INTERVAL: Duration = "execution.checkpointing.interval", "0 ms";
    /// The least time from the end of a checkpoint to the beginning of the next.
    CHECKPOINT_MIN_PAUSE: Duration = "execution.checkpointing.min-pause", "0 ms";
    /// How long a checkpoint may take before it is given up.
    CHECKPOINT_TIMEOUT: Duration = "execution.checkpointing.timeout", "10 min";
    /// How many checkpoints in a row may fail before the job is restarted.
    CHECKPOINT_TOLERABLE_FAILURES: u32 = "execution.checkpointing.tolerable-failed-checkpoints", "0";
    /// How many complete checkpoints are kept: if the newest is damaged, the job goes on from the one before.
    CHECKPOINTS_RETAINED: u32 = "execution.checkpointing.num-retained", "1";
    /// The folder of checkpoints, as a URL that all workers can reach. Embedded the temporary folder where nothing else is said; a cluster
    /// needs it as soon as checkpoints are taken.
    CHECKPOINT_DIR: String = "execution.checkpointing.dir", "";
    /// The folder in which savepoints get a folder of their own where none is named.
    SAVEPOINT_DIR: String = "execution.checkpointing.savepoint-dir", "";
    /// What becomes of a job's checkpoints when it ends other than by finishing: `NO_EXTERNALIZED_CHECKPOINTS` and `DELETE_ON_CANCELLATION` remove them,
    /// `RETAIN_ON_CANCELLATION` keeps the newest.
    CHECKPOINT_RETENTION: String = "execution.checkpointing.externalized-checkpoint-retention", "NO_EXTERNALIZED_CHECKPOINTS";
    /// The checkpoint or savepoint from which a job goes on: its folder or its `_metadata`.
    RECOVERY_PATH: String = "execution.state-recovery.path", "";
    /// Whether a job may go on from a savepoint that has state for which it has no operator.
    RECOVERY_IGNORE_UNCLAIMED: bool = "execution.state-recovery.ignore-unclaimed-state", "false";
    /// The name of the job; by default its statement's text, shortened.
    PIPELINE_NAME: String = "pipeline.name", "";
    /// Whether `INSERT` waits for its job to end before the next statement is run.
    DML_SYNC: bool = "table.dml-sync", "true";
    /// The time zone of `TIMESTAMP_LTZ` and of the functions of the current time, by IANA name or as an offset.
    LOCAL_TIME_ZONE: String = "table.local-time-zone", "default";
    /// Largest estimated size of a join side that is broadcast.
    BROADCAST_THRESHOLD: MemorySize = "table.optimizer.join.broadcast-threshold", "16mb";
    /// What becomes of a NULL that an `INSERT` brings for a `NOT NULL` column: `ERROR` ends the job, `DROP` leaves the row out.
    NOT_NULL_ENFORCER: String = "table.exec.sink.not-null-enforcer", "ERROR";
    /// The table that a stream puts rows into that come too late for its windows and joins: operator, event time, watermark and the row as
    /// JSON, in four columns. By default they are only counted.
    LATE_ROWS_TABLE: String = "table.exec.late-rows.table", "";
    /// Bytes of a file that one split covers at most; rounded to row groups and blocks.
    SPLIT_MAX_SIZE: MemorySize = "table.exec.source.split-max-size", "128mb";
    /// How long a process repeats a call to an HDFS that does not answer before the query or job fails.
    HDFS_RETRY_TIMEOUT: Duration = "fs.hdfs.retry-timeout", "1 min";
    /// Slots that a worker offers.
    TASK_SLOTS: u32 = "taskmanager.numberOfTaskSlots", "1";
    /// All the memory that a worker may use: operators, exchange and shuffle draw from it and spill when it is used up.
    PROCESS_MEMORY: MemorySize = "taskmanager.memory.process.size", "1728mb";
    /// Folder (several separated by commas) for spilled data and shuffle files; by default the system's temporary folder.
    TMP_DIRS: String = "io.tmp.dirs", "";
    /// The host name that a worker gives to others and by which data locality is matched; by default the machine's.
    WORKER_HOST: String = "taskmanager.host", "";
    /// The address that a worker's data port binds. One that others can reach needs `security.cluster.secret-file`.
    WORKER_BIND_HOST: String = "taskmanager.bind-host", "127.0.0.1";
    /// A worker's data port; 0 picks a free one.
    WORKER_DATA_PORT: u32 = "taskmanager.data.port", "0";
    /// The host at which clients and workers find the JobManager.
    REST_ADDRESS: String = "rest.address", "127.0.0.1";
    /// The control port: REST, web and internal calls.
    REST_PORT: u32 = "rest.port", "8081";
    /// A client's token, by which it comes in from another host. Better in a file: see `rest.token-file`; or in the variable THALWEG_TOKEN.
    REST_TOKEN: String = "rest.token", "";
    /// The file with a client's token.
    REST_TOKEN_FILE: String = "rest.token-file", "";
    /// Whether callers on the JobManager's own host must have a token, too. To be set where they are not all trusted, or where a proxy there lets others in.
    LOOPBACK_LOGIN: bool = "security.rest.loopback-login", "false";
    /// The address that the control port binds. One that others can reach needs `security.cluster.secret-file`; callers from there need a token.
    REST_BIND_ADDRESS: String = "rest.bind-address", "127.0.0.1";
    /// What the cluster's processes prove themselves by to each other: a text of at least 16 characters, the same for all. Better in a file: see `security.cluster.secret-file`.
    CLUSTER_SECRET: String = "security.cluster.secret", "";
    /// The file with the cluster's secret, readable by the cluster's user only.
    CLUSTER_SECRET_FILE: String = "security.cluster.secret-file", "";
    /// Whether the control port and the data ports speak TLS, and nothing else. The same for all processes and clients of a cluster; a client may also say `https://` in its address.
    SSL_ENABLED: bool = "security.ssl.enabled", "false";
    /// A PEM file with the process's certificate, behind it those that vouch for it. It is shown by who is called and by who calls. JobManagers and workers need one, clients where they are asked.
    SSL_CERTIFICATE: String = "security.ssl.certificate", "";
    /// The PEM file with the certificate's key, readable by the cluster's user only.
    SSL_KEY: String = "security.ssl.key", "";
    /// A PEM file with the certificates of the authorities that are believed. One for the cluster alone is best: whoever has a certificate of it passes.
    SSL_CA: String = "security.ssl.ca", "";
    /// Whether a certificate must name the host or the IP address that was dialled. Off, every certificate of the authorities is good for every host.
    SSL_VERIFY_HOSTNAME: bool = "security.ssl.verify-hostname", "true";
    /// Who must show a certificate of the authorities to be let in: `none`; `cluster`, JobManagers and workers to each other; `all`, callers of REST, too.
    SSL_CLIENT_AUTHENTICATION: ClientAuthentication = "security.ssl.client-authentication", "none";
    /// What submitted jobs may name on file systems: prefixes separated by commas, such as `hdfs://nn:8020/data, /srv/shared`; `/` is all of the local file system, `hdfs://` every HDFS. Checkpoints and savepoints may also be below the folders that the configuration names. By default everything, for JobManagers that only their own host reaches.
    PATHS_ALLOW: String = "security.paths.allow", "";
    /// The JobManager's audit log: a line of JSON for each call that changes something or was refused, with who and where from. By default none is kept.
    AUDIT_PATH: String = "security.audit.path", "";
    /// Size at which the audit log's file is renamed to `<path>.1`, that one to `<path>.2`, and so on.
    AUDIT_MAX_SIZE: MemorySize = "security.audit.max-size", "64mb";
    /// How many files of the audit log are kept, with the newest.
    AUDIT_MAX_FILES: u32 = "security.audit.max-files", "10";
    /// `raft` for a JobManager of a quorum, or one that is to go on where it stood after its own end; `none` keeps nothing.
    HA_TYPE: String = "high-availability.type", "none";
    /// Of a quorum: the JobManager's own number, from 1, which it keeps for life.
    HA_MEMBER: u32 = "high-availability.raft.member", "1";
    /// Of a quorum: its first members, `number@host:port` of their control ports, separated by commas; also where workers and clients look for the leader. One that is to be added to a quorum has none.
    HA_MEMBERS: String = "high-availability.raft.members", "";
    /// Of a quorum: the JobManager's own folder on a local disk, where its log and snapshots are.
    HA_DIR: String = "high-availability.raft.dir", "";
    /// Of a quorum: silence of the leader behind which the others elect another one. Longer where disks or networks are slow; a leader change costs no job anything.
    HA_ELECTION_TIMEOUT: Duration = "high-availability.raft.election-timeout", "500 ms";
    /// Time between heartbeats.
    HEARTBEAT_INTERVAL: Duration = "heartbeat.interval", "2 s";
    /// Silence after which the other side counts as lost.
    HEARTBEAT_TIMEOUT: Duration = "heartbeat.timeout", "10 s";
    /// How long a job waits for slots before it fails.
    SLOT_REQUEST_TIMEOUT: Duration = "slot.request.timeout", "5 min";
    /// `fixed-delay`, `failure-rate`, `exponential-delay` or `none`.
    RESTART_STRATEGY: String = "restart-strategy.type", "exponential-delay";
    /// Restarts that `fixed-delay` allows.
    FIXED_DELAY_ATTEMPTS: u32 = "restart-strategy.fixed-delay.attempts", "3";
    /// Time before each restart of `fixed-delay`.
    FIXED_DELAY_DELAY: Duration = "restart-strategy.fixed-delay.delay", "1 s";
    /// Failures in the interval that `failure-rate` allows.
    FAILURE_RATE_MAX: u32 = "restart-strategy.failure-rate.max-failures-per-interval", "3";
    /// The interval of `failure-rate`.
    FAILURE_RATE_INTERVAL: Duration = "restart-strategy.failure-rate.failure-rate-interval", "1 min";
    /// Time before each restart of `failure-rate`.
    FAILURE_RATE_DELAY: Duration = "restart-strategy.failure-rate.delay", "1 s";
    /// First delay of `exponential-delay`.
    EXPONENTIAL_INITIAL: Duration = "restart-strategy.exponential-delay.initial-backoff", "200 ms";
    /// Largest delay of `exponential-delay`.
    EXPONENTIAL_MAX: Duration = "restart-strategy.exponential-delay.max-backoff", "1 min";
    /// Factor between two delays of `exponential-delay`.
    EXPONENTIAL_MULTIPLIER: f64 = "restart-strategy.exponential-delay.backoff-multiplier", "1.5";
    /// Restarts that `exponential-delay` allows before the job fails.
    EXPONENTIAL_ATTEMPTS: u32 = "restart-strategy.exponential-delay.attempts-before-reset-backoff", "10";
    /// Whether artifacts may be uploaded and run over REST, at `/jars`.
    SUBMIT_ENABLE: bool = "web.submit.enable", "true";
    /// The folder of uploaded artifacts. By default one in the temporary folder, which goes with the JobManager's process.
    UPLOAD_DIR: String = "web.upload.dir", "";
    /// Largest artifact that is taken.
    UPLOAD_MAX_SIZE: MemorySize = "web.upload.max-size", "16mb";
    /// Most bytes of all artifacts together.
    UPLOAD_MAX_TOTAL_SIZE: MemorySize = "web.upload.max-total-size", "1gb";
    /// Most artifacts.
    UPLOAD_MAX_FILES: u32 = "web.upload.max-files", "200";
    /// Failures that the REST answer about exceptions keeps.
    EXCEPTION_HISTORY: u32 = "web.exception-history-size", "16";
    /// Finished jobs that the JobManager keeps in memory.
    JOB_STORE_MAX: u32 = "jobstore.max-capacity", "1000";
    /// The folder, as a URL, to which jobs that have ended are written: every leader of a quorum reads it, and so does the next cluster. Without one, they are gone with the JobManager's memory of them.
    ARCHIVE_DIR: String = "jobmanager.archive.fs.dir", "";
    /// Jobs that are kept there at the least; older ones go.
    ARCHIVE_RETAINED_JOBS: u32 = "historyserver.archive.retained-jobs", "10000";
    /// Queues that jobs may name by `scheduler.queue`, and how many slots and running jobs those of one may have together: `etl: slots=10, jobs=2; adhoc: slots=4`. The queue `default` is always there.
    JOB_QUEUES: JobQueues = "scheduler.queues", "";
    /// The queue that a job belongs to.
    JOB_QUEUE: String = "scheduler.queue", "default";
    /// Jobs of a higher priority come to free slots first.
    JOB_PRIORITY: i32 = "scheduler.priority", "0";
    /// Jobs that may wait or run at once; a script that comes when there are so many is refused, and can be sent again later.
    OPEN_JOBS_MAX: u32 = "jobmanager.open-jobs.max", "10000";
    /// How long an unread result is kept. A query without an end whose rows nobody has read for so long is cancelled.
    RESULT_TTL: Duration = "sql-gateway.operation.idle-timeout", "5 min";
    /// How results are shown: `changelog` shows the changes of every stream as they come, `tableau` only those of one without an end, `table` draws what they add up to.
    RESULT_MODE: String = "sql-client.execution.result-mode", "tableau";
    /// Most rows that the shell prints; 0 is all.
    RESULT_MAX_ROWS: u64 = "sql-client.execution.max-table-result.rows", "1000000";
    /// Where the shell cuts the columns of a result.
    COLUMN_WIDTH_MAX: u32 = "sql-client.display.max-column-width", "30";
    /// Whether the shell prints whole error chains.
    VERBOSE: bool = "sql-client.verbose", "false";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_value_of_its_option() {
        for known in KNOWN {
            assert_eq!(check(known.name, known.default), Ok(true), "{}", known.name);
        }
    }

    #[test]
    fn durations_and_sizes_take_flinks_units() {
        assert_eq!(Duration::parse("5 min"), Some(Duration::from_secs(300)));
        assert_eq!(Duration::parse("250"), Some(Duration::from_millis(250)));
        assert_eq!(Duration::parse("min"), None);
        assert_eq!(MemorySize::parse("128 MB"), Some(MemorySize(128 << 20)));
        assert_eq!(MemorySize::parse("99999999999999 tb"), None);
    }

    #[test]
    fn a_wrong_value_says_what_is_expected() {
        let options: Options = [("rest.port", "http")].into_iter().collect();
        let error = options.get(&REST_PORT).unwrap_err();
        assert_eq!(
            error.to_string(),
            "option `rest.port` cannot be `http`: expected a whole number from 0 to 4294967295"
        );
        assert_eq!(nearest("rest.prot"), Some("rest.port"));
    }
}

//! Kills workers at random moments of running jobs and checks that nobody could tell from the outcome: a query gives the right
//! answer, an `INSERT` leaves exactly the right files, and rows that are other ones each time they are made are each counted once.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use arrow::array::RecordBatch;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use thalweg::{Client, Execution};
use thalweg_graph::Options;
use thalweg_plan::Session;

use crate::{
    processes::{Cluster, ClusterConfig},
    tpch::{Scale, create_tables},
    tpch_check::check_rows,
    tpch_data,
};

/// Workers of the cluster. Two of them have the slots that a job needs.
pub const WORKERS: usize = 3;
/// Slots of each worker.
pub const SLOTS: u32 = 2;
const PARALLELISM: u32 = 4;
/// Queries that run long enough to be hit: joins of six tables, a vertex that two others read, a large aggregate, a triple read of
/// `lineitem`.
const QUERIES: [u32; 4] = [9, 15, 18, 21];
/// Kinds of jobs, in turn.
const JOBS: usize = 3;
/// Time for a job to recover and end.
const JOB_TIMEOUT: Duration = Duration::from_secs(120);

/// What to do.
#[derive(Debug, Clone, Copy)]
pub struct Drill {
    /// The data.
    pub scale: Scale,
    /// How many kills.
    pub kills: u32,
    /// Where the random moments come from.
    pub seed: u64,
}

/// One kill and what came of it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Kill {
    /// What ran: `q9`, `insert` or `random`.
    pub job: String,
    /// How its vertices exchanged data.
    pub exchange: String,
    /// Which worker was killed.
    pub worker: usize,
    /// When, after the submission.
    pub after_ms: u64,
    /// How long the job took in all.
    pub total_ms: u64,
    /// How long it takes undisturbed.
    pub undisturbed_ms: u64,
}

/// Runs a drill; the error says which kill it was.
pub async fn run(config: ClusterConfig, drill: Drill, mut report: impl FnMut(&Kill)) -> Result<Vec<Kill>> {
    let cluster = Cluster::start(config).await?;
    let outputs = tempfile::Builder::new().prefix("thalweg-drill-").tempdir()?;
    let mut random = StdRng::seed_from_u64(drill.seed);
    let mut kills = Vec::new();
    for number in 0..drill.kills {
        let exchange = ["ALL_EXCHANGES_PIPELINED", "ALL_EXCHANGES_BLOCKING"][number as usize / JOBS % 2];
        let mut target = Target {
            client: client(&cluster, drill.scale, exchange).await?,
            scale: drill.scale,
            outputs: outputs.path().to_owned(),
        };
        let job = match number as usize % JOBS {
            0 => Job::Query(QUERIES[number as usize / JOBS % QUERIES.len()]),
            1 => Job::Insert,
            _ => Job::Random,
        };
        let before =
            target.undisturbed(job, number).await.with_context(|| format!("{job:?}, undisturbed"))?;
        let after = before.duration.mul_f64(random.random_range(0.0..1.0));
        let worker = random.random_range(0..WORKERS);
        let describe = || {
            let after_ms = after.as_millis();
            format!(
                "seed {}, kill {number}: worker {worker} {after_ms} ms after {job:?}, {exchange}",
                drill.seed
            )
        };
        let total = target.disturbed(job, number, &before, &cluster, worker, after).await;
        let total = total.with_context(describe).with_context(|| cluster.logs())?;
        let kill = Kill {
            job: job.name(),
            exchange: exchange.to_owned(),
            worker,
            after_ms: after.as_millis() as u64,
            total_ms: total.as_millis() as u64,
            undisturbed_ms: before.duration.as_millis() as u64,
        };
        report(&kill);
        kills.push(kill);
        cluster.replace_worker(worker).await?;
    }
    Ok(kills)
}

async fn client(cluster: &Cluster, scale: Scale, exchange: &str) -> Result<Client> {
    let options: Options = [
        ("parallelism.default", PARALLELISM.to_string().as_str()),
        ("execution.batch-shuffle-mode", exchange),
        ("restart-strategy.exponential-delay.initial-backoff", "50 ms"),
    ]
    .into_iter()
    .collect();
    let mut client = Client::remote(&cluster.address, options).await?;
    let folder = tpch_data::folder(scale)?;
    client.sql(&create_tables(&folder.display().to_string()).join(";\n")).await?;
    Ok(client)
}

#[derive(Debug, Clone, Copy)]
enum Job {
    Query(u32),
    Insert,
    /// A producer that deals its rows otherwise each time it runs: whoever read its older output would count some twice, some never.
    Random,
}

impl Job {
    fn name(self) -> String {
        match self {
            Job::Query(number) => format!("q{number}"),
            Job::Insert => "insert".to_owned(),
            Job::Random => "random".to_owned(),
        }
    }
}

/// What an undisturbed run left.
struct Undisturbed {
    duration: Duration,
    files: usize,
    sums: String,
}

struct Target {
    client: Client,
    scale: Scale,
    outputs: PathBuf,
}

impl Target {
    async fn undisturbed(&mut self, job: Job, number: u32) -> Result<Undisturbed> {
        let table = format!("undisturbed{number}");
        let start = Instant::now();
        let counted = self.start_and_wait(job, &table, std::future::ready(())).await?;
        let duration = start.elapsed();
        let (files, sums) = self.outcome(job, &table, counted).await?;
        Ok(Undisturbed { duration, files, sums })
    }

    async fn disturbed(
        &mut self,
        job: Job,
        number: u32,
        before: &Undisturbed,
        cluster: &Cluster,
        worker: usize,
        after: Duration,
    ) -> Result<Duration> {
        let table = format!("disturbed{number}");
        let start = Instant::now();
        let kill = async {
            tokio::time::sleep(after).await;
            cluster.kill_worker(worker);
        };
        let counted = self.start_and_wait(job, &table, kill).await?;
        let total = start.elapsed();
        let (files, sums) = self.outcome(job, &table, counted).await?;
        ensure!(files == before.files, "{files} files instead of {}", before.files);
        ensure!(sums == before.sums, "there are {sums} instead of {}", before.sums);
        Ok(total)
    }

    /// Starts a job, does something meanwhile, and waits for the job; checks the rows of a query of TPC-H and returns those of others.
    async fn start_and_wait(
        &mut self,
        job: Job,
        table: &str,
        meanwhile: impl Future<Output = ()>,
    ) -> Result<String> {
        let sql = match job {
            Job::Query(number) => crate::tpch::query(number, self.scale)?,
            Job::Insert => {
                let path = self.outputs.join(table);
                self.client.sql(&create_output(table, &path)).await?;
                format!("INSERT INTO {table} {INSERTED}")
            }
            Job::Random => COUNTED.to_owned(),
        };
        let statement = Session::parse(&sql)?.into_iter().next().context("the script is empty")?;
        let Execution::Job { job: id, .. } = self.client.execute(&statement).await? else {
            bail!("`{sql}` made no job");
        };
        let finished = async {
            self.client.wait(id).await?;
            match job {
                Job::Query(number) => {
                    check_rows(&self.client.rows(id).await?.collect().await?, number, self.scale)?;
                    Ok(String::new())
                }
                Job::Insert => Ok(String::new()),
                Job::Random => Ok(values(&self.client.rows(id).await?.collect().await?)),
            }
        };
        let timed = tokio::time::timeout(JOB_TIMEOUT, finished);
        let ((), result) = tokio::join!(meanwhile, timed);
        result.with_context(|| format!("the job did not end in {} s", JOB_TIMEOUT.as_secs()))?
    }

    /// The number of files and a summary of the rows that an `INSERT` left.
    async fn outcome(&mut self, job: Job, table: &str, counted: String) -> Result<(usize, String)> {
        let Job::Insert = job else { return Ok((0, counted)) };
        let mut files = Vec::new();
        list(&self.outputs.join(table), &mut files)?;
        let leftover =
            files.iter().find(|file| file.extension().is_none_or(|extension| extension != "parquet"));
        ensure!(leftover.is_none(), "`{leftover:?}` was left behind");
        let batches = self.client.sql(&format!("SELECT {SUMS} FROM {table}")).await?;
        Ok((files.len(), values(&batches)))
    }
}

/// The values of a result of one row.
fn values(batches: &[RecordBatch]) -> String {
    format!("{:?}", batches.first().map(|batch| batch.columns().to_vec()))
}

const INSERTED: &str = "SELECT o_orderkey, o_custkey, sum(l_quantity) AS quantity, count(*) AS items \
                        FROM orders, lineitem WHERE l_orderkey = o_orderkey GROUP BY o_orderkey, o_custkey";
const COUNTED: &str = "SELECT SUM(items), SUM(ids) FROM (SELECT bucket, COUNT(*) AS items, COUNT(DISTINCT id) AS ids FROM \
                       (SELECT FLOOR(RAND() * 1000) AS bucket, UUID() AS id FROM lineitem) GROUP BY bucket)";
const SUMS: &str =
    "count(*), count(DISTINCT o_orderkey), sum(o_orderkey), sum(o_custkey), sum(quantity), sum(items)";

fn create_output(table: &str, path: &Path) -> String {
    format!(
        "CREATE TABLE {table} (o_orderkey BIGINT, o_custkey BIGINT, quantity DECIMAL(38, 2), items BIGINT) \
         WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'parquet')",
        path.display()
    )
}

/// All files below a folder, hidden ones included.
fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        match path.is_dir() {
            true => {
                // An empty folder is a leftover too, unless it is the table itself.
                ensure!(std::fs::read_dir(&path)?.next().is_some(), "`{}` was left behind", path.display());
                list(&path, files)?;
            }
            false => files.push(path),
        }
    }
    Ok(())
}

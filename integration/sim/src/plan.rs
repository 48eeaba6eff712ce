//! Jobs of the simulation: scripts of a line or more, each a job whose tasks are told what to do by what their fragments show.

use async_trait::async_trait;
use bytes::Bytes;
use thalweg_graph::{
    BUILD_ID, EdgeId, Fragment, JobEdge, JobGraph, JobId, JobVertex, Options, RuntimeMode, SqlError,
    VertexId, VertexOutput,
    exchange::{ExchangeKind, Partitioning},
    options,
    sql_error::SqlErrorCode,
    table::{SinkDescriptor, TableDescriptor, TablePath},
};
use thalweg_scheduler::{Planner, Script, ScriptStatement, StatementOutcome};

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// `batch P C MS`: P producers, then C consumers of their files, each of which works for so long.
    Batch {
        /// Tasks that write files.
        producers: u32,
        /// Tasks that read them.
        consumers: u32,
        /// How long each works, about.
        work_ms: u64,
    },
    /// `stream P C ROWS`: P sources, and beside them C sinks if any, else each source is a sink too; of each shard so many rows are made.
    Stream {
        /// Tasks that read.
        sources: u32,
        /// Tasks beside them that write.
        sinks: u32,
        /// Rows of each shard.
        rows: u64,
    },
}

impl Work {
    fn of(statement: &str) -> Option<Self> {
        let mut words = statement.split(' ');
        let kind = words.next()?;
        let mut number = || words.next()?.parse::<u64>().ok();
        let (first, second, third) = (number()? as u32, number()? as u32, number()?);
        match kind {
            "batch" => Some(Work::Batch { producers: first, consumers: second, work_ms: third }),
            "stream" => Some(Work::Stream { sources: first, sinks: second, rows: third }),
            _ => None,
        }
    }

    fn graph(self, job: JobId, statement: &str, options: &Options) -> JobGraph {
        let (mode, parallelisms, display, kind) = match self {
            Work::Batch { producers, consumers, work_ms } => (
                RuntimeMode::Batch,
                vec![producers, consumers],
                format!("work {work_ms}"),
                ExchangeKind::Blocking,
            ),
            Work::Stream { sources, sinks: 0, rows } => {
                (RuntimeMode::Streaming, vec![sources], format!("rows {rows}"), ExchangeKind::Pipelined)
            }
            Work::Stream { sources, sinks, rows } => (
                RuntimeMode::Streaming,
                vec![sources, sinks],
                format!("rows {rows}"),
                ExchangeKind::Pipelined,
            ),
        };
        let mut parallelisms = parallelisms;
        if let Ok(set @ 1..) = options.get(&options::PARALLELISM_DEFAULT) {
            parallelisms.fill(set);
        }
        let last = parallelisms.len() - 1;
        let vertices = parallelisms.iter().enumerate().map(|(position, parallelism)| JobVertex {
            id: VertexId(position as u32),
            name: format!("v{position}"),
            parallelism: *parallelism,
            fragment: Fragment {
                mode,
                plan: Bytes::new(),
                display: display.clone(),
                partitions: *parallelism,
            },
            sources: Vec::new(),
            output: if position == last { VertexOutput::Sink(Box::new(sink())) } else { VertexOutput::Edges },
            deterministic: true,
            estimated_bytes: None,
        });
        let edges = (0..last as u32).map(|position| JobEdge {
            id: EdgeId(position),
            source: VertexId(position),
            target: VertexId(position + 1),
            partitioning: Partitioning::Hash { expressions: Vec::new(), display: "key".to_owned() },
            kind,
        });
        JobGraph {
            job,
            name: statement.to_owned(),
            build_id: BUILD_ID.to_owned(),
            mode,
            vertices: vertices.collect(),
            edges: edges.collect(),
            options: options.clone(),
            statement: statement.to_owned(),
            result_columns: None,
        }
    }
}

fn sink() -> SinkDescriptor {
    let path = TablePath { catalog: "c".to_owned(), database: "d".to_owned(), table: "t".to_owned() };
    SinkDescriptor {
        table: TableDescriptor {
            path,
            columns: Vec::new(),
            metadata: Vec::new(),
            partition_keys: Vec::new(),
            primary_key: Vec::new(),
            options: Default::default(),
        },
        overwrite: false,
        static_partition: Default::default(),
    }
}

/// Plans them.
pub struct SimPlanner;

impl Planner for SimPlanner {
    fn open(&self, script: &str, options: &Options, _: u32) -> Result<Box<dyn Script>, SqlError> {
        let statements = script.lines().zip(1..).map(|(text, line)| {
            Work::of(text)
                .ok_or_else(|| SqlError::new(SqlErrorCode::Syntax, format!("not a job: {text}")))?;
            Ok(ScriptStatement { text: text.to_owned(), makes_job: true, is_query: false, line })
        });
        let statements = statements.collect::<Result<_, SqlError>>()?;
        Ok(Box::new(Opened { statements, options: options.clone() }))
    }
}

struct Opened {
    statements: Vec<ScriptStatement>,
    options: Options,
}

#[async_trait]
impl Script for Opened {
    fn statements(&self) -> &[ScriptStatement] {
        &self.statements
    }

    fn set_parallelism(&mut self, parallelism: u32) {
        self.options.0.insert(options::PARALLELISM_DEFAULT.name.to_owned(), parallelism.to_string());
    }

    async fn run(&mut self, index: usize, job: JobId) -> Result<StatementOutcome, SqlError> {
        let text = &self.statements[index].text;
        let work = Work::of(text).ok_or_else(|| SqlError::new(SqlErrorCode::Internal, "it was parsed"))?;
        Ok(StatementOutcome::Job(Box::new(work.graph(job, text, &self.options))))
    }
}

//! Job graphs and registrations for tests.

use bytes::Bytes;
use thalweg_graph::{
    BUILD_ID, EdgeId, Fragment, JobEdge, JobGraph, JobId, JobVertex, Options, RuntimeMode, VertexId,
    VertexOutput, WorkerId,
    exchange::{ExchangeKind, Partitioning},
    source::{SourceSplits, Split},
    table::{Column, SinkDescriptor, TableDescriptor, TablePath},
};
use thalweg_rpc::Registration;

/// A job of vertices with these parallelisms; the last one writes into a table.
pub(crate) fn graph(
    job: u128,
    parallelisms: &[u32],
    edges: &[(u32, u32, ExchangeKind)],
    options: &[(&str, &str)],
) -> JobGraph {
    let last = parallelisms.len() - 1;
    let vertices = parallelisms.iter().enumerate().map(|(position, parallelism)| JobVertex {
        id: VertexId(position as u32),
        name: format!("v{position}"),
        parallelism: *parallelism,
        fragment: Fragment {
            mode: RuntimeMode::Batch,
            plan: Bytes::new(),
            display: String::new(),
            partitions: *parallelism,
        },
        sources: Vec::new(),
        output: if position == last { VertexOutput::Sink(Box::new(sink())) } else { VertexOutput::Edges },
        deterministic: true,
        estimated_bytes: None,
    });
    let edges = edges.iter().enumerate().map(|(position, (source, target, kind))| JobEdge {
        id: EdgeId(position as u32),
        source: VertexId(*source),
        target: VertexId(*target),
        partitioning: Partitioning::Hash { expressions: Vec::new(), display: String::new() },
        kind: *kind,
    });
    JobGraph {
        job: JobId(job),
        name: "job".to_owned(),
        build_id: BUILD_ID.to_owned(),
        mode: RuntimeMode::Batch,
        vertices: vertices.collect(),
        edges: edges.collect(),
        options: options.iter().copied().collect::<Options>(),
        statement: "INSERT INTO t SELECT 1".to_owned(),
        result_columns: None,
    }
}

/// A job whose last vertex sends its rows to the client.
pub(crate) fn query(job: u128) -> JobGraph {
    let mut graph = graph(job, &[1], &[], &[]);
    graph.vertices[0].output = VertexOutput::Result;
    graph.result_columns =
        Some(vec![Column { name: "n".to_owned(), data_type: "BIGINT".to_owned(), nullable: true }]);
    graph
}

/// Gives a vertex a scan whose partitions lie on these hosts.
pub(crate) fn with_splits(mut graph: JobGraph, vertex: usize, hosts: &[&str]) -> JobGraph {
    let split = |host: &&str| Split {
        display: format!("file on {host}"),
        descriptor: Bytes::new(),
        size_bytes: 1,
        hosts: vec![(*host).to_owned()],
    };
    let partitions = hosts.iter().map(|host| vec![split(host)]).collect();
    graph.vertices[vertex].sources.push(SourceSplits { scan: 0, table: "t".to_owned(), partitions });
    graph
}

/// A table that rows go to.
pub(crate) fn sink() -> SinkDescriptor {
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

/// A worker of this name, on a host of this name.
pub(crate) fn registration(name: &str, slots: u32) -> Registration {
    Registration {
        worker: WorkerId(name.to_owned()),
        host: name.to_owned(),
        data_address: format!("{name}:1"),
        slots,
        memory_bytes: 1 << 30,
        build_id: BUILD_ID.to_owned(),
        pid: 1,
        running: Vec::new(),
        ended: Vec::new(),
        partitions: Vec::new(),
    }
}

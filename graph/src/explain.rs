//! The job graph for people (text) and for Flink's tools (the JSON of `/jobs/:id/plan` and `flink info`).

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::{JobGraph, JobVertex, VertexOutput, exchange::ExchangeKind};

/// Prints the graph as text: a vertex a paragraph, its inputs, its operators, its output.
pub fn text(graph: &JobGraph) -> String {
    let mut out = String::new();
    for vertex in &graph.vertices {
        let _ = writeln!(out, "Vertex {} (parallelism {}): {}", vertex.id.0, vertex.parallelism, vertex.name);
        for edge in graph.inputs(vertex.id) {
            let kind = exchange_word(edge.kind);
            let strategy = edge.partitioning.ship_strategy();
            let _ = writeln!(out, "  <- Vertex {} [{strategy}, {kind}] {}", edge.source.0, edge.id);
        }
        for line in vertex.fragment.display.lines() {
            let _ = writeln!(out, "  {line}");
        }
        for source in &vertex.sources {
            let splits: usize = source.partitions.iter().map(Vec::len).sum();
            let _ = writeln!(out, "  splits of {}: {splits}", source.table);
        }
        if let Some(output) = output_text(vertex) {
            let _ = writeln!(out, "  -> {output}");
        }
    }
    out
}

fn output_text(vertex: &JobVertex) -> Option<String> {
    match &vertex.output {
        VertexOutput::Edges => None,
        VertexOutput::Result | VertexOutput::LiveResult => Some("client".to_owned()),
        VertexOutput::Sink(sink) if sink.overwrite => Some(format!("{} (overwrite)", sink.table.path)),
        VertexOutput::Sink(sink) => Some(sink.table.path.to_string()),
    }
}

fn exchange_word(kind: ExchangeKind) -> &'static str {
    match kind {
        ExchangeKind::Pipelined => "pipelined",
        ExchangeKind::Blocking => "blocking",
    }
}

/// The plan in the shape of Flink's `/jobs/:jobid/plan`: `{jid, name, type, nodes: [{id, parallelism, description, inputs}]}`.
pub fn json(graph: &JobGraph) -> Value {
    let nodes: Vec<Value> = graph.vertices.iter().rev().map(|vertex| node(graph, vertex)).collect();
    json!({ "jid": graph.job, "name": graph.name, "type": graph.mode, "nodes": nodes })
}

fn node(graph: &JobGraph, vertex: &JobVertex) -> Value {
    let inputs: Vec<Value> = graph
        .inputs(vertex.id)
        .enumerate()
        .map(|(num, edge)| {
            json!({
                "num": num,
                "id": edge.source.to_string(),
                "ship_strategy": edge.partitioning.ship_strategy(),
                "exchange": match edge.kind {
                    ExchangeKind::Pipelined => "pipelined_bounded",
                    ExchangeKind::Blocking => "blocking",
                },
            })
        })
        .collect();
    json!({
        "id": vertex.id.to_string(),
        "parallelism": vertex.parallelism,
        "operator": "",
        "operator_strategy": "",
        "description": vertex.name,
        "plan": vertex.fragment.display,
        "inputs": inputs,
        "optimizer_properties": {},
    })
}

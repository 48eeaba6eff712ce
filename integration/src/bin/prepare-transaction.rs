//! A sink's task that dies after it has prepared a checkpoint: writes rows `{"id": n, "name": "nN"}` to a topic in a transaction,
//! prints the committable and waits to be killed. Its transactional ids begin with the topic's name.
//!
//! usage: prepare-transaction BOOTSTRAP TOPIC ROWS

use std::{collections::BTreeMap, io, sync::Arc};

use anyhow::{Context as _, Result};
use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringViewArray};
use thalweg_connectors::{BuiltinConnectors, ConnectorsConfig, sink};
use thalweg_graph::{
    Attempt, CheckpointId, JobId, SubtaskId, VertexId,
    table::{Column, SinkDescriptor, TableDescriptor, TablePath},
};

fn table(bootstrap: &str, topic: &str) -> TableDescriptor {
    let text = |text: &str| text.to_owned();
    let column =
        |name: &str, data_type: &str| Column { name: text(name), data_type: text(data_type), nullable: true };
    let options = [
        ("connector", "kafka"),
        ("topic", topic),
        ("properties.bootstrap.servers", bootstrap),
        ("format", "json"),
        ("sink.delivery-guarantee", "exactly-once"),
        ("sink.transactional-id-prefix", topic),
    ];
    TableDescriptor {
        path: TablePath { catalog: text("c"), database: text("d"), table: text("t") },
        columns: vec![column("id", "INT"), column("name", "STRING")],
        metadata: Vec::new(),
        partition_keys: Vec::new(),
        primary_key: Vec::new(),
        options: options.map(|(name, value)| (text(name), text(value))).into(),
    }
}

#[tokio::main]
#[expect(clippy::print_stdout)]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bootstrap, topic, rows] = &arguments[..] else {
        anyhow::bail!("usage: prepare-transaction BOOTSTRAP TOPIC ROWS");
    };
    let rows: i32 = rows.parse()?;
    let ids: ArrayRef = Arc::new(Int32Array::from_iter_values(0..rows));
    let names: ArrayRef = Arc::new(StringViewArray::from_iter_values((0..rows).map(|id| format!("n{id}"))));
    let batch = RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("name", names, true)])?;
    let connectors = BuiltinConnectors::new(ConnectorsConfig::default())?;
    let sink = SinkDescriptor {
        table: table(bootstrap, topic),
        overwrite: false,
        static_partition: BTreeMap::new(),
    };
    let subtask = SubtaskId { vertex: VertexId(3), index: 0 };
    let attempt = Attempt { job: JobId(7), subtask, number: 0 };
    let mut writer = sink::open(&connectors, &sink, batch.schema(), attempt, 0).await?;
    writer.write(batch).await?;
    let committable = writer.prepare(CheckpointId(1)).await?.context("nothing was written")?;
    println!("{}", String::from_utf8(committable.0.to_vec())?);
    io::stdin().read_line(&mut String::new())?;
    Ok(())
}

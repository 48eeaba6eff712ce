//! Opening a table for writing, in a task.

use arrow::datatypes::SchemaRef;
use thalweg_graph::{Attempt, table::SinkDescriptor};
use thalweg_plan::connect::Connectors as _;

pub use crate::writer::{Prepared, SinkOutcome, SinkWriter, StreamSink};
use crate::{
    blackhole::Blackhole,
    builtin::{BuiltinConnectors, unknown_connector},
    error::Result,
    filesystem::sink::{target::Target, writer::FilesystemWriter},
    kafka,
    not_null::{NotNullColumns, NotNullWriter},
    options::TableOptions,
    print::Print,
};

/// Opens the writer of one partition of one attempt; rows will have `schema`. A task opens one for each partition it runs.
pub async fn open(
    connectors: &BuiltinConnectors,
    sink: &SinkDescriptor,
    schema: SchemaRef,
    attempt: Attempt,
    partition: u32,
) -> Result<Box<dyn SinkWriter>> {
    open_in_stream(connectors, sink, schema, attempt, partition, None).await
}

/// The same in a stream.
pub async fn open_in_stream(
    connectors: &BuiltinConnectors,
    sink: &SinkDescriptor,
    schema: SchemaRef,
    attempt: Attempt,
    partition: u32,
    stream: Option<StreamSink>,
) -> Result<Box<dyn SinkWriter>> {
    let options = TableOptions(&sink.table.options);
    let not_null = NotNullColumns::of(&sink.table, &schema);
    let writer: Box<dyn SinkWriter> = match sink.table.connector() {
        "print" => Box::new(Print::new(options, partition)),
        "blackhole" => Box::new(Blackhole::new(options)),
        "filesystem" => {
            let file_systems = connectors.file_systems();
            let target = Target::of(file_systems, sink, &schema)?;
            let pool = &connectors.runtime_env().memory_pool;
            let mut writer = FilesystemWriter::open(target, attempt, partition, pool).await?;
            if let Some(stream) = stream {
                writer.go_on(file_systems, stream).await?;
            }
            Box::new(writer)
        }
        "kafka" | "upsert-kafka" => kafka::sink::open(sink, attempt, partition).await?,
        other => return Err(unknown_connector(other)),
    };
    Ok(match not_null.is_empty() {
        true => writer,
        false => Box::new(NotNullWriter { columns: not_null, writer }),
    })
}

//! What a sink writes to, checked when the job is planned and opened in each of its tasks.

use arrow::datatypes::Schema;
use krafka::producer::{Partitioner, ProducerBuilder, RoundRobinPartitioner};
use thalweg_graph::{Attempt, SubtaskId, table::SinkDescriptor};

use super::{
    super::{
        client::{Client, failed},
        columns::Sides,
        options::{Guarantee, KafkaOptions, SinkPartitioner, Topics},
        topics,
    },
    deliveries::Deliveries,
    ids::IdSpace,
    plain::PlainWriter,
    records::RecordEncoder,
    transactional::TransactionalWriter,
    transactions::Transactions,
};
use crate::{
    error::{Error, Result},
    writer::SinkWriter,
};

/// Each subtask has one partition.
struct Fixed(u32);

impl Partitioner for Fixed {
    fn partition(&self, _topic: &str, _key: Option<&[u8]>, partitions: usize) -> i32 {
        (self.0 as usize % partitions.max(1)) as i32
    }
}

/// Checks that rows of `schema` can be written to the table.
pub fn validate(sink: &SinkDescriptor, schema: &Schema) -> Result<()> {
    let options = KafkaOptions::of(&sink.table)?;
    options.sink_topic()?;
    Sides::of(&sink.table, &options)?;
    if sink.overwrite {
        return Err(Error::Unsupported(format!(
            "connector `{}` has nothing to overwrite; use INSERT INTO",
            options.connector
        )));
    }
    let written = |field: &str| sink.table.metadata.iter().any(|metadata| metadata.column.name == field);
    match schema.fields().iter().find(|field| written(field.name())) {
        None => Ok(()),
        Some(field) => Err(Error::Unsupported(format!(
            "metadata column `{}` cannot be written; declare it VIRTUAL",
            field.name()
        ))),
    }
}

/// Opens the writer of one partition of one attempt.
pub async fn open(sink: &SinkDescriptor, attempt: Attempt, partition: u32) -> Result<Box<dyn SinkWriter>> {
    let options = KafkaOptions::of(&sink.table)?;
    let topic = options.sink_topic()?.to_owned();
    let encoder = RecordEncoder::new(sink, &options)?;
    let client = Client::connect(&options).await?;
    let partitioner = options.partitioner;
    check_topic(&client, &topic).await?;
    let configure = move |client: &Client| configured(client, partitioner, partition);
    if options.guarantee == Guarantee::ExactlyOnce {
        // A batch's task writes several partitions of the plan, each as if it were a subtask.
        let subtask = SubtaskId { vertex: attempt.subtask.vertex, index: partition };
        let ids = IdSpace::new(&options.transactional_id_prefix, Attempt { subtask, ..attempt });
        let transactions = Transactions::open(client, ids, Box::new(configure)).await?;
        return Ok(Box::new(TransactionalWriter::new(transactions, encoder, topic)));
    }
    let producer = configure(&client).build().await;
    let producer = producer.map_err(|error| failed("write to", &topic, error))?;
    Ok(Box::new(PlainWriter {
        producer,
        encoder,
        topic,
        waits: options.guarantee != Guarantee::None,
        deliveries: Deliveries::default(),
        bytes_written: 0,
    }))
}

async fn check_topic(client: &Client, topic: &str) -> Result<()> {
    let listed = Topics::Listed(vec![topic.to_owned()]);
    topics::partitions(client, &listed).await.map(|_| ())
}

fn configured(client: &Client, partitioner: SinkPartitioner, partition: u32) -> ProducerBuilder {
    let builder = client.properties.producer(&client.kafka);
    match partitioner {
        SinkPartitioner::Default => builder,
        SinkPartitioner::Fixed => builder.partitioner(Fixed(partition)),
        SinkPartitioner::RoundRobin => builder.partitioner(RoundRobinPartitioner::new()),
    }
}

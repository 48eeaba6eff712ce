//! Malformed records on their way to another topic: as they are, with where they came from and what is wrong in their headers.

use krafka::{Record, producer::Producer};

use super::{
    client::{Client, failed},
    rows::MalformedRecord,
};
use crate::error::Result;

/// Writes malformed records to a topic.
pub struct DeadLetters {
    producer: Producer,
    topic: String,
    waiting: Vec<MalformedRecord>,
}

impl DeadLetters {
    /// Writes to a topic, which must be there.
    pub async fn open(client: &Client, topic: &str) -> Result<Self> {
        let producer = client.properties.producer(&client.kafka).build().await;
        let producer = producer.map_err(|error| failed("write dead letters to", topic, error))?;
        let partitions = producer.partitions_for(topic).await;
        partitions.map_err(|error| failed("write dead letters to", topic, error))?;
        Ok(Self { producer, topic: topic.to_owned(), waiting: Vec::new() })
    }

    /// Takes records; none is written yet.
    pub fn push(&mut self, records: Vec<MalformedRecord>) {
        self.waiting.extend(records);
    }

    /// Writes what was taken. A call that is dropped while it waits may write records twice and loses none.
    pub async fn deliver(&mut self) -> Result<()> {
        let unsent = |error| failed("write dead letters to", &self.topic, error);
        let mut deliveries = Vec::with_capacity(self.waiting.len());
        for record in &self.waiting {
            deliveries.push(self.producer.enqueue(letter(&self.topic, record)).await.map_err(unsent)?);
        }
        for delivery in deliveries {
            let _written = delivery.await.map_err(unsent)?;
        }
        self.waiting.clear();
        Ok(())
    }
}

fn letter(topic: &str, MalformedRecord { record, format, reason }: &MalformedRecord) -> Record {
    let mut letter = Record::new(topic, record.value.clone().unwrap_or_default());
    if record.value.is_none() {
        letter = letter.without_value();
    }
    if let Some(key) = &record.key {
        letter = letter.key(key.clone());
    }
    for (name, value) in &record.headers {
        letter = match value {
            Some(value) => letter.header(name.clone(), value.clone()),
            None => letter.null_header(name.clone()),
        };
    }
    letter
        .header("thalweg.topic", record.topic.to_string())
        .header("thalweg.partition", record.partition.to_string())
        .header("thalweg.offset", record.offset.to_string())
        .header("thalweg.reason", format!("not a valid {format} record: {reason}"))
}

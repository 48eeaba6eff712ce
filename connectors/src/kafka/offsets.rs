//! Where in each partition reading begins and ends.

use std::collections::HashMap;

use krafka::{
    admin::{ListConsumerGroupOffsetsOptions, ListOffsetsOptions, OffsetSpec},
    consumer::{AutoOffsetReset, TopicPartition},
};

use super::{
    client::{Client, failed, is_missing},
    options::{KafkaOptions, OffsetMode},
    topics,
};
use crate::error::{Error, Result};

/// A part of a partition that is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The partition.
    pub partition: TopicPartition,
    /// The offset to begin with.
    pub start: i64,
    /// The offset to end before; `None` for never.
    pub stop: Option<i64>,
}

/// Holds ranges to what there is of their partitions: a beginning that is not there is moved as `auto.offset.reset` says, or an error.
/// The client would move one that lies behind the end without a word.
pub async fn within_bounds(client: &Client, mut ranges: Vec<Range>) -> Result<Vec<Range>> {
    let partitions: Vec<_> = ranges.iter().map(|range| range.partition.clone()).collect();
    let earliest = listed_up_to(client, &partitions, OffsetSpec::Earliest, false).await?;
    let latest = listed_up_to(client, &partitions, OffsetSpec::Latest, false).await?;
    for range in &mut ranges {
        let of = |offsets: &Offsets| offsets.get(&range.partition).copied();
        let (Some(first), Some(end)) = (of(&earliest), of(&latest)) else { continue };
        if (first..=end).contains(&range.start) {
            continue;
        }
        let start = match client.properties.offset_reset() {
            Some(AutoOffsetReset::Earliest) => first,
            Some(AutoOffsetReset::Latest) => end,
            _ => return Err(out_of_range(&range.partition.topic, range.partition.partition, range.start)),
        };
        let TopicPartition { topic, partition, .. } = &range.partition;
        tracing::warn!(
            topic,
            partition,
            wanted = range.start,
            start,
            "the wanted offset is not there: reset"
        );
        range.start = start;
    }
    Ok(ranges)
}

/// A partition does not have the record that is to be read next.
pub fn out_of_range(topic: &str, partition: i32, offset: i64) -> Error {
    Error::Invalid(format!(
        "partition {partition} of topic `{topic}` does not have offset {offset}: its records were deleted, or the topic was made \
         anew. Set `properties.auto.offset.reset` to `earliest` or `latest` to go on elsewhere and lose what is between"
    ))
}

type Offsets = HashMap<TopicPartition, i64>;

/// What is to be read of partitions, as the table's options say.
pub async fn ranges(
    client: &Client,
    options: &KafkaOptions,
    partitions: Vec<TopicPartition>,
) -> Result<Vec<Range>> {
    let starts = resolve(client, options, &options.startup, &partitions, Side::Start).await?;
    let stops = match &options.bounded {
        Some(mode) => Some(resolve(client, options, mode, &partitions, Side::Stop).await?),
        None => None,
    };
    let range = |partition: TopicPartition| {
        let of = |offsets: &Offsets| offsets.get(&partition).copied();
        let start = of(&starts).ok_or_else(|| unknown_offset(&partition))?;
        let stop = match &stops {
            Some(stops) => Some(of(stops).ok_or_else(|| unknown_offset(&partition))?),
            None => None,
        };
        Ok(Range { partition, start, stop })
    };
    partitions.into_iter().map(range).collect()
}

/// All of partitions that were found later, from their beginning.
pub async fn from_the_beginning(client: &Client, partitions: Vec<TopicPartition>) -> Result<Vec<Range>> {
    let starts = listed(client, &partitions, OffsetSpec::Earliest).await?;
    let range = |partition: TopicPartition| {
        let start = starts.get(&partition).copied().ok_or_else(|| unknown_offset(&partition))?;
        Ok(Range { partition, start, stop: None })
    };
    partitions.into_iter().map(range).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Start,
    Stop,
}

async fn resolve(
    client: &Client,
    options: &KafkaOptions,
    mode: &OffsetMode,
    partitions: &[TopicPartition],
    side: Side,
) -> Result<Offsets> {
    match mode {
        OffsetMode::Earliest => listed(client, partitions, OffsetSpec::Earliest).await,
        OffsetMode::Latest => listed(client, partitions, OffsetSpec::Latest).await,
        OffsetMode::Timestamp(time) => {
            let mut offsets = at_time(client, partitions, *time).await?;
            // No record is that new.
            let newer: Vec<_> = partitions
                .iter()
                .filter(|partition| offsets.get(partition).is_none_or(|offset| *offset < 0))
                .cloned()
                .collect();
            offsets.extend(listed(client, &newer, OffsetSpec::Latest).await?);
            Ok(offsets)
        }
        OffsetMode::Group => committed(client, options, partitions).await,
        OffsetMode::Specific(specific) => {
            let given = |partition: &TopicPartition| {
                specific.get(&partition.partition).map(|offset| (partition.clone(), *offset))
            };
            let mut offsets: Offsets = partitions.iter().filter_map(given).collect();
            let others: Vec<_> =
                partitions.iter().filter(|partition| !offsets.contains_key(partition)).cloned().collect();
            match others.first() {
                None => {}
                // As in Flink.
                Some(_) if side == Side::Start => {
                    offsets.extend(listed(client, &others, OffsetSpec::Earliest).await?);
                }
                Some(other) => {
                    return Err(Error::InvalidOption(format!(
                        "`scan.bounded.specific-offsets` has no offset for partition {} of topic `{}`",
                        other.partition, other.topic
                    )));
                }
            }
            Ok(offsets)
        }
    }
}

async fn listed(client: &Client, partitions: &[TopicPartition], spec: OffsetSpec) -> Result<Offsets> {
    listed_up_to(client, partitions, spec, client.properties.reads_committed()).await
}

/// Offsets of partitions; with `read_committed` up to the first transaction that is open.
async fn listed_up_to(
    client: &Client,
    partitions: &[TopicPartition],
    spec: OffsetSpec,
    read_committed: bool,
) -> Result<Offsets> {
    if partitions.is_empty() {
        return Ok(Offsets::new());
    }
    let options =
        ListOffsetsOptions::default().timeout(client.properties.patience()).read_committed(read_committed);
    let asked = partitions.iter().map(|partition| (partition.clone(), spec));
    let found = client.admin().list_offsets(asked, options).await;
    let found = found.map_err(|error| failed("look for offsets at", &client.servers, error))?;
    let mut offsets = Offsets::new();
    for (partition, offset) in found {
        match offset {
            Ok(offset) => offsets.insert(partition, offset.offset),
            Err(error) if is_missing(&error) => return Err(topics::missing(client, &partition.topic).await),
            Err(error) => return Err(failed("look for the offsets of", &partition.topic, error)),
        };
    }
    Ok(offsets)
}

/// The first record of this time or later; -1 where no record is that new, which the admin client would ask for again and again.
async fn at_time(client: &Client, partitions: &[TopicPartition], time: i64) -> Result<Offsets> {
    let unanswered = |error| failed("look for offsets at", &client.servers, error);
    let consumer = client.properties.consumer(&client.kafka, 1).build().await.map_err(unanswered)?;
    let asked: Vec<(&str, i32)> =
        partitions.iter().map(|partition| (partition.topic.as_str(), partition.partition)).collect();
    let mut offsets = Offsets::new();
    for ((topic, partition), offset) in consumer.offsets_for_times(&asked, time).await {
        let offset = offset.map_err(|error| failed("look for the offsets of", &topic, error))?;
        offsets.insert(TopicPartition::new(topic, partition), offset);
    }
    consumer.close().await.map_err(unanswered)?;
    Ok(offsets)
}

/// Where the group is; partitions that it knows nothing of as `auto.offset.reset` says.
async fn committed(
    client: &Client,
    options: &KafkaOptions,
    partitions: &[TopicPartition],
) -> Result<Offsets> {
    let group = options.properties.text("group.id").unwrap_or_default();
    let asked = ListConsumerGroupOffsetsOptions::default()
        .timeout(client.properties.patience())
        .partitions(partitions.to_vec());
    let found = client.admin().list_consumer_group_offsets(group, asked).await;
    let found = found.map_err(|error| failed("look for the offsets of group", group, error))?;
    let mut offsets = Offsets::new();
    for (partition, offset) in found {
        let offset = offset.map_err(|error| failed("look for the offsets of group", group, error))?;
        if let Some(offset) = offset.offset.filter(|offset| *offset >= 0) {
            offsets.insert(partition, offset);
        }
    }
    let unknown: Vec<_> =
        partitions.iter().filter(|partition| !offsets.contains_key(partition)).cloned().collect();
    let Some(first) = unknown.first() else { return Ok(offsets) };
    let spec = match options.properties.offset_reset() {
        Some(AutoOffsetReset::Earliest) => OffsetSpec::Earliest,
        Some(AutoOffsetReset::Latest) => OffsetSpec::Latest,
        _ => {
            return Err(Error::Invalid(format!(
                "group `{group}` has committed no offset for partition {} of topic `{}`; set \
                 `properties.auto.offset.reset` to `earliest` or `latest`, or another `scan.startup.mode`",
                first.partition, first.topic
            )));
        }
    };
    offsets.extend(listed(client, &unknown, spec).await?);
    Ok(offsets)
}

fn unknown_offset(partition: &TopicPartition) -> Error {
    Error::Internal(format!(
        "Kafka told no offset for partition {} of topic `{}`",
        partition.partition, partition.topic
    ))
}

//! Which partitions a table has, and which of them a subtask reads.

use krafka::{
    admin::{DescribeTopicsOptions, ListTopicsOptions},
    consumer::TopicPartition,
};
use thalweg_graph::table::nearest;

use super::{
    client::{Client, failed, is_missing},
    options::Topics,
};
use crate::{
    error::{Error, Result},
    source::Share,
};

/// The partitions of a table's topics, by topic and number.
pub async fn partitions(client: &Client, topics: &Topics) -> Result<Vec<TopicPartition>> {
    let names = match topics {
        Topics::Listed(names) => names.clone(),
        Topics::Matching(pattern) => {
            let mut names = all_topics(client).await?;
            names.retain(|name| pattern.is_match(name).unwrap_or(false));
            names
        }
    };
    let options = DescribeTopicsOptions::default().timeout(client.properties.patience());
    let described = client.admin().describe_topics(&names, options).await;
    let described = described.map_err(|error| failed("look for the topics of", &client.servers, error))?;
    let mut partitions = Vec::new();
    for (topic, description) in described {
        match description {
            Ok(description) => partitions.extend(
                description
                    .partitions
                    .iter()
                    .map(|partition| TopicPartition::new(topic.clone(), partition.partition)),
            ),
            Err(error) if is_missing(&error) => return Err(missing(client, &topic).await),
            Err(error) => return Err(failed("look for the partitions of", &topic, error)),
        }
    }
    partitions.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    Ok(partitions)
}

async fn all_topics(client: &Client) -> Result<Vec<String>> {
    let options = ListTopicsOptions::default().timeout(client.properties.patience());
    let names = client.admin().list_topics(options).await;
    names.map_err(|error| failed("list the topics of", &client.servers, error))
}

/// A topic is not there; says which one may have been meant.
pub async fn missing(client: &Client, topic: &str) -> Error {
    let all = all_topics(client).await.unwrap_or_default();
    let advice = match nearest(topic, all.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "create it, or correct the option `topic`".to_owned(),
    };
    Error::Invalid(format!("topic `{topic}` does not exist at `{}`; {advice}", client.servers))
}

/// Whether a subtask reads a partition: the same one in every attempt. A topic's partitions go to one subtask after the other,
/// beginning somewhere else for each topic.
pub fn is_own(partition: &TopicPartition, share: Share) -> bool {
    // The hash of Java's strings, as Flink has it here: not a good one, but it is the offset of a round only.
    let hash = partition
        .topic
        .encode_utf16()
        .fold(0u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit)));
    let start = u64::from(hash.wrapping_mul(31) & 0x7fff_ffff);
    let owner = (start + partition.partition.unsigned_abs() as u64) % u64::from(share.parallelism.max(1));
    owner == u64::from(share.subtask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_has_one_owner_and_owners_have_equal_shares() {
        for parallelism in 1..5 {
            let mut owned = vec![0; parallelism as usize];
            for partition in 0..12 {
                let partition = TopicPartition::new("orders", partition);
                let is_owner = |subtask: &u32| is_own(&partition, Share { subtask: *subtask, parallelism });
                let owners: Vec<u32> = (0..parallelism).filter(is_owner).collect();
                assert_eq!(owners.len(), 1);
                owned[owners[0] as usize] += 1;
            }
            assert!(owned.iter().all(|count| *count == 12 / parallelism as i32), "{owned:?}");
        }
    }
}

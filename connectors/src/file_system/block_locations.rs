//! Which hosts hold which block of an HDFS file, asked of the NameNode by WebHDFS: hdfs-native keeps what it knows to itself.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use serde_json::Value;

use super::{
    BlockHosts,
    hadoop_conf::{HadoopConf, user_name},
};
use crate::error::{Cause, Error, Result};

const TIMEOUT: Duration = Duration::from_secs(5);

/// The WebHDFS side of one name service.
#[derive(Debug)]
pub struct BlockLocations {
    addresses: Vec<String>,
    client: reqwest::Client,
    warned: AtomicBool,
}

impl BlockLocations {
    /// Of a name service; nothing is asked yet.
    pub fn new(authority: &str, conf: &HadoopConf) -> Self {
        let client = reqwest::Client::builder().timeout(TIMEOUT).connect_timeout(TIMEOUT).build();
        Self {
            addresses: conf.http_addresses(authority),
            client: client.unwrap_or_default(),
            warned: AtomicBool::new(false),
        }
    }

    /// The blocks of a file. The first failure is logged; locality is a wish, so callers go on without it.
    pub async fn of(&self, path: &str) -> Result<Vec<BlockHosts>> {
        let mut last: Cause = "no NameNode HTTP address is configured".into();
        for address in &self.addresses {
            match self.ask(address, path).await {
                Ok(blocks) => return Ok(blocks),
                Err(cause) => last = cause,
            }
        }
        if !self.warned.swap(true, Ordering::Relaxed) {
            let addresses = self.addresses.join(", ");
            tracing::warn!(
                addresses,
                error = %last,
                "cannot learn block locations, so tasks are placed without regard to them; \
                 is dfs.namenode.http-address right and WebHDFS on?"
            );
        }
        Err(Error::Io { action: "locate the blocks of", path: path.to_owned(), source: last })
    }

    async fn ask(&self, address: &str, path: &str) -> Result<Vec<BlockHosts>, Cause> {
        // Since Hadoop 3.3; before it, only the older, private call.
        let public = self.get(address, path, "GETFILEBLOCKLOCATIONS").await?;
        if let Some(blocks) = public_blocks(&public) {
            return Ok(blocks);
        }
        let private = self.get(address, path, "GET_BLOCK_LOCATIONS").await?;
        private_blocks(&private).ok_or_else(|| remote_exception(&private).into())
    }

    async fn get(&self, address: &str, path: &str, operation: &str) -> Result<Value, Cause> {
        let mut url = url::Url::parse(&format!("http://{address}/"))?;
        let parts = ["webhdfs", "v1"].into_iter().chain(path.split('/').skip(1));
        url.path_segments_mut().map_err(|()| "not an HTTP address")?.clear().extend(parts);
        url.query_pairs_mut().append_pair("op", operation).append_pair("user.name", &user_name());
        let body = self.client.get(url).send().await?.bytes().await?;
        Ok(serde_json::from_slice(&body)?)
    }
}

fn remote_exception(answer: &Value) -> String {
    let message = answer.pointer("/RemoteException/message").and_then(Value::as_str);
    message.unwrap_or("an answer of an unknown shape").to_owned()
}

fn public_blocks(answer: &Value) -> Option<Vec<BlockHosts>> {
    let blocks = answer.pointer("/BlockLocations/BlockLocation")?.as_array()?;
    let block = |block: &Value| {
        let start = block.get("offset")?.as_u64()?;
        let end = start + block.get("length")?.as_u64()?;
        let hosts = block.get("hosts")?.as_array()?;
        Some(BlockHosts { start, end, hosts: hosts.iter().filter_map(text).collect() })
    };
    blocks.iter().map(block).collect()
}

fn private_blocks(answer: &Value) -> Option<Vec<BlockHosts>> {
    let blocks = answer.pointer("/LocatedBlocks/locatedBlocks")?.as_array()?;
    let block = |block: &Value| {
        let start = block.get("startOffset")?.as_u64()?;
        let end = start + block.pointer("/block/numBytes")?.as_u64()?;
        let hosts =
            block.get("locations")?.as_array()?.iter().filter_map(|location| text(location.get("hostName")?));
        Some(BlockHosts { start, end, hosts: hosts.collect() })
    };
    blocks.iter().map(block).collect()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// The hosts that hold the most of a byte range, best first, three at most.
pub fn hosts_of_range(blocks: &[BlockHosts], start: u64, end: u64) -> Vec<String> {
    let mut bytes_by_host = std::collections::BTreeMap::<&str, u64>::new();
    for block in blocks {
        let overlap = end.min(block.end).saturating_sub(start.max(block.start));
        for host in block.hosts.iter().filter(|_| overlap > 0) {
            *bytes_by_host.entry(host).or_default() += overlap;
        }
    }
    let mut hosts: Vec<_> = bytes_by_host.into_iter().collect();
    hosts.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    hosts.into_iter().take(3).map(|(host, _)| host.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_answers_are_understood() {
        let public = serde_json::json!({"BlockLocations": {"BlockLocation": [
            {"offset": 0, "length": 10, "hosts": ["a", "b"], "names": ["1:1"]}]}});
        let private = serde_json::json!({"LocatedBlocks": {"fileLength": 10, "locatedBlocks": [
            {"startOffset": 0, "block": {"numBytes": 10}, "locations": [{"hostName": "a"}, {"hostName": "b"}]}]}});
        let expected = vec![BlockHosts { start: 0, end: 10, hosts: vec!["a".into(), "b".into()] }];
        assert_eq!(public_blocks(&public), Some(expected.clone()));
        assert_eq!(private_blocks(&private), Some(expected));
    }

    #[test]
    fn the_host_with_the_most_bytes_comes_first() {
        let block = |start, end, hosts: &[&str]| BlockHosts {
            start,
            end,
            hosts: hosts.iter().map(|host| host.to_string()).collect(),
        };
        let blocks = [block(0, 100, &["a", "b"]), block(100, 200, &["b", "c"])];
        assert_eq!(hosts_of_range(&blocks, 50, 180), ["b", "c", "a"]);
        assert!(hosts_of_range(&blocks, 200, 300).is_empty());
    }
}

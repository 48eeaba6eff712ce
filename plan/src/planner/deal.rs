//! Splits: the files of a scan cut into ranges and dealt to its partitions, by bytes and by the hosts that have them.

use std::{collections::BTreeMap, sync::Arc};

use datafusion::{
    common::Result,
    datasource::{listing::PartitionedFile, physical_plan::FileScanConfig},
    physical_plan::ExecutionPlan,
};
use thalweg_graph::source::{SourceSplits, Split};

use crate::{
    connect::{Connectors, FileRange},
    exec::{
        ConnectorSourceExec, codec,
        splits::{Scan, for_each_scan},
    },
};

/// Ranges shorter than this cost more to open than they give.
const SPLIT_MIN_BYTES: u64 = 1 << 20;

/// A partition with local data may be this much (in percent) above the least loaded one and still get a split.
const AFFINITY_SLACK_PERCENT: u64 = 25;

/// How a plan's splits are made.
pub(super) struct Dealer<'a> {
    /// Where block locations are asked.
    pub connectors: &'a dyn Connectors,
    /// Bytes that one split covers at most.
    pub split_max_bytes: u64,
    /// Whether partitions run on different workers, so that who gets which split matters.
    pub distributed: bool,
}

impl Dealer<'_> {
    /// The splits of each scan of a fragment.
    pub async fn deal(&self, plan: &Arc<dyn ExecutionPlan>) -> Result<Vec<SourceSplits>> {
        let mut scans = Vec::new();
        for_each_scan(plan, &mut |scan| {
            scans.push(match scan {
                Scan::Files(config) => Dealt::Files(config.clone()),
                Scan::Connector(source) => Dealt::Connector(source.clone()),
            });
            Ok(())
        })?;
        let mut dealt = Vec::new();
        for (position, scan) in scans.into_iter().enumerate() {
            let table = table_name(&scan.as_scan());
            let partitions = match scan {
                Dealt::Connector(source) => source.splits,
                Dealt::Files(config) => self.deal_files(&config).await?,
            };
            dealt.push(SourceSplits { scan: position as u32, table, partitions });
        }
        Ok(dealt)
    }

    async fn deal_files(&self, config: &FileScanConfig) -> Result<Vec<Vec<Split>>> {
        let url = config.object_store_url.as_str().trim_end_matches('/').to_owned();
        // Files in an order, or grouped by their values, must stay as they were dealt.
        if !self.distributed || config.preserve_order || config.output_partitioning.is_some() {
            let groups = config.file_groups.iter();
            let groups = groups.map(|group| group.iter().map(|file| split(&url, file, Vec::new())).collect());
            return groups.collect();
        }
        let count = config.file_groups.len().max(1);
        let files = whole_files(config);
        let total: u64 = files.iter().map(|file| file.effective_size()).sum();
        let split_bytes = self.split_max_bytes.min(total.div_ceil(count as u64)).max(SPLIT_MIN_BYTES);
        let splittable =
            config.file_source().supports_repartitioning() && !config.file_compression_type.is_compressed();
        let pieces: Vec<PartitionedFile> = files
            .into_iter()
            .flat_map(|file| if splittable { ranges(file, split_bytes) } else { vec![file] })
            .collect();
        let hosts = self.locate(&url, &pieces).await;
        let splits = pieces.iter().zip(hosts).map(|(file, hosts)| split(&url, file, hosts));
        Ok(assign(splits.collect::<Result<_>>()?, count))
    }

    async fn locate(&self, url: &str, files: &[PartitionedFile]) -> Vec<Vec<String>> {
        if url.starts_with("file:") {
            return vec![Vec::new(); files.len()];
        }
        let ranges: Vec<FileRange> = files
            .iter()
            .map(|file| {
                let (start, end) = bounds(file);
                FileRange { url: format!("{url}/{}", file.object_meta.location), start, end }
            })
            .collect();
        let mut hosts = self.connectors.locate(&ranges).await;
        hosts.resize(files.len(), Vec::new());
        hosts
    }
}

/// A scan, owned, so that it can be held while hosts are asked for.
enum Dealt {
    Files(FileScanConfig),
    Connector(ConnectorSourceExec),
}

impl Dealt {
    fn as_scan(&self) -> Scan<'_> {
        match self {
            Dealt::Files(config) => Scan::Files(config),
            Dealt::Connector(source) => Scan::Connector(source),
        }
    }
}

/// What a scan reads, for people: its table's name, or, of files without a table, what their paths have in common.
pub(super) fn table_name(scan: &Scan<'_>) -> String {
    let config = match scan {
        Scan::Connector(source) => return source.scan.table.path.table.clone(),
        Scan::Files(config) => config,
    };
    let Some(file) = config.file_groups.iter().flat_map(|group| group.iter()).next() else {
        return "files".to_owned();
    };
    if let Some(table) = &file.table_reference {
        return table.table().to_owned();
    }
    let location = file.object_meta.location.as_ref();
    let mut segments: Vec<&str> = location.split('/').filter(|part| !part.contains('=')).collect();
    let stem = segments.pop().unwrap_or_default().split('.').next().unwrap_or_default();
    let generated = stem.starts_with("part") || stem.chars().any(|c| c.is_ascii_digit());
    match segments.last() {
        Some(folder) if generated => (*folder).to_owned(),
        _ => stem.to_owned(),
    }
}

/// The files of a scan, each once, as the ranges that DataFusion made of it together cover it.
fn whole_files(config: &FileScanConfig) -> Vec<PartitionedFile> {
    let mut files: BTreeMap<String, PartitionedFile> = BTreeMap::new();
    for file in config.file_groups.iter().flat_map(|group| group.iter()) {
        let key = file.object_meta.location.to_string();
        match files.get_mut(&key) {
            None => {
                files.insert(key, file.clone());
            }
            Some(known) => {
                let (a, b) = (bounds(known), bounds(file));
                *known = known.clone().with_range(a.0.min(b.0) as i64, a.1.max(b.1) as i64);
            }
        }
    }
    files.into_values().collect()
}

fn bounds(file: &PartitionedFile) -> (u64, u64) {
    let size = file.object_meta.size;
    file.range
        .as_ref()
        .map_or((0, size), |range| (range.start.max(0) as u64, (range.end.max(0) as u64).min(size)))
}

/// Equal ranges of at most `bytes`. A Parquet row group is read by the range in which it starts.
fn ranges(file: PartitionedFile, bytes: u64) -> Vec<PartitionedFile> {
    let (start, end) = bounds(&file);
    let count = (end - start).div_ceil(bytes).max(1);
    if count == 1 {
        return vec![file];
    }
    let at = |piece: u64| (start + (end - start) * piece / count) as i64;
    (0..count).map(|piece| file.clone().with_range(at(piece), at(piece + 1))).collect()
}

fn split(url: &str, file: &PartitionedFile, hosts: Vec<String>) -> Result<Split> {
    let (start, end) = bounds(file);
    Ok(Split {
        display: format!("{url}/{}[{start}..{end}]", file.object_meta.location),
        descriptor: codec::encode_file(file)?,
        size_bytes: end - start,
        hosts,
    })
}

/// Largest first, each to the least loaded partition, or to one not much more loaded that has more of its host's data.
fn assign(mut splits: Vec<Split>, count: usize) -> Vec<Vec<Split>> {
    splits.sort_by(|a, b| b.size_bytes.cmp(&a.size_bytes).then_with(|| a.display.cmp(&b.display)));
    let mut loads = vec![0u64; count];
    let mut local: Vec<BTreeMap<String, u64>> = vec![BTreeMap::new(); count];
    let mut dealt: Vec<Vec<Split>> = vec![Vec::new(); count];
    for split in splits {
        let least = loads.iter().min().copied().unwrap_or(0);
        let most = least + (least + split.size_bytes) * AFFINITY_SLACK_PERCENT / 100;
        let affinity = |partition: usize| -> u64 {
            split.hosts.iter().filter_map(|host| local[partition].get(host)).max().copied().unwrap_or(0)
        };
        let chosen = (0..count)
            .filter(|partition| loads[*partition] <= most)
            .max_by_key(|partition| (affinity(*partition), u64::MAX - loads[*partition], count - partition))
            .unwrap_or(0);
        loads[chosen] += split.size_bytes;
        for host in &split.hosts {
            *local[chosen].entry(host.clone()).or_default() += split.size_bytes;
        }
        dealt[chosen].push(split);
    }
    for partition in &mut dealt {
        partition.sort_by(|a, b| a.display.cmp(&b.display));
    }
    dealt
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_of(name: &str, size_bytes: u64, hosts: &[&str]) -> Split {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        Split { display: name.to_owned(), descriptor: bytes::Bytes::new(), size_bytes, hosts }
    }

    #[test]
    fn splits_are_dealt_evenly_and_none_is_lost() {
        let sizes = [100, 90, 50, 40, 10, 10, 5];
        let splits = sizes.iter().enumerate().map(|(n, size)| split_of(&n.to_string(), *size, &[])).collect();
        let dealt = assign(splits, 3);
        let loads: Vec<u64> =
            dealt.iter().map(|part| part.iter().map(|split| split.size_bytes).sum()).collect();
        assert_eq!(loads.iter().sum::<u64>(), 305);
        assert!(loads.iter().all(|load| (90..=115).contains(load)), "{loads:?}");
    }

    #[test]
    fn splits_of_one_host_stay_together() {
        let splits = (0..8).map(|n| split_of(&n.to_string(), 10, &[["a", "b"][n % 2]])).collect();
        for partition in assign(splits, 2) {
            let first = partition[0].hosts.clone();
            assert!(partition.len() == 4 && partition.iter().all(|split| split.hosts == first));
        }
    }

    #[test]
    fn ranges_cover_a_file_without_overlap() {
        let pieces = ranges(PartitionedFile::new("f.parquet", 1_001), 100);
        assert_eq!(pieces.len(), 11);
        assert_eq!(bounds(&pieces[0]).0, 0);
        assert_eq!(bounds(&pieces[10]).1, 1_001);
        assert!(pieces.windows(2).all(|pair| bounds(&pair[0]).1 == bounds(&pair[1]).0));
    }
}

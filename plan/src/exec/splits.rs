//! The scans of a fragment and what they read: taken out of a plan before it is encoded, put back on the worker.
//!
//! A scan's number is its position, depth first, among the file scans and connector sources of its fragment.

use std::{str::FromStr, sync::Arc};

use datafusion::{
    common::{
        DataFusionError, Result, internal_err,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    datasource::{
        file_format::file_compression_type::FileCompressionType,
        physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder},
        source::DataSourceExec,
    },
    physical_plan::ExecutionPlan,
};
use prost::Message;
use thalweg_graph::task::TaskSplits;

use super::{ConnectorSourceExec, codec};

/// Fills the scans of a decoded fragment with a task's splits. Partitions that the task was given no splits for stay
/// empty and must not be executed.
pub fn put_splits(plan: Arc<dyn ExecutionPlan>, splits: &[TaskSplits]) -> Result<Arc<dyn ExecutionPlan>> {
    rewrite_scans(&plan, &mut |position, scan| {
        let Some(given) = splits.iter().find(|given| given.scan as usize == position) else {
            return Ok(None);
        };
        match scan {
            Scan::Files(config) => {
                let mut groups = vec![FileGroup::default(); config.file_groups.len()];
                for (partition, splits) in &given.partitions {
                    let files = splits.iter().map(|split| codec::decode_file(&split.descriptor));
                    *slot(&mut groups, *partition)? = FileGroup::new(files.collect::<Result<_>>()?);
                }
                Ok(Some(with_file_groups(config, groups)))
            }
            Scan::Connector(source) => {
                let mut groups = vec![Vec::new(); source.splits.len()];
                for (partition, splits) in &given.partitions {
                    slot(&mut groups, *partition)?.clone_from(splits);
                }
                Ok(Some(Arc::new(source.with_splits(groups))))
            }
        }
    })
}

fn slot<T>(groups: &mut [T], partition: u32) -> Result<&mut T> {
    let count = groups.len();
    groups.get_mut(partition as usize).ok_or_else(|| {
        DataFusionError::Plan(format!("splits are given for partition {partition} of a scan with {count}"))
    })
}

/// A leaf of a fragment that reads splits.
pub(crate) enum Scan<'a> {
    /// DataFusion's scan over files.
    Files(&'a FileScanConfig),
    /// A source read through its connector.
    Connector(&'a ConnectorSourceExec),
}

impl<'a> Scan<'a> {
    /// The scan that a node is, if it is one.
    pub(crate) fn of(node: &'a Arc<dyn ExecutionPlan>) -> Option<Self> {
        if let Some(source) = node.downcast_ref::<ConnectorSourceExec>() {
            return Some(Scan::Connector(source));
        }
        let source = node.downcast_ref::<DataSourceExec>()?;
        source.data_source().downcast_ref::<FileScanConfig>().map(Scan::Files)
    }
}

/// The scans of a fragment in order of their numbers.
pub(crate) fn for_each_scan(
    plan: &Arc<dyn ExecutionPlan>,
    f: &mut dyn FnMut(Scan<'_>) -> Result<()>,
) -> Result<()> {
    plan.apply(|node| {
        if let Some(scan) = Scan::of(node) {
            f(scan)?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// Settings of a file scan that `datafusion-proto` drops.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ScanSettings {
    #[prost(string, tag = "1")]
    compression: String,
    #[prost(bool, tag = "2")]
    preserve_order: bool,
}

/// The plan without what its scans read (their partitions stay), and the settings of its file scans in order.
pub(super) fn strip(plan: &Arc<dyn ExecutionPlan>) -> Result<(Arc<dyn ExecutionPlan>, Vec<ScanSettings>)> {
    let mut settings = Vec::new();
    let stripped = rewrite_scans(plan, &mut |_, scan| match scan {
        Scan::Files(config) => {
            settings.push(ScanSettings {
                compression: config.file_compression_type.get_variant().to_string(),
                preserve_order: config.preserve_order,
            });
            Ok(Some(with_file_groups(config, vec![FileGroup::default(); config.file_groups.len()])))
        }
        Scan::Connector(source) => {
            Ok(Some(Arc::new(source.with_splits(vec![Vec::new(); source.splits.len()]))))
        }
    })?;
    Ok((stripped, settings))
}

/// Gives the file scans of a decoded plan the settings that the encoding dropped.
pub(super) fn restore_settings(
    plan: &Arc<dyn ExecutionPlan>,
    settings: &[ScanSettings],
) -> Result<Arc<dyn ExecutionPlan>> {
    let mut settings = settings.iter();
    rewrite_scans(plan, &mut |_, scan| {
        let Scan::Files(config) = scan else { return Ok(None) };
        let Some(settings) = settings.next() else {
            return internal_err!("an encoded fragment lacks the settings of a scan");
        };
        let config = FileScanConfigBuilder::from(config.clone())
            .with_file_compression_type(FileCompressionType::from_str(&settings.compression)?)
            .with_preserve_order(settings.preserve_order)
            .build();
        Ok(Some(DataSourceExec::from_data_source(config)))
    })
}

/// The same scan over other files.
pub(crate) fn with_file_groups(config: &FileScanConfig, groups: Vec<FileGroup>) -> Arc<dyn ExecutionPlan> {
    let config = FileScanConfigBuilder::from(config.clone()).with_file_groups(groups).build();
    DataSourceExec::from_data_source(config)
}

/// What replaces a scan; `None` leaves it.
type ScanRewrite<'a> = &'a mut dyn FnMut(usize, Scan<'_>) -> Result<Option<Arc<dyn ExecutionPlan>>>;

/// Replaces scans; `f` is given each scan with its number, `None` leaves it.
pub(crate) fn rewrite_scans(
    plan: &Arc<dyn ExecutionPlan>,
    f: ScanRewrite<'_>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let mut position = 0;
    let rewritten = Arc::clone(plan).transform_down(|node| {
        let Some(scan) = Scan::of(&node) else { return Ok(Transformed::no(node)) };
        let replaced = f(position, scan)?;
        position += 1;
        Ok(replaced.map_or_else(|| Transformed::no(Arc::clone(&node)), Transformed::yes))
    })?;
    Ok(rewritten.data)
}

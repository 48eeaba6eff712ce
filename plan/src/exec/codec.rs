//! Fragments, expressions and files as bytes: `datafusion-proto` for DataFusion's nodes, our own messages for ours.
//!
//! The encoding is stable only within one build, so a job graph carries a build id (see [`thalweg_graph::BUILD_ID`]).

use std::sync::Arc;

use bytes::Bytes;
use datafusion::{
    arrow::datatypes::Schema,
    common::{DataFusionError, Result, not_impl_err, plan_err},
    datasource::listing::PartitionedFile,
    execution::TaskContext,
    physical_expr::{
        EquivalenceProperties, LexOrdering, Partitioning, PhysicalExpr,
        equivalence::{AcrossPartitions, ConstExpr, EquivalenceClass, EquivalenceGroup},
    },
    physical_plan::ExecutionPlan,
};
use datafusion_proto::{
    physical_plan::{
        DeduplicatingProtoConverter, DefaultPhysicalProtoConverter, PhysicalExtensionCodec,
        PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
        from_proto::{parse_physical_expr, parse_physical_sort_exprs, parse_protobuf_partitioning},
        to_proto::{serialize_partitioning, serialize_physical_expr, serialize_physical_sort_exprs},
    },
    protobuf,
};
use prost::Message;
use thalweg_graph::EdgeId;

use super::{
    ConnectorScan, ConnectorSourceExec, ExchangeSourceExec, PartitionwiseUnionExec, RuntimeFilteredScanExec,
    splits::{self, Scan, ScanSettings},
};

/// Operators that nest no deeper than this can always be decoded.
const DEPTH_SAFE: usize = 30;

/// Encodes a fragment. The files and splits of its scans stay out: they stand beside it in the job graph and are put back
/// by [`put_splits`](super::put_splits).
pub fn encode(plan: &Arc<dyn ExecutionPlan>) -> Result<Bytes> {
    let depth = depth(plan);
    let (plan, scans) = splits::strip(plan)?;
    let plan = DeduplicatingProtoConverter {}.execution_plan_to_proto(&plan, &FragmentCodec)?;
    let bytes = FragmentMessage { plan: Some(plan), scans }.encode_to_vec();
    // The decoder takes a message only so deep.
    if depth > DEPTH_SAFE && FragmentMessage::decode(bytes.as_slice()).is_err() {
        return plan_err!(
            "the query's operators nest {depth} deep, which is more than a task can be sent; write the inner ones, such as half of its \
             joins, to a table and go on from that"
        );
    }
    Ok(bytes.into())
}

fn depth(plan: &Arc<dyn ExecutionPlan>) -> usize {
    1 + plan.children().into_iter().map(depth).max().unwrap_or_default()
}

/// Bytes that are equal for plans that do the same over the same files. They are not for decoding: [`encode`] marks expressions
/// that are one in memory, which says nothing of what they are.
pub(crate) fn identity(plan: &Arc<dyn ExecutionPlan>) -> Result<Bytes> {
    let (stripped, scans) = splits::strip(plan)?;
    let stripped = DefaultPhysicalProtoConverter {}.execution_plan_to_proto(&stripped, &FragmentCodec)?;
    let mut identity = FragmentMessage { plan: Some(stripped), scans }.encode_to_vec();
    splits::for_each_scan(plan, &mut |scan| {
        match scan {
            Scan::Files(config) => {
                for group in &config.file_groups {
                    identity.extend_from_slice(&(group.len() as u64).to_le_bytes());
                    for file in group.iter() {
                        protobuf::PartitionedFile::try_from(file)?
                            .encode_length_delimited(&mut identity)
                            .map_err(invalid)?;
                    }
                }
            }
            Scan::Connector(source) => {
                serde_json::to_writer(&mut identity, &source.splits).map_err(invalid)?
            }
        }
        Ok(())
    })?;
    Ok(identity.into())
}

/// Decodes a fragment, its scans without files. Functions are looked up by name in the context, object stores are opened
/// in its runtime environment.
pub fn decode(bytes: &[u8], context: &TaskContext) -> Result<Arc<dyn ExecutionPlan>> {
    let message = FragmentMessage::decode(bytes).map_err(invalid)?;
    let plan = required(message.plan, "plan")?;
    let decode_context = PhysicalPlanDecodeContext::new(context, &FragmentCodec);
    let plan = DeduplicatingProtoConverter {}.proto_to_execution_plan(&plan, &decode_context)?;
    splits::restore_settings(&plan, &message.scans)
}

/// Encodes an expression over a producer's columns.
pub fn encode_expr(expr: &Arc<dyn PhysicalExpr>) -> Result<Bytes> {
    Ok(serialize_physical_expr(expr, &FragmentCodec)?.encode_to_vec().into())
}

/// Decodes an expression over columns of `schema`.
pub fn decode_expr(bytes: &[u8], schema: &Schema, context: &TaskContext) -> Result<Arc<dyn PhysicalExpr>> {
    let node = protobuf::PhysicalExprNode::decode(bytes).map_err(invalid)?;
    parse_physical_expr(&node, context, schema, &FragmentCodec)
}

/// Encodes a file, or a range of one, with its partition values and statistics: the descriptor of a split.
pub fn encode_file(file: &PartitionedFile) -> Result<Bytes> {
    Ok(protobuf::PartitionedFile::try_from(file)?.encode_to_vec().into())
}

/// Decodes a split's descriptor.
pub fn decode_file(bytes: &[u8]) -> Result<PartitionedFile> {
    PartitionedFile::try_from(&protobuf::PartitionedFile::decode(bytes).map_err(invalid)?)
}

/// Our part of the encoding: the nodes of this module.
#[derive(Debug)]
struct FragmentCodec;

impl PhysicalExtensionCodec for FragmentCodec {
    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buffer: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let node = if let Some(source) = node.downcast_ref::<ExchangeSourceExec>() {
            Node::Exchange(ExchangeMessage::of(source, converter)?)
        } else if let Some(source) = node.downcast_ref::<ConnectorSourceExec>() {
            Node::Connector(ConnectorMessage::of(source)?)
        } else if node.downcast_ref::<PartitionwiseUnionExec>().is_some() {
            Node::Union(UnionMessage { schema: Some(node.schema().as_ref().try_into()?) })
        } else if node.downcast_ref::<RuntimeFilteredScanExec>().is_some() {
            Node::RuntimeFilteredScan(RuntimeFilteredScanMessage {})
        } else {
            return not_impl_err!("operator {} cannot be sent to a worker", node.name());
        };
        NodeMessage { node: Some(node) }.encode(buffer).map_err(invalid)
    }

    fn try_decode(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let message = NodeMessage::decode(bytes).map_err(invalid)?;
        Ok(match required(message.node, "node")? {
            Node::Exchange(message) => Arc::new(message.into_exec(context, converter)?),
            Node::Connector(message) => Arc::new(message.into_exec()?),
            Node::Union(message) => {
                let schema = Arc::new(Schema::try_from(&required(message.schema, "schema")?)?);
                Arc::new(PartitionwiseUnionExec::try_new(inputs.to_vec(), schema)?)
            }
            Node::RuntimeFilteredScan(_) => {
                let scan = required(inputs.first().cloned(), "scan")?;
                Arc::new(RuntimeFilteredScanExec::new(scan))
            }
        })
    }
}

#[derive(Clone, PartialEq, Message)]
struct FragmentMessage {
    #[prost(message, optional, tag = "1")]
    plan: Option<protobuf::PhysicalPlanNode>,
    #[prost(message, repeated, tag = "2")]
    scans: Vec<ScanSettings>,
}

#[derive(Clone, PartialEq, Message)]
struct NodeMessage {
    #[prost(oneof = "Node", tags = "1, 2, 3, 4")]
    node: Option<Node>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Node {
    #[prost(message, tag = "1")]
    Exchange(ExchangeMessage),
    #[prost(message, tag = "2")]
    Connector(ConnectorMessage),
    #[prost(message, tag = "3")]
    Union(UnionMessage),
    #[prost(message, tag = "4")]
    RuntimeFilteredScan(RuntimeFilteredScanMessage),
}

/// The scan is the node's input.
#[derive(Clone, PartialEq, Message)]
struct RuntimeFilteredScanMessage {}

#[derive(Clone, PartialEq, Message)]
struct UnionMessage {
    #[prost(message, optional, tag = "1")]
    schema: Option<protobuf::Schema>,
}

#[derive(Clone, PartialEq, Message)]
struct ConnectorMessage {
    #[prost(bytes = "vec", tag = "1")]
    scan_json: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    schema: Option<protobuf::Schema>,
    #[prost(uint32, tag = "3")]
    partitions: u32,
}

impl ConnectorMessage {
    fn of(source: &ConnectorSourceExec) -> Result<Self> {
        Ok(Self {
            scan_json: serde_json::to_vec(&source.scan).map_err(invalid)?,
            schema: Some(source.schema().as_ref().try_into()?),
            partitions: source.splits.len() as u32,
        })
    }

    fn into_exec(self) -> Result<ConnectorSourceExec> {
        let scan: ConnectorScan = serde_json::from_slice(&self.scan_json).map_err(invalid)?;
        let schema = Schema::try_from(&required(self.schema, "schema")?)?;
        Ok(ConnectorSourceExec::new(scan, Arc::new(schema), vec![Vec::new(); self.partitions as usize]))
    }
}

#[derive(Clone, PartialEq, Message)]
struct ExchangeMessage {
    #[prost(uint32, tag = "1")]
    edge: u32,
    #[prost(bool, tag = "2")]
    per_producer: bool,
    #[prost(message, optional, tag = "3")]
    schema: Option<protobuf::Schema>,
    #[prost(message, optional, tag = "4")]
    partitioning: Option<protobuf::Partitioning>,
    #[prost(message, repeated, tag = "5")]
    orderings: Vec<protobuf::PhysicalSortExprNodeCollection>,
    /// Lists of equal expressions. Operators choose their mode by them when they are built, so the decoded fragment must
    /// know what the planned one knew.
    #[prost(message, repeated, tag = "6")]
    equal: Vec<ExpressionsMessage>,
    /// Expressions with one value in all partitions.
    #[prost(message, optional, tag = "7")]
    uniform: Option<ExpressionsMessage>,
    /// Expressions with one value in each partition.
    #[prost(message, optional, tag = "8")]
    constant: Option<ExpressionsMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct ExpressionsMessage {
    #[prost(message, repeated, tag = "1")]
    expressions: Vec<protobuf::PhysicalExprNode>,
}

impl ExchangeMessage {
    fn of(source: &ExchangeSourceExec, converter: &dyn PhysicalProtoConverterExtension) -> Result<Self> {
        let equivalences = &source.properties().eq_properties;
        let orderings = equivalences
            .oeq_class()
            .iter()
            .map(|ordering| {
                let sorts = ordering.iter().cloned();
                let nodes = serialize_physical_sort_exprs(sorts, &FragmentCodec, converter)?;
                Ok(protobuf::PhysicalSortExprNodeCollection { physical_sort_expr_nodes: nodes })
            })
            .collect::<Result<_>>()?;
        let equal = equivalences
            .eq_group()
            .iter()
            .map(|class| ExpressionsMessage::of(class.iter(), converter))
            .collect::<Result<_>>()?;
        let (uniform, constant): (Vec<_>, Vec<_>) = equivalences
            .constants()
            .into_iter()
            .partition(|constant| matches!(constant.across_partitions, AcrossPartitions::Uniform(_)));
        let partitioning = &source.properties().partitioning;
        Ok(Self {
            edge: source.edge.0,
            per_producer: source.per_producer,
            schema: Some(source.schema().as_ref().try_into()?),
            partitioning: Some(serialize_partitioning(partitioning, &FragmentCodec, converter)?),
            orderings,
            equal,
            uniform: Some(ExpressionsMessage::of(uniform.iter().map(|constant| &constant.expr), converter)?),
            constant: Some(ExpressionsMessage::of(
                constant.iter().map(|constant| &constant.expr),
                converter,
            )?),
        })
    }

    fn into_exec(
        self,
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<ExchangeSourceExec> {
        let decode_context = PhysicalPlanDecodeContext::new(context, &FragmentCodec);
        let schema = Arc::new(Schema::try_from(&required(self.schema, "schema")?)?);
        let mut orderings: Vec<LexOrdering> = Vec::new();
        for ordering in &self.orderings {
            let nodes = &ordering.physical_sort_expr_nodes;
            let sorts = parse_physical_sort_exprs(nodes, &decode_context, &schema, converter)?;
            orderings.extend(LexOrdering::new(sorts));
        }
        let decode = |message: &ExpressionsMessage| message.decode(&schema, &decode_context, converter);
        let equal = self.equal.iter().map(decode).collect::<Result<Vec<_>>>()?;
        let uniform = self.uniform.as_ref().map_or_else(|| Ok(Vec::new()), decode)?;
        let constant = self.constant.as_ref().map_or_else(|| Ok(Vec::new()), decode)?;
        let constants = uniform
            .into_iter()
            .map(|expr| ConstExpr::new(expr, AcrossPartitions::Uniform(None)))
            .chain(constant.into_iter().map(|expr| ConstExpr::new(expr, AcrossPartitions::Heterogeneous)));
        let mut equivalences = EquivalenceProperties::new_with_orderings(Arc::clone(&schema), orderings);
        equivalences
            .add_equivalence_group(EquivalenceGroup::new(equal.into_iter().map(EquivalenceClass::new)))?;
        equivalences.add_constants(constants)?;
        let partitioning: Option<Partitioning> =
            parse_protobuf_partitioning(self.partitioning.as_ref(), &decode_context, &schema, converter)?;
        let partitioning = required(partitioning, "partitioning")?;
        Ok(ExchangeSourceExec::new(EdgeId(self.edge), self.per_producer, equivalences, partitioning))
    }
}

impl ExpressionsMessage {
    fn of<'a>(
        expressions: impl Iterator<Item = &'a Arc<dyn PhysicalExpr>>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Self> {
        let nodes = expressions.map(|expr| converter.physical_expr_to_proto(expr, &FragmentCodec));
        Ok(Self { expressions: nodes.collect::<Result<_>>()? })
    }

    fn decode(
        &self,
        schema: &Schema,
        context: &PhysicalPlanDecodeContext<'_>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Vec<Arc<dyn PhysicalExpr>>> {
        self.expressions.iter().map(|node| converter.proto_to_physical_expr(node, schema, context)).collect()
    }
}

fn required<T>(field: Option<T>, name: &str) -> Result<T> {
    field.ok_or_else(|| DataFusionError::Plan(format!("an encoded fragment lacks its {name}")))
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

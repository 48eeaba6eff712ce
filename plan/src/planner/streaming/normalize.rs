//! Tables whose rows replace those with the same key, as rows that are added and taken back.

use datafusion::logical_expr::Expr;
use thalweg_graph::SqlError;

use super::{
    stream::Stream,
    translate::{Translation, internal},
};
use crate::stream::{ChangelogNormalizeNode, OperatorKind};

impl Translation<'_> {
    /// The rows of a key meet in one subtask, which knows the last one.
    pub(super) async fn normalize(&mut self, node: &ChangelogNormalizeNode) -> Result<Stream, SqlError> {
        let input = self.root(&node.input).await?;
        if !input.updating {
            return Err(internal("a table of upserts only adds rows"));
        }
        let keys: Vec<_> = node.keys.iter().cloned().map(Expr::Column).collect();
        let physical = self.physical_all(&keys, &input)?;
        let positions: Vec<u32> =
            node.keys.iter().map(|key| self.position(&input, key)).collect::<Result<_, _>>()?;
        let vertex = self.keyed(&input, &physical)?;
        let names: Vec<&str> = node.keys.iter().map(|key| key.name.as_str()).collect();
        let display = format!("ChangelogNormalize: keys=[{}]", names.join(", "));
        let kind = OperatorKind::ChangelogNormalize { keys: positions, each: node.each };
        self.draft.vertices[vertex].push("ChangelogNormalize", display, kind);
        Ok(Stream { vertex, ..input })
    }
}

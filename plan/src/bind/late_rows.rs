//! The table of late rows, which an option of the session names.

use std::sync::Arc;

use datafusion::logical_expr::{Extension, LogicalPlan};
use thalweg_graph::{SqlError, options::LATE_ROWS_TABLE};

use super::{Binder, InsertInto, output_columns};
use crate::{error, sql, stream::LateRowsNode};

impl Binder<'_> {
    /// Plans putting all rows that a stream leaves out because they came too late into the table of this name.
    pub fn late_rows(&self, name: &str) -> Result<InsertInto, SqlError> {
        let option = LATE_ROWS_TABLE.name;
        // The place would be one in the option.
        let of_option = |error: SqlError| {
            SqlError::new(error.code, format!("option `{option}` cannot be `{name}`: {}", error.message))
        };
        let name = sql::parse_name(name).map_err(of_option)?;
        let (path, table) = self.catalogs.get_table(&name).map_err(of_option)?;
        let node = LateRowsNode::try_new().map_err(error::from_datafusion)?;
        let plan = LogicalPlan::Extension(Extension { node: Arc::new(node) });
        let columns: Vec<String> = output_columns(&plan)?
            .into_iter()
            .map(|column| format!("{} {}", column.name, column.data_type))
            .collect();
        self.fill(&path, &table, plan, false).map_err(|error| {
            let message = format!(
                "{}; late rows are put into columns for ({}), in this order",
                error.message,
                columns.join(", ")
            );
            of_option(SqlError::new(error.code, message))
        })
    }
}

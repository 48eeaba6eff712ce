//! DataFusion's functions that mean what Flink's do, under their Flink names.

use std::sync::Arc;

use datafusion::logical_expr::ScalarUDF;

/// A function of DataFusion's that Flink has too.
#[derive(Debug, Clone)]
pub struct Reused {
    /// Flink's lower-case name.
    pub name: &'static str,
    /// How it is called.
    pub usage: &'static str,
    /// What it does.
    pub doc: &'static str,
    function: Arc<ScalarUDF>,
}

impl Reused {
    /// A function under its Flink name.
    pub fn new(name: &'static str, usage: &'static str, doc: &'static str, function: Arc<ScalarUDF>) -> Self {
        Self { name, usage, doc, function }
    }

    /// The function, answering to Flink's name as well.
    pub fn into_udf(self) -> Arc<ScalarUDF> {
        let known =
            self.function.name() == self.name || self.function.aliases().iter().any(|a| a == self.name);
        match known {
            true => self.function,
            false => Arc::new(self.function.as_ref().clone().with_aliases([self.name])),
        }
    }
}

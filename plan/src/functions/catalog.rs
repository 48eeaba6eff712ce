//! Every function there is: registration and the list that `SHOW FUNCTIONS` and the documentation show.

use std::{collections::HashSet, sync::LazyLock};

use datafusion::{common::Result, execution::FunctionRegistry};

use super::{
    builtin::{Builtin, Family},
    reuse::Reused,
    string,
};

/// What is documented of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionDoc {
    /// Upper-case name.
    pub name: String,
    /// Where it is documented.
    pub family: Family,
    /// How it is called.
    pub signature: &'static str,
    /// What it does.
    pub doc: &'static str,
}

/// Makes every function known to `registry`: Flink's, and those of DataFusion's that its planner relies on.
///
/// Ours are put in last and so win over functions of DataFusion's with the same name.
pub fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    datafusion::functions::register_all(registry)?;
    datafusion::functions_nested::register_all(registry)?;
    datafusion::functions_aggregate::register_all(registry)?;
    datafusion::functions_window::register_all(registry)?;
    for (_, functions) in reused() {
        for function in functions {
            registry.register_udf(function.into_udf())?;
        }
    }
    for (_, functions) in builtins() {
        for function in functions {
            registry.register_udf(function.into_udf())?;
        }
    }
    Ok(())
}

/// Lists the functions that users may call, sorted by family and name.
pub fn names() -> Vec<FunctionDoc> {
    let own = builtins().into_iter().flat_map(|(family, functions)| {
        let public = functions.into_iter().filter(Builtin::is_public);
        public.flat_map(move |function| {
            let (signature, doc) = (function.usage, function.doc);
            let names: Vec<String> = function.names().map(str::to_uppercase).collect();
            names.into_iter().map(move |name| FunctionDoc { name, family, signature, doc })
        })
    });
    let reused = reused().into_iter().flat_map(|(family, functions)| {
        functions.into_iter().map(move |function| FunctionDoc {
            name: function.name.to_uppercase(),
            family,
            signature: function.usage,
            doc: function.doc,
        })
    });
    let mut all: Vec<FunctionDoc> = own.chain(reused).collect();
    all.sort_by(|a, b| (a.family, &a.name).cmp(&(b.family, &b.name)));
    all
}

/// Whether users may call a function of this name, in any case; the rest of the registry is for the planner.
pub fn is_flink_function(name: &str) -> bool {
    static NAMES: LazyLock<HashSet<String>> =
        LazyLock::new(|| names().into_iter().map(|function| function.name).collect());
    NAMES.contains(&name.to_uppercase())
}

fn builtins() -> Vec<(Family, Vec<Builtin>)> {
    vec![(Family::String, string::functions())]
}

fn reused() -> Vec<(Family, Vec<Reused>)> {
    vec![(Family::String, string::reused())]
}

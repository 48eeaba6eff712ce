//! Every function there is: registration and the list that `SHOW FUNCTIONS` and the documentation show.

use std::{
    collections::HashSet,
    sync::{Arc, LazyLock},
};

use datafusion::{
    common::Result,
    execution::{FunctionRegistry, SessionStateDefaults},
    logical_expr::planner::ExprPlanner,
};

use super::{
    aggregate,
    builtin::{Builtin, Family},
    collection, conditional,
    conversion::{self, CastRewrite, NamedCasts},
    hash, json, math,
    operators::{self, FlinkOperators},
    reuse::Reused,
    string, temporal, window,
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
    for function in reused().into_iter().flat_map(|(_, functions)| functions) {
        registry.register_udf(function.into_udf())?;
    }
    for function in builtins().into_iter().flat_map(|(_, functions)| functions).chain(operators::functions())
    {
        registry.register_udf(function.into_udf())?;
    }
    for function in temporal::clock_functions() {
        registry.register_udf(function.into_udf())?;
    }
    for function in temporal::clock_batch_functions() {
        registry.register_udf(function.into_udf())?;
    }
    for function in conditional::functions() {
        registry.register_udf(function.into_udf())?;
    }
    for function in aggregate::finishing_functions() {
        registry.register_udf(function.into_udf())?;
    }
    for function in aggregate::functions() {
        registry.register_udaf(function.into_udaf())?;
    }
    for function in window::functions() {
        registry.register_udwf(function.into_udwf())?;
    }
    for function in window::internal_functions() {
        registry.register_udwf(function)?;
    }
    registry.register_function_rewrite(Arc::new(CastRewrite))
}

/// The planners of operators, accesses and constructors: ours, then DataFusion's. The first that knows an expression plans it.
pub fn expr_planners() -> Vec<Arc<dyn ExprPlanner>> {
    let ours: Vec<Arc<dyn ExprPlanner>> = vec![Arc::new(FlinkOperators), Arc::new(NamedCasts)];
    [ours, SessionStateDefaults::default_expr_planners()].concat()
}

/// Lists the functions that users may call, sorted by family and name.
pub fn names() -> Vec<FunctionDoc> {
    let doc = |family, name: &str, signature, doc| FunctionDoc {
        name: name.to_uppercase(),
        family,
        signature,
        doc,
    };
    let mut all = vec![];
    for (family, functions) in builtins() {
        for function in functions.iter().filter(|function| function.is_public()) {
            all.extend(function.names().map(|name| doc(family, name, function.usage, function.doc)));
        }
    }
    for (family, functions) in reused() {
        all.extend(functions.iter().map(|function| doc(family, function.name, function.usage, function.doc)));
    }
    let clock = temporal::clock_functions();
    let clock = clock.iter().filter(|function| !function.usage.is_empty());
    all.extend(clock.map(|function| doc(Family::Temporal, function.name, function.usage, function.doc)));
    let choices = conditional::functions();
    all.extend(
        choices.iter().map(|function| doc(Family::Conditional, function.name, function.usage, function.doc)),
    );
    for function in aggregate::functions() {
        all.extend(function.names().map(|name| doc(Family::Aggregate, name, function.usage, function.doc)));
    }
    all.extend(
        aggregate::known()
            .iter()
            .map(|function| doc(Family::Aggregate, function.name, function.usage, function.doc)),
    );
    let windows = window::functions();
    all.extend(
        windows.iter().map(|function| doc(Family::Window, function.name, function.usage, function.doc)),
    );
    all.sort_by(|a, b| (a.family, &a.name).cmp(&(b.family, &b.name)));
    all
}

/// The function that users call by this name, in any case.
pub fn find(name: &str) -> Option<FunctionDoc> {
    names().into_iter().find(|function| function.name.eq_ignore_ascii_case(name))
}

/// Functions of DataFusion's that our parser puts in for `ROW(...)` and `MAP[...]`.
const CONSTRUCTORS: [&str; 2] = ["named_struct", "make_map"];

/// Whether a query may call a function of this name, in any case: Flink's, and what SQL's other forms are rewritten to. The rest
/// of the registry is for the planner.
pub fn is_callable(name: &str) -> bool {
    static NAMES: LazyLock<HashSet<String>> = LazyLock::new(|| {
        let public = names().into_iter().map(|function| function.name.to_lowercase());
        let builtins = builtins().into_iter().flat_map(|(_, functions)| functions);
        let internal = builtins.map(|function| function.name.to_owned());
        let clock = temporal::clock_functions().into_iter().map(|function| function.name.to_owned());
        public.chain(internal).chain(clock).chain(CONSTRUCTORS.map(str::to_owned)).collect()
    });
    NAMES.contains(&name.to_lowercase())
}

fn builtins() -> Vec<(Family, Vec<Builtin>)> {
    vec![
        (Family::String, string::functions()),
        (Family::Math, math::functions()),
        (Family::Temporal, temporal::functions()),
        (Family::Conversion, conversion::functions()),
        (Family::Hash, hash::functions()),
        (Family::Collection, collection::functions()),
        (Family::Json, json::functions()),
    ]
}

fn reused() -> Vec<(Family, Vec<Reused>)> {
    vec![
        (Family::String, string::reused()),
        (Family::Math, math::reused()),
        (Family::Conditional, conditional::reused()),
        (Family::Collection, collection::reused()),
    ]
}

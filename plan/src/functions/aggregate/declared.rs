//! An aggregate function as SQL sees it: name, arguments, type of the result.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use arrow::datatypes::{DataType, FieldRef};
use datafusion::{
    common::{Result, ScalarValue, internal_err, plan_err},
    logical_expr::{
        Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, Signature, Volatility,
        expr::{AggregateFunctionParams, WindowFunctionParams},
        function::{AccumulatorArgs, StateFieldsArgs},
        udaf_default_display_name, udaf_default_window_function_display_name,
        utils::AggregateOrderSensitivity,
    },
};

use crate::functions::{argument::type_name, builtin::Typing};

/// An aggregate function with Flink's types.
#[derive(Debug, Clone)]
pub struct Declared {
    /// Lower-case name.
    pub name: &'static str,
    /// How it is called.
    pub usage: &'static str,
    /// What it does.
    pub doc: &'static str,
    aliases: Vec<String>,
    takes: Typing<Vec<DataType>>,
    returns: Typing<DataType>,
    engine: Option<Arc<AggregateUDF>>,
    signature: Signature,
}

impl Declared {
    /// A function that takes and returns text, until told otherwise.
    pub fn new(name: &'static str, usage: &'static str, doc: &'static str) -> Self {
        Self {
            name,
            usage,
            doc,
            aliases: vec![],
            takes: |given| Ok(given.to_vec()),
            returns: |_| Ok(DataType::Utf8View),
            engine: None,
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }

    /// Other names of the function.
    pub fn also(mut self, aliases: &[&str]) -> Self {
        self.aliases = aliases.iter().map(ToString::to_string).collect();
        self
    }

    /// Takes what `check` returns for the given types, which may fail.
    pub fn takes(mut self, check: Typing<Vec<DataType>>) -> Self {
        self.takes = check;
        self
    }

    /// Returns values of a type that depends on the (coerced) types of the arguments.
    pub fn returns(mut self, typing: Typing<DataType>) -> Self {
        self.returns = typing;
        self
    }

    /// Is run by this function, at least for some types; without one it is always lowered.
    pub fn run_by(mut self, engine: Arc<AggregateUDF>) -> Self {
        self.engine = Some(engine);
        self
    }

    /// Every name it answers to.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.name).chain(self.aliases.iter().map(String::as_str))
    }

    /// Makes the DataFusion function.
    pub fn into_udaf(self) -> Arc<AggregateUDF> {
        Arc::new(AggregateUDF::new_from_impl(self))
    }

    fn engine(&self) -> Result<&dyn AggregateUDFImpl> {
        match &self.engine {
            Some(engine) => Ok(engine.inner().as_ref()),
            None => internal_err!("{} was not lowered", self.name),
        }
    }
}

impl PartialEq for Declared {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Declared {}

impl Hash for Declared {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl AggregateUDFImpl for Declared {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    /// DataFusion's own names leave casts out: `SUM(x)` and `SUM(CAST(x AS BIGINT))` could not stand side by side.
    fn schema_name(&self, params: &AggregateFunctionParams) -> Result<String> {
        udaf_default_display_name(self, params)
    }

    fn window_function_schema_name(&self, params: &WindowFunctionParams) -> Result<String> {
        udaf_default_window_function_display_name(self, params)
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        (self.takes)(given).or_else(|_| {
            let given: Vec<String> = given.iter().map(type_name).collect();
            let name = self.name.to_uppercase();
            plan_err!("{name} was given ({}); it is called as {}", given.join(", "), self.usage)
        })
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        (self.returns)(arguments)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        self.engine()?.accumulator(args)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.engine()?.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.engine().is_ok_and(|engine| engine.groups_accumulator_supported(args))
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        self.engine()?.create_groups_accumulator(args)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        self.engine()?.create_sliding_accumulator(args)
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        match self.engine {
            Some(_) => ReversedUDAF::Identical,
            None => ReversedUDAF::NotSupported,
        }
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        ScalarValue::try_from(data_type)
    }
}

//! The one shape of our scalar functions: a name, what it takes, what it returns, and a kernel over whole columns.
//!
//! A family is a `Vec<Builtin>`; [`Builtin::into_udf`] makes the DataFusion function. Where all arguments are constants the
//! kernel runs once, on one row.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use arrow::{
    array::ArrayRef,
    datatypes::{DataType, Field, FieldRef},
};
use datafusion::{
    common::{Result, ScalarValue, plan_err},
    logical_expr::{
        ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
    },
};

use super::argument::{Call, Kind};

/// The group a function is documented in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Text in, text or positions out.
    String,
    /// Numbers.
    Math,
    /// Dates, times, timestamps, intervals.
    Temporal,
    /// Choices between values, tests of values.
    Conditional,
    /// Types.
    Conversion,
    /// JSON text.
    Json,
    /// Digests.
    Hash,
    /// Arrays and maps.
    Collection,
    /// Many rows in, one out.
    Aggregate,
    /// Over a window of rows.
    Window,
}

impl Family {
    /// The heading in the documentation.
    pub fn title(self) -> &'static str {
        match self {
            Family::String => "String",
            Family::Math => "Math",
            Family::Temporal => "Temporal",
            Family::Conditional => "Conditional",
            Family::Conversion => "Type conversion",
            Family::Json => "JSON",
            Family::Hash => "Hash",
            Family::Collection => "Collection",
            Family::Aggregate => "Aggregate",
            Family::Window => "Window",
        }
    }
}

/// Computes a column from columns.
pub type Kernel = fn(&Call) -> Result<ArrayRef>;

/// Works out types from the types of the arguments.
pub type Typing<T> = fn(&[DataType]) -> Result<T>;

/// Works out the type of the result from the arguments, constants among them.
pub type FieldTyping = fn(&ReturnFieldArgs) -> Result<DataType>;

#[derive(Debug, Clone)]
enum Takes {
    Kinds { kinds: Vec<Kind>, required: usize, last_repeats: bool },
    Checked(Typing<Vec<DataType>>),
}

#[derive(Debug, Clone)]
enum Returns {
    Always(DataType),
    Depends(Typing<DataType>),
    Field(FieldTyping),
}

/// A scalar function of ours.
#[derive(Debug, Clone)]
pub struct Builtin {
    /// Lower-case name.
    pub name: &'static str,
    /// How it is called, as the documentation shows it; empty for a function that only our own rewrites call.
    pub usage: &'static str,
    /// What it does, in a sentence or two.
    pub doc: &'static str,
    aliases: Vec<String>,
    takes: Takes,
    returns: Returns,
    signature: Signature,
    kernel: Kernel,
}

impl Builtin {
    /// A function of text that takes nothing, until told otherwise.
    pub fn new(name: &'static str, usage: &'static str, doc: &'static str, kernel: Kernel) -> Self {
        Self {
            name,
            usage,
            doc,
            aliases: vec![],
            takes: Takes::Kinds { kinds: vec![], required: 0, last_repeats: false },
            returns: Returns::Always(DataType::Utf8View),
            signature: Signature::user_defined(Volatility::Immutable),
            kernel,
        }
    }

    /// A function that only our own rewrites call; users do not see it.
    pub fn internal(name: &'static str, kernel: Kernel) -> Self {
        Self::new(name, "", "", kernel)
    }

    /// Other names of the function.
    pub fn also(mut self, aliases: &[&str]) -> Self {
        self.aliases = aliases.iter().map(ToString::to_string).collect();
        self
    }

    /// Takes exactly these.
    pub fn takes(self, kinds: &[Kind]) -> Self {
        self.takes_at_least(kinds.len(), kinds)
    }

    /// Takes these; those after the first `required` may be left out.
    pub fn takes_at_least(mut self, required: usize, kinds: &[Kind]) -> Self {
        self.takes = Takes::Kinds { kinds: kinds.to_vec(), required, last_repeats: false };
        self
    }

    /// Takes these, the last one any number of times from the count that `kinds` shows.
    pub fn takes_many(mut self, kinds: &[Kind]) -> Self {
        self.takes = Takes::Kinds { kinds: kinds.to_vec(), required: kinds.len(), last_repeats: true };
        self
    }

    /// Takes what the function returns for the given types, which may fail.
    pub fn takes_checked(mut self, check: Typing<Vec<DataType>>) -> Self {
        self.takes = Takes::Checked(check);
        self
    }

    /// Returns values of this type.
    pub fn returns(mut self, data_type: DataType) -> Self {
        self.returns = Returns::Always(data_type);
        self
    }

    /// Returns values of a type that depends on the (coerced) types of the arguments.
    pub fn returns_by(mut self, typing: Typing<DataType>) -> Self {
        self.returns = Returns::Depends(typing);
        self
    }

    /// Returns values of a type that depends on the arguments, constants among them.
    pub fn returns_field(mut self, typing: FieldTyping) -> Self {
        self.returns = Returns::Field(typing);
        self
    }

    /// Gives another answer at each call.
    pub fn volatile(mut self) -> Self {
        self.signature = Signature::user_defined(Volatility::Volatile);
        self
    }

    /// Whether users may call it.
    pub fn is_public(&self) -> bool {
        !self.usage.is_empty()
    }

    /// Every name it answers to.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.name).chain(self.aliases.iter().map(String::as_str))
    }

    /// Makes the DataFusion function.
    pub fn into_udf(self) -> Arc<ScalarUDF> {
        Arc::new(ScalarUDF::new_from_impl(self))
    }

    fn wrong_arguments<T>(&self, given: &[DataType]) -> Result<T> {
        let usage = if self.usage.is_empty() { self.name } else { self.usage };
        let given: Vec<String> = given.iter().map(super::argument::type_name).collect();
        plan_err!("{} was given ({}); it is called as {usage}", self.name.to_uppercase(), given.join(", "))
    }
}

impl PartialEq for Builtin {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Builtin {}

impl Hash for Builtin {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Builtin {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let (kinds, required, last_repeats) = match &self.takes {
            Takes::Checked(check) => return check(given).or_else(|_| self.wrong_arguments(given)),
            Takes::Kinds { kinds, required, last_repeats } => (kinds, *required, *last_repeats),
        };
        if given.len() < required || (given.len() > kinds.len() && !last_repeats) {
            return self.wrong_arguments(given);
        }
        let coerced = given.iter().enumerate().map(|(index, data_type)| {
            let kind = kinds.get(index).or(kinds.last());
            kind.and_then(|kind| kind.coerce(data_type))
        });
        coerced.collect::<Option<Vec<_>>>().map_or_else(|| self.wrong_arguments(given), Ok)
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match &self.returns {
            Returns::Always(data_type) => Ok(data_type.clone()),
            Returns::Depends(typing) => typing(arguments),
            Returns::Field(_) => {
                plan_err!("the type of {} depends on the values of its arguments", self.name)
            }
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let data_type = match &self.returns {
            Returns::Field(typing) => typing(&args)?,
            _ => {
                let types: Vec<DataType> =
                    args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
                self.return_type(&types)?
            }
        };
        Ok(Arc::new(Field::new(self.name, data_type, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let volatile = self.signature.volatility == Volatility::Volatile;
        let constant = !volatile && args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let call = Call {
            arguments: &args.args,
            rows: if constant { 1 } else { args.number_rows },
            return_type: args.return_field.data_type(),
            config: &args.config_options,
        };
        let column = (self.kernel)(&call)?;
        Ok(match constant {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&column, 0)?),
            false => ColumnarValue::Array(column),
        })
    }
}

//! Arrays and maps.

mod access;
mod edit;
mod lists;
mod map;
mod order;
mod set;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::{
    common::{Result, plan_err},
    functions_nested as df,
    logical_expr::type_coercion::binary::type_union_resolution,
};

use super::{builtin::Builtin, reuse::Reused};

pub use lists::Comparable;

/// DataFusion's collection functions that mean what Flink's do.
pub fn reused() -> Vec<Reused> {
    vec![
        Reused::new(
            "array_reverse",
            "ARRAY_REVERSE(array)",
            "The elements backwards.",
            df::reverse::array_reverse_udf(),
        ),
        Reused::new("array_max", "ARRAY_MAX(array)", "The greatest element.", df::min_max::array_max_udf()),
        Reused::new("array_min", "ARRAY_MIN(array)", "The least element.", df::min_max::array_min_udf()),
        Reused::new("map_keys", "MAP_KEYS(map)", "The keys.", df::map_keys::map_keys_udf()),
        Reused::new("map_values", "MAP_VALUES(map)", "The values.", df::map_values::map_values_udf()),
        Reused::new(
            "map_entries",
            "MAP_ENTRIES(map)",
            "The entries, as rows of key and value.",
            df::map_entries::map_entries_udf(),
        ),
        Reused::new(
            "map_from_arrays",
            "MAP_FROM_ARRAYS(keys, values)",
            "A map of two arrays of the same length.",
            df::map::map_udf(),
        ),
    ]
}

/// Our own collection functions.
pub fn functions() -> Vec<Builtin> {
    [reading(), changing(), sets()].concat()
}

fn reading() -> Vec<Builtin> {
    vec![
        Builtin::new(
            "cardinality",
            "CARDINALITY(array | map)",
            "Number of elements or entries.",
            access::cardinality,
        )
        .takes_checked(collection)
        .returns(DataType::Int32),
        Builtin::new(
            "element",
            "ELEMENT(array)",
            "The only element; NULL of an empty array, an error if there are more.",
            access::element,
        )
        .takes_checked(array)
        .returns_by(item),
        Builtin::new(
            "array_contains",
            "ARRAY_CONTAINS(array, element)",
            "Whether the element is there; NULL is found like any other.",
            access::contains,
        )
        .takes_checked(array_and_item)
        .returns(DataType::Boolean),
        Builtin::new(
            "array_position",
            "ARRAY_POSITION(array, element)",
            "Place of the element, from 1; 0 if it is not there.",
            access::position,
        )
        .takes_checked(array_and_item)
        .returns(DataType::Int32),
        Builtin::new(
            "array_join",
            "ARRAY_JOIN(array, delimiter [, null_replacement])",
            "The strings joined; NULLs are replaced or left out.",
            access::join,
        )
        .takes_checked(array_and_texts),
    ]
}

fn changing() -> Vec<Builtin> {
    vec![
        Builtin::new(
            "array_slice",
            "ARRAY_SLICE(array, start [, end])",
            "The elements from `start` to `end`, from 1; negative counts from the end.",
            edit::slice,
        )
        .takes_checked(array_and_integers)
        .returns_by(first),
        Builtin::new(
            "array_append",
            "ARRAY_APPEND(array, element)",
            "With the element at the end.",
            edit::append,
        )
        .takes_checked(array_and_item)
        .returns_by(first),
        Builtin::new(
            "array_prepend",
            "ARRAY_PREPEND(array, element)",
            "With the element at the start.",
            edit::prepend,
        )
        .takes_checked(array_and_item)
        .returns_by(first),
        Builtin::new(
            "array_remove",
            "ARRAY_REMOVE(array, element)",
            "Without the elements that equal it.",
            edit::remove,
        )
        .takes_checked(array_and_item)
        .returns_by(first),
        Builtin::new(
            "array_concat",
            "ARRAY_CONCAT(array, ...)",
            "All elements of all arrays; NULL if an array is NULL.",
            edit::concat,
        )
        .takes_checked(arrays)
        .returns_by(first),
        Builtin::new(
            "array_sort",
            "ARRAY_SORT(array [, ascending [, null_first]])",
            "Sorted; NULLs first when ascending, unless told otherwise.",
            order::sort,
        )
        .takes_checked(array_and_booleans)
        .returns_by(first),
        Builtin::new(
            "map_union",
            "MAP_UNION(map, ...)",
            "The entries of all maps; of equal keys the last one stays.",
            map::union,
        )
        .takes_checked(maps)
        .returns_by(first),
    ]
}

fn sets() -> Vec<Builtin> {
    vec![
        Builtin::new(
            "array_distinct",
            "ARRAY_DISTINCT(array)",
            "Each element once, in the order in which they first come.",
            set::distinct,
        )
        .takes_checked(array)
        .returns_by(first),
        Builtin::new("array_union", "ARRAY_UNION(array1, array2)", "Each element of both once.", set::union)
            .takes_checked(two_arrays)
            .returns_by(first),
        Builtin::new(
            "array_except",
            "ARRAY_EXCEPT(array1, array2)",
            "The elements of the first that are not in the second, each once.",
            set::except,
        )
        .takes_checked(two_arrays)
        .returns_by(first),
        Builtin::new(
            "array_intersect",
            "ARRAY_INTERSECT(array1, array2)",
            "The elements that are in both, each once.",
            set::intersect,
        )
        .takes_checked(two_arrays)
        .returns_by(first),
    ]
}

fn first(types: &[DataType]) -> Result<DataType> {
    types.first().map_or_else(|| plan_err!("an argument is missing"), |first| Ok(first.clone()))
}

fn item(types: &[DataType]) -> Result<DataType> {
    first(types).and_then(|list| item_of(&list))
}

fn item_of(list: &DataType) -> Result<DataType> {
    match list {
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            Ok(field.data_type().clone())
        }
        DataType::Null => Ok(DataType::Null),
        _ => plan_err!("an array is needed"),
    }
}

fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

fn collection(given: &[DataType]) -> Result<Vec<DataType>> {
    match given {
        [map @ DataType::Map(..)] => Ok(vec![map.clone()]),
        _ => array(given),
    }
}

fn array(given: &[DataType]) -> Result<Vec<DataType>> {
    match given {
        [list] => Ok(vec![list_of(item_of(list)?)]),
        _ => plan_err!("one array is needed"),
    }
}

fn array_and_item(given: &[DataType]) -> Result<Vec<DataType>> {
    let [list, item] = given else { return plan_err!("an array and an element are needed") };
    match type_union_resolution(&[item_of(list)?, item.clone()]) {
        Some(common) => Ok(vec![list_of(common.clone()), common]),
        None => plan_err!("the element does not fit the array"),
    }
}

fn arrays(given: &[DataType]) -> Result<Vec<DataType>> {
    let items = given.iter().map(item_of).collect::<Result<Vec<_>>>()?;
    match type_union_resolution(&items) {
        Some(common) => Ok(vec![list_of(common); given.len()]),
        None => plan_err!("the arrays have elements of different types"),
    }
}

fn two_arrays(given: &[DataType]) -> Result<Vec<DataType>> {
    if given.len() == 2 { arrays(given) } else { plan_err!("two arrays are needed") }
}

fn maps(given: &[DataType]) -> Result<Vec<DataType>> {
    match given {
        [first @ DataType::Map(..), ..] => Ok(vec![first.clone(); given.len()]),
        _ => plan_err!("maps are needed"),
    }
}

fn array_and_integers(given: &[DataType]) -> Result<Vec<DataType>> {
    array_and_more(given, 2..=3, DataType::is_integer, DataType::Int64)
}

fn array_and_booleans(given: &[DataType]) -> Result<Vec<DataType>> {
    array_and_more(given, 1..=3, |given| *given == DataType::Boolean, DataType::Boolean)
}

fn array_and_texts(given: &[DataType]) -> Result<Vec<DataType>> {
    array_and_more(given, 2..=3, DataType::is_string, DataType::Utf8View)
}

fn array_and_more(
    given: &[DataType],
    count: std::ops::RangeInclusive<usize>,
    fits: fn(&DataType) -> bool,
    coerced: DataType,
) -> Result<Vec<DataType>> {
    let [list, rest @ ..] = given else { return plan_err!("an array is needed") };
    if !count.contains(&given.len()) || !rest.iter().all(|given| fits(given) || given.is_null()) {
        return plan_err!("wrong arguments");
    }
    Ok([vec![list_of(item_of(list)?)], vec![coerced; rest.len()]].concat())
}

//! The `datagen` connector: a source of made-up rows, bounded here by `number-of-rows`.

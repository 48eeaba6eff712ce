//! Whether a table's rows stay, as they are read and as they can be written.

/// What can become of a table's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changes {
    /// They stay as they come.
    Append,
    /// A row replaces the one with the same primary key; a row of weight -1 is that key's end and has nothing but the key.
    Upsert,
    /// They are taken back as they were given, column by column.
    All,
}

//! Which changes rows with weights stand for, in Flink's words.

/// The name of the column with a row's weight: how many times it is added or, below zero, taken back.
pub const WEIGHT: &str = "__weight";

/// What becomes of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Insert,
    /// It is replaced by the next.
    UpdateBefore,
    /// It replaces the one before.
    UpdateAfter,
    /// It is gone.
    Delete,
}

impl ChangeKind {
    /// `+I`, `-U`, `+U`, `-D`.
    pub fn short(self) -> &'static str {
        match self {
            ChangeKind::Insert => "+I",
            ChangeKind::UpdateBefore => "-U",
            ChangeKind::UpdateAfter => "+U",
            ChangeKind::Delete => "-D",
        }
    }

    /// The whole word.
    pub fn name(self) -> &'static str {
        match self {
            ChangeKind::Insert => "INSERT",
            ChangeKind::UpdateBefore => "UPDATE_BEFORE",
            ChangeKind::UpdateAfter => "UPDATE_AFTER",
            ChangeKind::Delete => "DELETE",
        }
    }
}

/// The changes that rows with these weights are, each with the row's position. One that is taken back just before another is added
/// is replaced by that.
pub fn changes(weights: &[i64]) -> impl Iterator<Item = (usize, ChangeKind)> + '_ {
    let is_replaced = |row: usize| weights[row] == -1 && weights.get(row + 1) == Some(&1);
    weights.iter().enumerate().flat_map(move |(row, weight)| {
        let replaces = row > 0 && is_replaced(row - 1);
        let kind = match (*weight > 0, replaces, is_replaced(row)) {
            (true, true, _) => ChangeKind::UpdateAfter,
            (true, false, _) => ChangeKind::Insert,
            (false, _, true) => ChangeKind::UpdateBefore,
            (false, _, false) => ChangeKind::Delete,
        };
        std::iter::repeat_n((row, kind), usize::try_from(weight.unsigned_abs()).unwrap_or(usize::MAX))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_taken_back_before_another_is_replaced_by_it() {
        let kinds = |weights: &[i64]| {
            let shown: Vec<_> =
                changes(weights).map(|(row, kind)| format!("{row}{}", kind.short())).collect();
            shown.join(" ")
        };
        assert_eq!(kinds(&[1, -1, 1, -1, -1, 1, 2, 0]), "0+I 1-U 2+U 3-D 4-U 5+U 6+I 6+I");
        assert_eq!(kinds(&[-1, 2, -2]), "0-D 1+I 1+I 2-D 2-D");
    }
}

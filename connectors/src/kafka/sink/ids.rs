//! Transactional ids: `PREFIX-VERTEX-SUBTASK-NUMBER`.

use thalweg_graph::SubtaskId;

/// What the ids of one subtask begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdSpace {
    prefix: String,
    subtask: SubtaskId,
}

impl IdSpace {
    /// Of a subtask of a job with this prefix.
    pub fn new(prefix: &str, subtask: SubtaskId) -> Self {
        Self { prefix: prefix.to_owned(), subtask }
    }

    /// The id of this number.
    pub fn id(&self, number: u32) -> String {
        format!("{}-{}-{}-{number}", self.prefix, self.subtask.vertex.0, self.subtask.index)
    }

    /// The number of an id that is one of these.
    pub fn number(&self, id: &str) -> Option<u32> {
        let [vertex, subtask, number] = numbers(&self.prefix, id)?;
        (vertex == self.subtask.vertex.0 && subtask == self.subtask.index).then_some(number)
    }
}

/// Vertex, subtask and number of an id that begins with a prefix, and not with a longer one.
pub fn numbers(prefix: &str, id: &str) -> Option<[u32; 3]> {
    let rest = id.strip_prefix(prefix)?.strip_prefix('-')?;
    let mut parts = rest
        .split('-')
        .map(|part| part.parse().ok().filter(|_| part.bytes().all(|byte| byte.is_ascii_digit())));
    let numbers = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use thalweg_graph::VertexId;

    use super::*;

    #[test]
    fn ids_are_told_apart() {
        let ids = IdSpace::new("etl", SubtaskId { vertex: VertexId(2), index: 1 });
        assert_eq!(ids.id(3), "etl-2-1-3");
        assert_eq!(ids.number("etl-2-1-3"), Some(3));
        assert_eq!(ids.number("etl-2-11-3"), None);
        assert_eq!(numbers("etl", "etl-9-8-7"), Some([9, 8, 7]));
        for other in ["etl-1-2-1-3", "etl-2-1", "etl2-2-1-3", "etl-2-1-x", "etl-2-1-+3"] {
            assert_eq!(numbers("etl", other), None, "{other}");
        }
    }
}

//! Transactional ids: `PREFIX-JOB-VERTEX-SUBTASK-ATTEMPT-NUMBER`.
//!
//! No two attempts share one. An attempt that was cut off, or stood still and goes on when others have taken its place, can end no
//! transaction but its own, whatever it does.

use thalweg_graph::{Attempt, JobId, SubtaskId};

/// What the ids of one attempt begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdSpace {
    prefix: String,
    attempt: Attempt,
}

impl IdSpace {
    /// Of an attempt of a job with this prefix.
    pub fn new(prefix: &str, attempt: Attempt) -> Self {
        Self { prefix: prefix.to_owned(), attempt }
    }

    /// The id of this number.
    pub fn id(&self, number: u32) -> String {
        let Attempt { job, subtask, number: attempt } = self.attempt;
        format!("{}-{job}-{}-{}-{attempt}-{number}", self.prefix, subtask.vertex.0, subtask.index)
    }

    /// Whose id it is, where it is one of the same subtask.
    pub fn kin(&self, id: &str) -> Option<Kin> {
        let owner = owner(&self.prefix, id).filter(|owner| owner.subtask == self.attempt.subtask)?;
        Some(match owner.job == self.attempt.job {
            false => Kin::OfAnotherJob,
            true if owner.number < self.attempt.number => Kin::Earlier(owner.number),
            true if owner.number > self.attempt.number => Kin::Later(owner.number),
            true => Kin::Own,
        })
    }

    /// The number of the attempt.
    pub fn attempt(&self) -> u32 {
        self.attempt.number
    }
}

/// Whose id of a subtask one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kin {
    /// The attempt's own.
    Own,
    /// That of an attempt before it: of this number.
    Earlier(u32),
    /// That of an attempt which came behind it: of this number.
    Later(u32),
    /// That of an attempt of another job with the same prefix.
    OfAnotherJob,
}

/// The attempt to which an id belongs that begins with a prefix, and not with a longer one.
pub fn owner(prefix: &str, id: &str) -> Option<Attempt> {
    let rest = id.strip_prefix(prefix)?.strip_prefix('-')?;
    let mut parts = rest.split('-');
    let job: JobId = parts.next()?.parse().ok()?;
    let mut numbers =
        parts.map(|part| part.parse().ok().filter(|_| part.bytes().all(|byte| byte.is_ascii_digit())));
    let [vertex, index, number, _] = [numbers.next()??, numbers.next()??, numbers.next()??, numbers.next()??];
    let subtask = SubtaskId { vertex: thalweg_graph::VertexId(vertex), index };
    numbers.next().is_none().then_some(Attempt { job, subtask, number })
}

#[cfg(test)]
mod tests {
    use thalweg_graph::VertexId;

    use super::*;

    #[test]
    fn ids_are_told_apart() {
        let attempt = |number| Attempt {
            job: JobId(0xab),
            subtask: SubtaskId { vertex: VertexId(2), index: 1 },
            number,
        };
        let job = JobId(0xab).to_string();
        let ids = IdSpace::new("etl", attempt(4));
        assert_eq!(ids.id(3), format!("etl-{job}-2-1-4-3"));
        assert_eq!(owner("etl", &ids.id(3)), Some(attempt(4)));
        let of = |number| IdSpace::new("etl", attempt(number)).id(0);
        assert_eq!(
            [of(3), of(4), of(5)].map(|id| ids.kin(&id)),
            [Kin::Earlier(3), Kin::Own, Kin::Later(5)].map(Some)
        );
        assert_eq!(ids.kin(&format!("etl-{job}-2-11-5-3")), None);
        assert_eq!(ids.kin(&format!("etl-{}-2-1-5-3", JobId(0xac))), Some(Kin::OfAnotherJob));
        let others = ["etl-x-2-1-4-3", "etl-2-1-4-3", "etl-2-1-3", "etl2-{job}-2-1-4-3", "etl-{job}-2-1-4-x"];
        let more = ["etl-{job}-2-1-4", "etl-{job}-2-1-4-3-5", "etl-1-{job}-2-1-4-3", "etl-{job}-2-1-4-+3"];
        for other in others.iter().chain(&more).map(|other| other.replace("{job}", &job)) {
            assert_eq!(owner("etl", &other), None, "{other}");
        }
    }
}

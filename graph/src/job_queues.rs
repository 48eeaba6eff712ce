//! Queues that jobs belong to, and how much the jobs of one may have together.

use std::{collections::BTreeMap, fmt};

/// What the jobs of a queue may have together; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Slots.
    pub slots: Option<u32>,
    /// Jobs that run at a time.
    pub jobs: Option<u32>,
}

/// The queues of a cluster, as the option of that name has them: `etl: slots=10, jobs=2; adhoc: slots=4`.
///
/// The queue `default` is there without being named. A cluster that names none has that one only, without limits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobQueues(BTreeMap<String, Limits>);

impl JobQueues {
    /// That of a job which names none.
    pub const DEFAULT: &str = "default";

    /// The limits of a queue.
    pub fn of(&self, queue: &str) -> Limits {
        self.0.get(queue).copied().unwrap_or_default()
    }

    /// Whether a job may name it.
    pub fn has(&self, queue: &str) -> bool {
        queue == Self::DEFAULT || self.0.contains_key(queue)
    }

    /// Those that a job may name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let others = self.0.keys().map(String::as_str).filter(|name| *name != Self::DEFAULT);
        std::iter::once(Self::DEFAULT).chain(others)
    }

    /// Reads them; `None` if the text is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut queues = BTreeMap::new();
        for queue in text.split(';').map(str::trim).filter(|queue| !queue.is_empty()) {
            let (name, limits) = queue.split_once(':').unwrap_or((queue, ""));
            let name = name.trim();
            let is_word = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
            if name.is_empty() || !name.chars().all(is_word) || queues.contains_key(name) {
                return None;
            }
            queues.insert(name.to_owned(), parse_limits(limits)?);
        }
        Some(Self(queues))
    }
}

impl fmt::Display for JobQueues {
    /// The names that a job may give.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, name) in self.names().enumerate() {
            write!(f, "{}`{name}`", if position > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

fn parse_limits(text: &str) -> Option<Limits> {
    let mut limits = Limits::default();
    for limit in text.split(',').map(str::trim).filter(|limit| !limit.is_empty()) {
        let (what, number) = limit.split_once('=')?;
        let number: u32 = number.trim().parse().ok().filter(|number| *number > 0)?;
        let limit = match what.trim() {
            "slots" => &mut limits.slots,
            "jobs" => &mut limits.jobs,
            _ => return None,
        };
        if limit.replace(number).is_some() {
            return None;
        }
    }
    Some(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_read_as_they_are_written() {
        let queues = JobQueues::parse("etl: slots=10, jobs=2; adhoc:slots=4 ;free").unwrap();
        assert_eq!(queues.of("etl"), Limits { slots: Some(10), jobs: Some(2) });
        assert_eq!(queues.of("adhoc"), Limits { slots: Some(4), jobs: None });
        assert_eq!(queues.of("free"), Limits::default());
        assert_eq!(queues.names().collect::<Vec<_>>(), ["default", "adhoc", "etl", "free"]);
        assert!(queues.has("default") && !queues.has("other"));
        assert_eq!(JobQueues::parse("").unwrap().to_string(), "`default`");
    }

    #[test]
    fn whatever_is_not_one_is_refused() {
        for wrong in [
            "a b: slots=1",
            ": slots=1",
            "a: slots",
            "a: slots=0",
            "a: slots=-1",
            "a: cpus=1",
            "a: slots=1, slots=2",
            "a; a",
        ] {
            assert_eq!(JobQueues::parse(wrong), None, "{wrong}");
        }
    }
}

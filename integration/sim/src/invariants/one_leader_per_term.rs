//! In a term one JobManager acts, and no worker goes back to an older term.

use std::collections::BTreeMap;

use thalweg_graph::{Term, WorkerId};

use super::Invariant;
use crate::event::Event;

/// See the module.
#[derive(Default)]
pub struct OneLeaderPerTerm {
    leaders: BTreeMap<Term, u64>,
    obeyed: BTreeMap<WorkerId, Term>,
}

impl Invariant for OneLeaderPerTerm {
    fn name(&self) -> &'static str {
        "one leader per term acts"
    }

    fn see(&mut self, event: &Event) -> Result<(), String> {
        let (member, term) = match event {
            Event::Leads { member, term } => (*member, *term),
            Event::Obeys { worker, member, term } => {
                let newest = self.obeyed.entry(worker.clone()).or_insert(*term);
                if *term < *newest {
                    return Err(format!("{worker} obeys term {} after term {}", term.0, newest.0));
                }
                *newest = *term;
                (*member, *term)
            }
            _ => return Ok(()),
        };
        match *self.leaders.entry(term).or_insert(member) {
            first if first == member => Ok(()),
            first => Err(format!("jm-{first} and jm-{member} both act in term {}", term.0)),
        }
    }
}

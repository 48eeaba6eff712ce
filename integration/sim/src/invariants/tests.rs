//! Each invariant sees a life that breaks it.

use thalweg_graph::{Attempt, CheckpointId, JobEpoch, JobId, SubtaskId, Term, VertexId, WorkerId};

use super::all;
use crate::{event::Event, rows::Rows};

const JOB: JobId = JobId(1);

fn worker() -> WorkerId {
    WorkerId("w1.1".to_owned())
}

fn attempt(job: u128, index: u32, number: u32) -> Attempt {
    Attempt { job: JobId(job), subtask: SubtaskId { vertex: VertexId(0), index }, number }
}

fn offers(slots: u32) -> Event {
    Event::Offers { worker: worker(), slots }
}

fn began(attempt: Attempt, epoch: u64, slot: u64) -> Event {
    Event::TaskBegan { worker: worker(), attempt, epoch: JobEpoch(epoch), slot }
}

fn ended(attempt: Attempt) -> Event {
    Event::TaskEnded { worker: worker(), attempt, how: "finished" }
}

fn accepted(key: &str, job: u128) -> Event {
    Event::Accepted { key: key.to_owned(), jobs: vec![JobId(job)] }
}

fn found(status: Option<&str>) -> Event {
    Event::Found { job: JOB, status: status.map(str::to_owned) }
}

fn committed(number: u32, from: u64, to: u64) -> Event {
    let rows = Rows { attempt: attempt(1, 0, number), shard: 0, shards: 1, from, to, total: 10 };
    Event::Committed { member: 1, job: JOB, rows: vec![rows] }
}

fn stored(checkpoint: u64, manifest: u64) -> Event {
    Event::Stored { member: 1, job: JOB, checkpoint: CheckpointId(checkpoint), manifest }
}

fn completed(checkpoint: u64) -> Event {
    Event::Completed { worker: worker(), job: JOB, checkpoint: CheckpointId(checkpoint) }
}

/// The invariants that a whole life breaks.
fn broken(events: &[Event]) -> Vec<&'static str> {
    let mut invariants = all();
    let mut broken = Vec::new();
    for invariant in &mut invariants {
        let seen = events.iter().try_for_each(|event| invariant.see(event));
        if seen.and_then(|()| invariant.end()).is_err() {
            broken.push(invariant.name());
        }
    }
    broken
}

#[test]
fn a_good_life_breaks_none() {
    let life = [
        offers(1),
        Event::Leads { member: 1, term: Term(1) },
        Event::Obeys { worker: worker(), member: 1, term: Term(1) },
        accepted("a", 1),
        accepted("a", 1),
        began(attempt(1, 0, 0), 0, 5),
        stored(1, 7),
        stored(1, 7),
        committed(0, 0, 4),
        committed(0, 0, 4),
        completed(1),
        Event::Leads { member: 2, term: Term(2) },
        Event::Obeys { worker: worker(), member: 2, term: Term(2) },
        committed(0, 4, 10),
        ended(attempt(1, 0, 0)),
        found(Some("FINISHED")),
    ];
    assert_eq!(broken(&life), Vec::<&str>::new());
}

#[test]
fn two_leaders_in_a_term() {
    let both = [Event::Leads { member: 1, term: Term(3) }, Event::Leads { member: 2, term: Term(3) }];
    assert_eq!(broken(&both), ["one leader per term acts"]);
    let obeys = |member, term| Event::Obeys { worker: worker(), member, term: Term(term) };
    assert_eq!(
        broken(&[Event::Leads { member: 1, term: Term(3) }, obeys(2, 3)]),
        ["one leader per term acts"]
    );
    assert_eq!(broken(&[obeys(1, 3), obeys(2, 2)]), ["one leader per term acts"]);
}

#[test]
fn a_submission_that_is_lost() {
    assert_eq!(broken(&[accepted("a", 1)]), ["no acknowledged submission is lost"]);
    assert_eq!(broken(&[accepted("a", 1), found(None)]), ["no acknowledged submission is lost"]);
    assert_eq!(broken(&[accepted("a", 1), found(Some("FAILED"))]), ["no acknowledged submission is lost"]);
}

#[test]
fn a_job_that_runs_twice() {
    let both = [accepted("a", 1), accepted("a", 2), found(Some("FINISHED"))];
    assert!(broken(&both).contains(&"no job runs twice"));
    let shared = [accepted("a", 1), accepted("b", 1)];
    assert!(broken(&shared).contains(&"no job runs twice"));
}

#[test]
fn rows_that_are_visible_twice_or_not_at_all() {
    let name = "every row is visible once";
    assert_eq!(broken(&[committed(0, 0, 5), committed(1, 4, 10)]), [name], "of two attempts");
    assert_eq!(broken(&[committed(0, 0, 5), committed(1, 0, 5)]), [name], "the same of two attempts");
    assert_eq!(broken(&[committed(0, 0, 5), found(Some("FINISHED"))]), [name], "the end is missing");
    assert_eq!(broken(&[committed(0, 5, 10), found(Some("FINISHED"))]), [name], "the beginning is missing");
    assert_eq!(broken(&[found(Some("FINISHED"))]), [name], "all are missing");
}

#[test]
fn a_slot_that_is_given_twice() {
    let ends = [ended(attempt(1, 0, 0)), ended(attempt(2, 0, 0))];
    let same = [offers(2), began(attempt(1, 0, 0), 0, 5), began(attempt(2, 0, 0), 0, 5)];
    assert_eq!(broken(&[&same[..], &ends].concat()), ["no slot is given twice"]);
    let too_many = [offers(1), began(attempt(1, 0, 0), 0, 5), began(attempt(2, 0, 0), 0, 6)];
    assert_eq!(broken(&[&too_many[..], &ends].concat()), ["no slot is given twice"]);
}

#[test]
fn a_task_of_an_old_epoch() {
    let name = "no task of an old epoch survives";
    let (old, new) = (attempt(1, 0, 0), attempt(1, 1, 1));
    let older = [offers(2), began(new, 2, 5), began(old, 1, 5), ended(old), ended(new)];
    assert_eq!(broken(&older), [name]);
    let twice = [offers(1), began(new, 1, 5), ended(new), began(new, 1, 5), ended(new)];
    assert_eq!(broken(&twice), [name]);
    assert_eq!(broken(&[offers(1), began(old, 1, 5)]), [name], "it runs when all is over");
}

#[test]
fn a_checkpoint_that_completes_twice_or_never_was() {
    let name = "a checkpoint completes once or is dropped";
    assert_eq!(broken(&[stored(1, 7), stored(1, 8)]), [name]);
    assert_eq!(broken(&[completed(1)]), [name]);
    assert_eq!(broken(&[stored(1, 7), stored(2, 8), completed(2), completed(1)]), [name]);
}

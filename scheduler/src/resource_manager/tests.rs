//! The resource manager's turns, limits and books.

use proptest::prelude::*;

use super::*;
use crate::testing::registration;

const TIMEOUT: Duration = Duration::from_secs(60);

fn manager() -> ResourceManager {
    with_queues("")
}

fn with_queues(queues: &str) -> ResourceManager {
    let settings = Settings {
        heartbeat_interval: Duration::from_secs(2),
        heartbeat_timeout: Duration::from_secs(10),
        session_grace: Duration::from_millis(50),
        queues: Arc::new(JobQueues::parse(queues).unwrap()),
    };
    ResourceManager::new(settings, Term(1))
}

fn introduce(manager: &mut ResourceManager, job: u128, queue: &str, priority: i32) {
    manager.introduce(JobId(job), JobClass { queue: queue.into(), priority });
}

/// Asks for slots of a job's only region.
fn request(manager: &mut ResourceManager, job: u128, width: usize) {
    manager.request(JobId(job), RegionId(0), wishes(width), false, TIMEOUT, Timestamp(0));
}

fn granted(manager: &mut ResourceManager) -> Vec<u128> {
    grants(manager).into_iter().map(|grant| grant.0.0).collect()
}

fn waits(manager: &ResourceManager, job: u128) -> String {
    manager.shortfall(JobId(job)).unwrap().to_string()
}

fn wishes(count: usize) -> Vec<SlotWish> {
    vec![SlotWish::default(); count]
}

fn register(manager: &mut ResourceManager, name: &str, slots: u32) -> Vec<Action> {
    let mut actions = Vec::new();
    manager.register(&registration(name, slots), Timestamp(0), &mut actions);
    manager.grant(&mut actions);
    actions
}

fn grants(manager: &mut ResourceManager) -> Vec<(JobId, RegionId, Vec<String>)> {
    let mut actions = Vec::new();
    manager.grant(&mut actions);
    let grant = |action| match action {
        Action::Grant { job, region, slots } => {
            (job, region, slots.iter().map(|slot| slot.location.worker.0.clone()).collect())
        }
        other => panic!("{other:?}"),
    };
    actions.into_iter().map(grant).collect()
}

#[test]
fn slots_are_spread_and_local_ones_preferred() {
    let mut manager = manager();
    register(&mut manager, "a", 2);
    register(&mut manager, "b", 2);
    let on_a = SlotWish { preferred_hosts: vec!["elsewhere".to_owned(), "a".to_owned()] };
    let request = vec![on_a.clone(), on_a.clone(), on_a];
    manager.request(JobId(1), RegionId(0), request, false, TIMEOUT, Timestamp(0));
    assert_eq!(grants(&mut manager)[0].2, ["a", "a", "b"]);
}

#[test]
fn of_a_jobs_single_requests_the_local_one_goes_first() {
    let mut manager = manager();
    register(&mut manager, "a", 1);
    for (region, host) in ["b", "a"].into_iter().enumerate() {
        let wish = SlotWish { preferred_hosts: vec![host.to_owned()] };
        manager.request(JobId(1), RegionId(region as u32), vec![wish], false, TIMEOUT, Timestamp(0));
    }
    assert_eq!(grants(&mut manager)[0].1, RegionId(1));
}

#[test]
fn a_wide_request_is_not_passed_by_narrow_ones_but_by_those_it_can_never_stop() {
    let mut manager = manager();
    register(&mut manager, "a", 2);
    manager.request(JobId(1), RegionId(0), wishes(1), false, TIMEOUT, Timestamp(0));
    assert_eq!(grants(&mut manager).len(), 1);
    manager.request(JobId(2), RegionId(0), wishes(3), false, TIMEOUT, Timestamp(0));
    manager.request(JobId(3), RegionId(0), wishes(2), false, TIMEOUT, Timestamp(0));
    manager.request(JobId(4), RegionId(0), wishes(1), false, TIMEOUT, Timestamp(0));
    assert_eq!(grants(&mut manager), []);
    manager.forget_job(JobId(1));
    assert_eq!(grants(&mut manager).into_iter().map(|grant| grant.0).collect::<Vec<_>>(), [JobId(3)]);
}

#[test]
fn a_job_with_fewer_slots_goes_before_one_with_many_requests() {
    let mut manager = manager();
    register(&mut manager, "a", 2);
    for region in 0..9 {
        manager.request(JobId(1), RegionId(region), wishes(1), false, TIMEOUT, Timestamp(0));
    }
    assert_eq!(grants(&mut manager).len(), 2);
    manager.request(JobId(2), RegionId(0), wishes(1), false, TIMEOUT, Timestamp(0));
    let held = *manager.allocations.keys().next().unwrap();
    manager.release(held);
    assert_eq!(grants(&mut manager)[0].0, JobId(2));
}

#[test]
fn a_request_wider_than_the_cluster_times_out_and_says_what_is_missing() {
    let mut manager = manager();
    register(&mut manager, "a", 2);
    manager.request(JobId(1), RegionId(0), wishes(4), false, TIMEOUT, Timestamp(0));
    assert_eq!(manager.shortfall(JobId(1)).unwrap().to_string(), "needs 4 slots, 2 are free on 1 worker");
    manager.heard(&WorkerId("a".to_owned()), None, Timestamp(59_000));
    let mut actions = Vec::new();
    manager.tick(Timestamp(59_999), &mut actions);
    assert!(!actions.iter().any(|action| matches!(action, Action::TimedOut { .. })));
    manager.tick(Timestamp(60_000), &mut actions);
    assert!(actions.iter().any(|action| matches!(action, Action::TimedOut { job: JobId(1), .. })));
    assert_eq!(manager.shortfall(JobId(1)), None);
}

#[test]
fn a_request_that_only_waits_for_its_turn_never_times_out() {
    let mut manager = manager();
    register(&mut manager, "a", 1);
    manager.request(JobId(1), RegionId(0), wishes(1), false, TIMEOUT, Timestamp(0));
    grants(&mut manager);
    manager.request(JobId(2), RegionId(0), wishes(1), false, TIMEOUT, Timestamp(0));
    manager.heard(&WorkerId("a".to_owned()), None, Timestamp(1_000_000));
    let mut actions = Vec::new();
    manager.tick(Timestamp(1_000_001), &mut actions);
    assert!(!actions.iter().any(|action| matches!(action, Action::TimedOut { .. })), "{actions:?}");
    assert!(manager.shortfall(JobId(2)).unwrap().to_string().contains("held by other jobs"));
}

#[test]
fn silence_and_a_broken_connection_lose_a_worker_and_coming_back_in_time_does_not() {
    let (a, b) = (WorkerId("a".to_owned()), WorkerId("b".to_owned()));
    let lost = |manager: &mut ResourceManager, at| {
        let mut actions = Vec::new();
        manager.tick(Timestamp(at), &mut actions);
        actions.retain(|action| matches!(action, Action::Lost { .. }));
        actions.len()
    };
    let mut manager = manager();
    register(&mut manager, "a", 1);
    register(&mut manager, "b", 1);
    manager.session_ended(&a, Timestamp(1_000));
    register(&mut manager, "a", 1);
    assert_eq!(lost(&mut manager, 1_050), 0);
    manager.session_ended(&a, Timestamp(2_000));
    assert_eq!((lost(&mut manager, 2_049), lost(&mut manager, 2_050)), (0, 1));
    manager.heard(&b, None, Timestamp(5_000));
    assert_eq!((lost(&mut manager, 14_999), lost(&mut manager, 15_000)), (0, 1));
    assert_eq!(manager.slots(), (0, 0));
}

#[test]
fn a_request_that_may_shrink_takes_what_the_cluster_has() {
    let mut manager = manager();
    manager.request(JobId(1), RegionId(0), wishes(3), true, TIMEOUT, Timestamp(0));
    assert_eq!(grants(&mut manager), []);
    let mut granted = register(&mut manager, "a", 2);
    let Some(Action::Grant { slots, .. }) = granted.pop() else { panic!("nothing is granted") };
    assert_eq!(slots.len(), 2);
}

#[test]
fn a_job_of_a_higher_priority_goes_first_whatever_it_holds() {
    let mut manager = manager();
    introduce(&mut manager, 1, "default", 0);
    introduce(&mut manager, 2, "default", 5);
    introduce(&mut manager, 3, "default", -1);
    for job in [3, 1, 2] {
        for region in 0..2 {
            manager.request(JobId(job), RegionId(region), wishes(1), false, TIMEOUT, Timestamp(0));
        }
    }
    register(&mut manager, "a", 0);
    let order: Vec<u128> = (0..6)
        .map(|worker| match register(&mut manager, &format!("w{worker}"), 1).pop() {
            Some(Action::Grant { job, .. }) => job.0,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(order, [2, 2, 1, 1, 3, 3]);
}

#[test]
fn a_queue_has_no_more_slots_than_it_may_and_stops_nobody_else() {
    let mut manager = with_queues("etl: slots=3");
    register(&mut manager, "a", 8);
    for (job, queue, width) in [(1, "etl", 2), (2, "etl", 2), (3, "etl", 1), (4, "default", 4)] {
        introduce(&mut manager, job, queue, 0);
        request(&mut manager, job, width);
    }
    // The third would fit, and would keep the second waiting for ever.
    assert_eq!(granted(&mut manager), [1, 4]);
    assert_eq!(waits(&manager, 2), "needs 2 slots, queue `etl` holds 2 of its 3");
    manager.forget_job(JobId(1));
    assert_eq!(granted(&mut manager), [2, 3]);
}

#[test]
fn a_request_wider_than_its_queue_times_out_or_shrinks() {
    let mut manager = with_queues("etl: slots=2");
    register(&mut manager, "a", 8);
    introduce(&mut manager, 1, "etl", 0);
    request(&mut manager, 1, 3);
    assert_eq!(granted(&mut manager), [] as [u128; 0]);
    assert_eq!(waits(&manager, 1), "needs 3 slots, queue `etl` holds 0 of its 2");
    manager.heard(&WorkerId("a".to_owned()), None, Timestamp(59_000));
    let mut actions = Vec::new();
    manager.tick(Timestamp(60_000), &mut actions);
    assert!(actions.iter().any(|action| matches!(action, Action::TimedOut { job: JobId(1), .. })));
    introduce(&mut manager, 2, "etl", 0);
    manager.request(JobId(2), RegionId(0), wishes(3), true, TIMEOUT, Timestamp(0));
    assert_eq!(grants(&mut manager)[0].2.len(), 2);
}

#[test]
fn a_queue_runs_no_more_jobs_than_it_may() {
    let mut manager = with_queues("etl: jobs=1");
    register(&mut manager, "a", 8);
    for job in [1, 2] {
        introduce(&mut manager, job, "etl", 0);
        request(&mut manager, job, 1);
    }
    assert_eq!(granted(&mut manager), [1]);
    assert_eq!(waits(&manager, 2), "waits for its turn: in queue `etl` 1 job runs at a time");
    // Between two of its stages it holds nothing, and runs all the same.
    let held = *manager.allocations.keys().next().unwrap();
    manager.release(held);
    assert_eq!(granted(&mut manager), [] as [u128; 0]);
    request(&mut manager, 1, 2);
    assert_eq!(granted(&mut manager), [1]);
    manager.forget_job(JobId(1));
    assert_eq!(granted(&mut manager), [2]);
}

#[derive(Debug, Clone)]
enum Step {
    Register { worker: u8, slots: u32 },
    Lose { worker: u8 },
    Request { job: u8, region: u32, width: usize, host: u8, may_shrink: bool },
    CancelRequest { job: u8, region: u32 },
    ReleaseNth(usize),
    Forget { job: u8 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..4_u8, 0..4_u32).prop_map(|(worker, slots)| Step::Register { worker, slots }),
        (0..4_u8).prop_map(|worker| Step::Lose { worker }),
        (0..8_u8, 0..6_u32, 1..5_usize, 0..5_u8, any::<bool>()).prop_map(
            |(job, region, width, host, may_shrink)| Step::Request { job, region, width, host, may_shrink }
        ),
        (0..8_u8, 0..6_u32).prop_map(|(job, region)| Step::CancelRequest { job, region }),
        any::<usize>().prop_map(Step::ReleaseNth),
        (0..8_u8).prop_map(|job| Step::Forget { job }),
    ];
    proptest::collection::vec(step, 0..80)
}

/// The books agree with each other, and nothing that fits is left waiting at the head.
fn check(manager: &ResourceManager) {
    let mut held = BTreeMap::new();
    for worker in manager.workers.values() {
        assert!(worker.allocations.len() as u32 <= worker.slots, "a slot was given twice");
        held.extend(worker.allocations.iter().map(|(id, job)| (*id, *job)));
    }
    let listed: BTreeMap<_, _> = manager.allocations.iter().map(|(id, slot)| (*id, slot.job)).collect();
    assert_eq!(held, listed);
    let total: u32 = manager.workers.values().map(|worker| worker.slots).sum();
    let free: u32 = manager.workers.values().map(Worker::free).sum();
    assert_eq!(manager.slots(), (total, free));
    let by_free: BTreeSet<_> = manager
        .workers
        .iter()
        .filter(|(_, worker)| worker.free() > 0)
        .map(|(id, worker)| (worker.free(), id.clone()))
        .collect();
    assert_eq!(manager.by_free, by_free);
    let of_queue = held.values().filter(|job| in_queue(**job));
    assert!(of_queue.clone().count() <= QUEUE_SLOTS, "a queue has more than it may");
    assert!(of_queue.collect::<BTreeSet<_>>().len() <= QUEUE_JOBS, "a queue runs more than it may");
}

/// What the jobs of the queue `etl` may have.
const QUEUE_SLOTS: usize = 4;
const QUEUE_JOBS: usize = 2;

/// The jobs of odd numbers are in it.
fn in_queue(JobId(job): JobId) -> bool {
    job % 2 == 1
}

fn classed(manager: &mut ResourceManager, JobId(job): JobId) {
    let queue = if in_queue(JobId(job)) { "etl" } else { "default" };
    introduce(manager, job, queue, (job / 4) as i32);
}

proptest! {
    #[test]
    fn slots_are_neither_lost_nor_made_whatever_the_order(steps in steps()) {
        let mut manager = with_queues(&format!("etl: slots={QUEUE_SLOTS}, jobs={QUEUE_JOBS}"));
        (0..8).for_each(|job| classed(&mut manager, JobId(job)));
        let mut outstanding = BTreeSet::new();
        for step in steps {
            let mut actions = Vec::new();
            match step {
                Step::Register { worker, slots } => {
                    manager.register(&registration(&format!("w{worker}"), slots), Timestamp(0), &mut actions);
                    manager.grant(&mut actions);
                }
                Step::Lose { worker } => {
                    manager.worker_left(&WorkerId(format!("w{worker}")), "test", &mut actions, Timestamp(0));
                }
                Step::Request { job, region, width, host, may_shrink } => {
                    let wish = SlotWish { preferred_hosts: vec![format!("w{host}")] };
                    let (job, region) = (JobId(job.into()), RegionId(region));
                    outstanding.insert((job, region));
                    manager.request(job, region, vec![wish; width], may_shrink, TIMEOUT, Timestamp(0));
                }
                Step::CancelRequest { job, region } => {
                    outstanding.remove(&(JobId(job.into()), RegionId(region)));
                    manager.cancel_request(JobId(job.into()), RegionId(region));
                }
                Step::ReleaseNth(n) => {
                    let ids: Vec<_> = manager.allocations.keys().copied().collect();
                    if !ids.is_empty() {
                        manager.release(ids[n % ids.len()]);
                    }
                }
                Step::Forget { job } => {
                    outstanding.retain(|(owner, _)| *owner != JobId(job.into()));
                    manager.forget_job(JobId(job.into()));
                    classed(&mut manager, JobId(job.into()));
                }
            }
            manager.grant(&mut actions);
            for action in actions {
                if let Action::Grant { job, region, .. } = action {
                    prop_assert!(outstanding.remove(&(job, region)), "granted what nobody asked for");
                }
            }
            check(&manager);
        }
        // All that was asked for and fits is granted once everything else is given back.
        for job in 0..8_u128 {
            let mine: Vec<_> = manager.allocations.iter().filter(|(_, held)| held.job == JobId(job)).map(|(id, _)| *id).collect();
            mine.into_iter().for_each(|id| manager.release(id));
        }
        let mut actions = Vec::new();
        manager.grant(&mut actions);
        check(&manager);
        let total = manager.slots().0 as usize;
        let first_fits = outstanding.iter().any(|(job, _)| manager.shortfall(*job).is_some_and(|s| s.needed as usize <= total && s.queue.is_none()));
        prop_assert!(!first_fits || manager.slots().1 < manager.slots().0, "slots are free and a request waits");
    }
}

#[test]
fn who_leads_twice_in_a_term_gives_no_number_twice() {
    let mut manager = manager();
    let allocation = |manager: &mut ResourceManager, worker: &str| {
        request(manager, 1, 1);
        let actions = register(manager, worker, 2);
        let granted = actions.into_iter().find_map(|action| match action {
            Action::Grant { slots, .. } => Some(slots[0].allocation),
            _ => None,
        });
        granted.unwrap()
    };
    let first = allocation(&mut manager, "a");
    for term in [Term(1), Term(2)] {
        let mut next = manager.successor(term);
        register(&mut next, "a", 2);
        next.adopt(JobId(1), &WorkerId("a".to_owned()), first);
        assert_ne!(allocation(&mut next, "b"), first);
        // The books of both workers agree.
        for worker in ["a", "b"] {
            let mut actions = Vec::new();
            next.worker_left(&WorkerId(worker.to_owned()), "it is gone", &mut actions, Timestamp(0));
            assert_eq!(actions.len(), 1);
        }
        manager = next;
    }
}

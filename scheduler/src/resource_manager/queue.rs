//! The requests that wait for slots, and whose turn it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use thalweg_graph::{
    JobId,
    job_queues::{JobQueues, Limits},
};

use super::{
    JobClass, RegionId, SlotWish,
    line::{Line, Ticket, Turn},
    shortfall::QueueFull,
};
use crate::clock::Timestamp;

/// A request that waits.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) job: JobId,
    pub(super) region: RegionId,
    pub(super) wishes: Vec<SlotWish>,
    /// Whether fewer slots will do where the cluster has no more.
    may_shrink: bool,
    timeout: Duration,
    /// When it is given up: only while it is wider than the cluster.
    expires: Option<Timestamp>,
}

impl Request {
    /// Whether a cluster of this size can ever grant it.
    fn fits(&self, slots_total: u32) -> bool {
        slots_total > 0 && (self.may_shrink || self.wishes.len() <= slots_total as usize)
    }

    /// The slots that it gets from a cluster of this size.
    fn width(&self, slots_total: u32) -> usize {
        if self.may_shrink { self.wishes.len().min(slots_total as usize) } else { self.wishes.len() }
    }

    /// Hosts that a request for one slot prefers. Wider requests have too many for one to matter.
    fn hosts(&self) -> &[String] {
        match self.wishes.as_slice() {
            [wish] => &wish.preferred_hosts,
            _ => &[],
        }
    }
}

/// What one job waits for and holds.
#[derive(Debug, Default)]
struct Job {
    class: JobClass,
    held: u32,
    /// Whether it has ever been given a slot.
    has_begun: bool,
    tickets: BTreeMap<RegionId, Ticket>,
    /// Requests that the cluster is large enough for.
    fitting: BTreeSet<Ticket>,
    /// Those of them for one slot, by preferred host.
    by_host: BTreeMap<String, BTreeSet<Ticket>>,
}

impl Job {
    /// Its turn, if it waits for slots that there can be.
    fn turn(&self, id: JobId) -> Option<Turn> {
        let ticket = *self.fitting.first()?;
        Some(Turn { before: -i64::from(self.class.priority), held: self.held, ticket, job: id })
    }
}

/// All that waits.
#[derive(Debug)]
pub(super) struct Queue {
    limits: Arc<JobQueues>,
    requests: BTreeMap<Ticket, Request>,
    jobs: BTreeMap<JobId, Job>,
    /// The jobs of each queue.
    lines: BTreeMap<Arc<str>, Line>,
    expiring: BTreeSet<(Timestamp, Ticket)>,
    tickets_made: Ticket,
}

impl Queue {
    /// Without any job.
    pub(super) fn new(limits: Arc<JobQueues>) -> Self {
        Self {
            limits,
            requests: BTreeMap::new(),
            jobs: BTreeMap::new(),
            lines: BTreeMap::new(),
            expiring: BTreeSet::new(),
            tickets_made: 0,
        }
    }

    /// Says which queue a job belongs to, before it asks for anything.
    pub(super) fn introduce(&mut self, job: JobId, class: JobClass) {
        self.jobs.insert(job, Job { class, ..Job::default() });
    }

    fn limits_of(&self, job: JobId) -> Limits {
        self.jobs.get(&job).map_or(Limits::default(), |job| self.limits.of(&job.class.queue))
    }

    /// The most slots that a job can have.
    fn reach(&self, job: JobId, slots_total: u32) -> u32 {
        self.limits_of(job).slots.map_or(slots_total, |slots| slots.min(slots_total))
    }

    pub(super) fn push(
        &mut self,
        job: JobId,
        region: RegionId,
        wishes: Vec<SlotWish>,
        may_shrink: bool,
        timeout: Duration,
        slots_total: u32,
        now: Timestamp,
    ) {
        self.remove(job, region);
        self.tickets_made += 1;
        let ticket = self.tickets_made;
        self.requests.insert(ticket, Request { job, region, wishes, may_shrink, timeout, expires: None });
        self.jobs.entry(job).or_default().tickets.insert(region, ticket);
        self.sort_in(ticket, slots_total, now);
    }

    /// Puts a request among the fitting or the expiring ones.
    fn sort_in(&mut self, ticket: Ticket, slots_total: u32, now: Timestamp) {
        let reach = self.reach(self.requests[&ticket].job, slots_total);
        let request = self.requests.get_mut(&ticket).expect("the caller has the ticket of a request");
        if !request.fits(reach) {
            let expires = *request.expires.get_or_insert(now.after(request.timeout));
            self.expiring.insert((expires, ticket));
            return;
        }
        if let Some(expires) = request.expires.take() {
            self.expiring.remove(&(expires, ticket));
        }
        let (id, hosts) = (request.job, request.hosts().to_vec());
        self.change(id, |job| {
            job.fitting.insert(ticket);
            for host in hosts {
                job.by_host.entry(host).or_default().insert(ticket);
            }
        });
    }

    /// Changes a job and keeps its turn and its queue's books right.
    fn change(&mut self, id: JobId, change: impl FnOnce(&mut Job)) {
        let job = self.jobs.entry(id).or_default();
        let line = match self.lines.get_mut(&job.class.queue) {
            Some(line) => line,
            None => {
                let limits = self.limits.of(&job.class.queue);
                self.lines.entry(job.class.queue.clone()).or_insert_with(|| Line::new(limits))
            }
        };
        line.remove(job.turn(id), job.has_begun, job.held);
        change(job);
        line.add(job.turn(id), job.has_begun, job.held);
    }

    /// A job holds a slot that it did not ask for here.
    pub(super) fn adopted(&mut self, job: JobId) {
        self.change(job, |job| {
            job.held += 1;
            job.has_begun = true;
        });
    }

    pub(super) fn remove(&mut self, job: JobId, region: RegionId) {
        let ticket = self.jobs.get(&job).and_then(|job| job.tickets.get(&region));
        if let Some(ticket) = ticket.copied() {
            self.take(ticket);
        }
    }

    /// Forgets a job that holds nothing any more.
    pub(super) fn forget(&mut self, id: JobId) {
        let tickets: Vec<_> =
            self.jobs.get(&id).into_iter().flat_map(|job| job.tickets.values().copied()).collect();
        tickets.into_iter().for_each(|ticket| drop(self.take(ticket)));
        let Some(job) = self.jobs.remove(&id) else { return };
        if let Some(line) = self.lines.get_mut(&job.class.queue) {
            line.remove(None, job.has_begun, job.held);
            if line.is_empty() {
                self.lines.remove(&job.class.queue);
            }
        }
    }

    fn take(&mut self, ticket: Ticket) -> Request {
        let request = self.requests.remove(&ticket).expect("the caller has the ticket of a request");
        if let Some(expires) = request.expires {
            self.expiring.remove(&(expires, ticket));
        }
        self.change(request.job, |job| {
            job.tickets.remove(&request.region);
            job.fitting.remove(&ticket);
            for host in request.hosts() {
                if let Some(tickets) = job.by_host.get_mut(host) {
                    tickets.remove(&ticket);
                    if tickets.is_empty() {
                        job.by_host.remove(host);
                    }
                }
            }
        });
        request
    }

    /// Takes out the next request if it fits into the free slots. Among a job's requests for one slot those go first that prefer a
    /// host with free slots.
    pub(super) fn pop<'a>(
        &mut self,
        slots_free: u32,
        slots_total: u32,
        mut free_hosts: impl Iterator<Item = &'a str>,
    ) -> Option<Request> {
        let width = |ticket| {
            let request: &Request = &self.requests[&ticket];
            request.width(self.reach(request.job, slots_total))
        };
        let Turn { ticket: first, job: id, .. } =
            self.lines.values().filter_map(|line| line.next(width)).min()?;
        let width = width(first);
        if width > slots_free as usize {
            return None;
        }
        let by_host = &self.jobs[&id].by_host;
        let local = match width == 1 && !by_host.is_empty() {
            true => free_hosts.find_map(|host| by_host.get(host)?.first().copied()),
            false => None,
        };
        let mut request = self.take(local.unwrap_or(first));
        request.wishes.truncate(width);
        self.change(id, |job| {
            job.held += width as u32;
            job.has_begun = true;
        });
        Some(request)
    }

    /// One slot of a job came back.
    pub(super) fn released(&mut self, job: JobId) {
        self.change(job, |job| job.held -= 1);
    }

    /// Takes out a request whose time is over.
    pub(super) fn pop_expired(&mut self, now: Timestamp) -> Option<Request> {
        let (expires, ticket) = *self.expiring.first()?;
        (expires <= now).then(|| self.take(ticket))
    }

    pub(super) fn next_expiry(&self) -> Option<Timestamp> {
        self.expiring.first().map(|(expires, _)| *expires)
    }

    /// The cluster grew or shrank: sorts all requests anew.
    pub(super) fn slots_changed(&mut self, slots_total: u32, now: Timestamp) {
        let tickets: Vec<_> = self.requests.keys().copied().collect();
        for ticket in tickets {
            let request = &self.requests[&ticket];
            let (id, too_wide) = (request.job, !request.fits(self.reach(request.job, slots_total)));
            if too_wide && request.expires.is_none() {
                let hosts = request.hosts().to_vec();
                self.change(id, |job| {
                    job.fitting.remove(&ticket);
                    for host in hosts {
                        job.by_host.get_mut(&host).map(|tickets| tickets.remove(&ticket));
                    }
                });
            }
            self.sort_in(ticket, slots_total, now);
        }
    }

    /// The width of the job's oldest request.
    pub(super) fn first_width(&self, job: JobId, slots_total: u32) -> Option<usize> {
        let ticket = self.jobs.get(&job)?.tickets.values().min()?;
        Some(self.requests[ticket].width(self.reach(job, slots_total)).max(1))
    }

    /// Why the job's queue has no room for so many more slots of it, if it has none.
    pub(super) fn full(&self, job: JobId, width: u32) -> Option<QueueFull> {
        let job = self.jobs.get(&job)?;
        let limits = self.limits.of(&job.class.queue);
        let (held, begun) = self.lines.get(&job.class.queue).map_or((0, 0), Line::in_use);
        let queue = job.class.queue.clone();
        match limits {
            Limits { jobs: Some(max), .. } if !job.has_begun && begun >= max => {
                Some(QueueFull::Jobs { queue, max })
            }
            Limits { slots: Some(max), .. } if held + width > max => {
                Some(QueueFull::Slots { queue, held, max })
            }
            _ => None,
        }
    }
}

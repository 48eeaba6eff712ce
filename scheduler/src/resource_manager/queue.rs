//! The requests that wait for slots, and whose turn it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use thalweg_graph::JobId;

use super::{RegionId, SlotWish};
use crate::clock::Timestamp;

/// Position in the order of arrival.
type Ticket = u64;

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
    held: u32,
    tickets: BTreeMap<RegionId, Ticket>,
    /// Requests that the cluster is large enough for.
    fitting: BTreeSet<Ticket>,
    /// Those of them for one slot, by preferred host.
    by_host: BTreeMap<String, BTreeSet<Ticket>>,
}

/// All that waits.
#[derive(Debug, Default)]
pub(super) struct Queue {
    requests: BTreeMap<Ticket, Request>,
    jobs: BTreeMap<JobId, Job>,
    /// Jobs with fitting requests: slots held, oldest fitting request, job. The first is next.
    turns: BTreeSet<(u32, Ticket, JobId)>,
    expiring: BTreeSet<(Timestamp, Ticket)>,
    tickets_made: Ticket,
}

impl Queue {
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
        let request = self.requests.get_mut(&ticket).expect("the caller has the ticket of a request");
        if !request.fits(slots_total) {
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

    /// Changes a job and keeps its turn right.
    fn change(&mut self, id: JobId, change: impl FnOnce(&mut Job)) {
        let job = self.jobs.entry(id).or_default();
        if let Some(first) = job.fitting.first() {
            self.turns.remove(&(job.held, *first, id));
        }
        change(job);
        if let Some(first) = job.fitting.first() {
            self.turns.insert((job.held, *first, id));
        }
        if job.held == 0 && job.tickets.is_empty() {
            self.jobs.remove(&id);
        }
    }

    /// A job holds a slot that it did not ask for here.
    pub(super) fn adopted(&mut self, job: JobId) {
        self.change(job, |job| job.held += 1);
    }

    pub(super) fn remove(&mut self, job: JobId, region: RegionId) {
        let ticket = self.jobs.get(&job).and_then(|job| job.tickets.get(&region));
        if let Some(ticket) = ticket.copied() {
            self.take(ticket);
        }
    }

    pub(super) fn remove_job(&mut self, job: JobId) {
        let tickets: Vec<_> =
            self.jobs.get(&job).into_iter().flat_map(|job| job.tickets.values().copied()).collect();
        tickets.into_iter().for_each(|ticket| drop(self.take(ticket)));
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
        let (_, first, id) = *self.turns.first()?;
        let width = self.requests[&first].width(slots_total);
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
        self.change(id, |job| job.held += width as u32);
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
            let (id, too_wide) = (request.job, !request.fits(slots_total));
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
        Some(self.requests[ticket].width(slots_total).max(1))
    }
}

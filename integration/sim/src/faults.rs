//! What is broken on purpose, and mended again: crashes, partitions in one or both directions, slow links, messages held back and let go at
//! once, failed syncs, full and slow disks.

use std::time::Duration;

use rand::{Rng as _, rngs::StdRng};
use turmoil::Sim;

use crate::{
    disk::SimDisk,
    event::Event,
    hosts::{self, MEMBERS, WORKERS},
    world::World,
};

/// How long a message takes at most where nothing is wrong.
const LATENCY_MAX: Duration = Duration::from_millis(10);
/// Pauses between two faults.
const PAUSE_MS: std::ops::Range<u64> = 100..1500;
/// How long one lasts.
const LASTS_MS: std::ops::Range<u64> = 50..3000;
/// Time in which whoever looks after a process that has ended starts it again.
const RESTART: Duration = Duration::from_millis(300);

/// Something that is broken.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fault {
    Crashed(String),
    Apart(String, String),
    OneWay(String, String),
    Held(String, String),
    Slow(String, String),
    Disk(usize),
}

/// Breaks and mends.
pub struct Faults {
    world: World,
    random: StdRng,
    disks: Vec<SimDisk>,
    /// What is broken, and until when.
    broken: Vec<(Duration, Fault)>,
    next: Duration,
    heal: Duration,
    is_healed: bool,
}

impl Faults {
    /// Those of one life, until it heals. `disks` are those of the JobManagers.
    pub fn new(world: World, disks: Vec<SimDisk>, heal: Duration) -> Self {
        let random = world.generator("faults");
        // A quorum takes a second to begin; some lives are disturbed before.
        Self {
            world,
            random,
            disks,
            broken: Vec::new(),
            next: Duration::from_millis(700),
            heal,
            is_healed: false,
        }
    }

    /// What happens at this time.
    pub fn step(&mut self, sim: &mut Sim<'_>) {
        let now = sim.elapsed();
        for host in self.world.take_stopped() {
            self.broken.push((now + RESTART, Fault::Crashed(host)));
        }
        while let Some(at) = self.broken.iter().position(|(until, _)| *until <= now) {
            let (_, fault) = self.broken.remove(at);
            self.mend(sim, fault);
        }
        if self.is_healed {
            return;
        }
        if now >= self.heal {
            for (_, fault) in std::mem::take(&mut self.broken) {
                self.mend(sim, fault);
            }
            self.disks.iter().for_each(SimDisk::mend);
            self.is_healed = true;
            self.world.tell(Event::Healed);
        } else if now >= self.next {
            self.next = now + Duration::from_millis(self.random.random_range(PAUSE_MS));
            self.break_something(sim, now);
        }
    }

    fn hosts() -> Vec<String> {
        let members = (1..=MEMBERS).map(hosts::job_manager_host);
        members.chain((1..=WORKERS).map(hosts::worker_host)).collect()
    }

    fn break_something(&mut self, sim: &mut Sim<'_>, now: Duration) {
        let until = now + Duration::from_millis(self.random.random_range(LASTS_MS));
        let hosts = Self::hosts();
        let one = hosts[self.random.random_range(0..hosts.len())].clone();
        // Most of what can go wrong between two hosts concerns a JobManager.
        let other = hosts[self.random.random_range(0..MEMBERS as usize)].clone();
        let fault = match self.random.random_range(0..100) {
            0..25 => Fault::Crashed(one),
            25..45 if one != other => Fault::Apart(one, other),
            45..60 if one != other => Fault::OneWay(one, other),
            60..72 if one != other => Fault::Held(one, other),
            72..84 if one != other => Fault::Slow(one, other),
            84..100 => Fault::Disk(self.random.random_range(0..self.disks.len())),
            _ => return,
        };
        // Two at once between the same hosts would be mended together.
        if self.broken.iter().any(|(_, known)| known.touches(&fault)) {
            return;
        }
        self.world.tell(Event::Fault(format!("{fault:?} for {} ms", (until - now).as_millis())));
        match &fault {
            Fault::Crashed(host) => self.crash(sim, host),
            Fault::Apart(a, b) => sim.partition(a.as_str(), b.as_str()),
            Fault::OneWay(a, b) => sim.partition_oneway(a.as_str(), b.as_str()),
            Fault::Held(a, b) => sim.hold(a.as_str(), b.as_str()),
            Fault::Slow(a, b) => {
                let latency = Duration::from_millis(self.random.random_range(50..400));
                sim.set_link_max_message_latency(a.as_str(), b.as_str(), latency);
            }
            Fault::Disk(disk) => {
                let disk = &self.disks[*disk];
                match self.random.random_range(0..3) {
                    0 => disk.fail_syncs(1),
                    1 => disk.set_full(true),
                    _ => disk.set_latency(Duration::from_millis(self.random.random_range(20..300))),
                }
            }
        }
        self.broken.push((until, fault));
    }

    fn crash(&mut self, sim: &mut Sim<'_>, host: &str) {
        if let Some(member) = (1..=MEMBERS).find(|member| hosts::job_manager_host(*member) == host) {
            // First the disk: what the process still writes while it is taken down is not written.
            self.disks[member as usize - 1].crash();
        }
        sim.crash(host);
        if let Some(number) = (1..=WORKERS).find(|number| hosts::worker_host(*number) == host) {
            let worker = hosts::worker_id(number, self.world.incarnation(host));
            self.world.tell(Event::WorkerGone { worker });
        }
    }

    fn mend(&mut self, sim: &mut Sim<'_>, fault: Fault) {
        self.world.tell(Event::Fault(format!("{fault:?} is over")));
        match fault {
            Fault::Crashed(host) => sim.bounce(host.as_str()),
            Fault::Apart(a, b) => sim.repair(a.as_str(), b.as_str()),
            Fault::OneWay(a, b) => sim.repair_oneway(a.as_str(), b.as_str()),
            Fault::Held(a, b) => sim.release(a.as_str(), b.as_str()),
            Fault::Slow(a, b) => sim.set_link_max_message_latency(a.as_str(), b.as_str(), LATENCY_MAX),
            Fault::Disk(disk) => self.disks[disk].mend(),
        }
    }
}

impl Fault {
    fn touches(&self, other: &Fault) -> bool {
        match (self, other) {
            (Fault::Crashed(a), Fault::Crashed(b)) => a == b,
            (Fault::Disk(a), Fault::Disk(b)) => a == b,
            _ => match (self.link(), other.link()) {
                (Some((a, b)), Some((c, d))) => (a, b) == (c, d) || (a, b) == (d, c),
                _ => false,
            },
        }
    }

    fn link(&self) -> Option<(&String, &String)> {
        match self {
            Fault::Apart(a, b) | Fault::OneWay(a, b) | Fault::Held(a, b) | Fault::Slow(a, b) => Some((a, b)),
            Fault::Crashed(_) | Fault::Disk(_) => None,
        }
    }
}

//! What jobs are planned for: this process, or workers.

/// What jobs are planned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// One process: the plan is not cut; its one vertex has as many partitions as there are threads.
    Embedded {
        /// Partitions that run side by side.
        threads: u32,
    },
    /// Workers: the plan is cut where rows change hands.
    Cluster {
        /// Subtasks of a vertex where nothing else is said; 0 takes `max_slots`.
        parallelism: u32,
        /// Slots that a job can have at most.
        max_slots: u32,
    },
}

impl Target {
    /// The number of partitions that plans are made for; at least one.
    pub fn partitions(self) -> usize {
        let partitions = match self {
            Target::Embedded { threads } => threads,
            Target::Cluster { parallelism: 0, max_slots } => max_slots,
            Target::Cluster { parallelism, .. } => parallelism,
        };
        partitions.max(1) as usize
    }
}

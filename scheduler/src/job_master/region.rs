//! Regions: the parts of a job that are deployed and restarted as one.
//!
//! Vertices that pipelined edges connect are one region: all their subtasks run at once, those of the same index in one slot. A
//! vertex without pipelined edges falls into one region for each subtask, so that it can run in waves on few slots.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use thalweg_graph::{JobGraph, SubtaskId, VertexId, exchange::ExchangeKind};

use crate::{clock::Timestamp, resource_manager::RegionId};

/// Where a region stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Its blocking inputs are not complete.
    Waiting,
    /// It failed and waits for the restart strategy's delay.
    Delayed(Timestamp),
    /// It has asked for slots.
    Requested,
    /// It is deployed.
    Running,
    /// All its subtasks have finished.
    Finished,
}

/// One region.
#[derive(Debug, Clone)]
pub struct Region {
    /// Its vertices, producers first.
    pub vertices: Vec<VertexId>,
    /// The subtasks that it has of each vertex, cut to the vertex's parallelism.
    pub subtasks: Range<u32>,
    /// Where it stands.
    pub phase: Phase,
    /// Subtasks that have not finished.
    pub unfinished: u32,
}

/// All regions of a job.
#[derive(Debug, Clone)]
pub struct Regions {
    list: Vec<Region>,
    /// The region of each vertex's subtask 0, and whether each further subtask has the next one.
    of_vertex: Vec<(RegionId, bool)>,
}

impl Regions {
    /// Cuts a job into regions.
    pub fn of(graph: &JobGraph) -> Self {
        let leaders = pipelined_groups(graph);
        let mut list = Vec::new();
        let mut of_vertex = vec![(RegionId(0), false); graph.vertices.len()];
        for leader in 0..leaders.len() {
            if leaders[leader] != leader {
                continue;
            }
            let members: Vec<VertexId> = (leader..leaders.len())
                .filter(|v| leaders[*v] == leader)
                .map(|v| VertexId(v as u32))
                .collect();
            let first = RegionId(list.len() as u32);
            let width = members.iter().map(|v| graph.vertices[v.index()].parallelism).max().unwrap_or(0);
            let split = members.len() == 1;
            for member in &members {
                of_vertex[member.index()] = (first, split);
            }
            let unfinished = members.iter().map(|v| graph.vertices[v.index()].parallelism).sum();
            match split {
                true => list.extend((0..width).map(|i| region(members.clone(), i..i + 1, 1))),
                false => list.push(region(members, 0..width, unfinished)),
            }
        }
        Self { list, of_vertex }
    }

    /// The region of a subtask.
    pub fn of_subtask(&self, subtask: SubtaskId) -> RegionId {
        let (RegionId(first), split) = self.of_vertex[subtask.vertex.index()];
        RegionId(if split { first + subtask.index } else { first })
    }

    /// The regions of a vertex.
    pub fn of_vertex(&self, vertex: VertexId, parallelism: u32) -> impl Iterator<Item = RegionId> + use<> {
        let (RegionId(first), split) = self.of_vertex[vertex.index()];
        (first..first + if split { parallelism } else { 1 }).map(RegionId)
    }

    /// All their ids.
    pub fn ids(&self) -> impl Iterator<Item = RegionId> + use<> {
        (0..self.list.len() as u32).map(RegionId)
    }
}

impl std::ops::Index<RegionId> for Regions {
    type Output = Region;

    fn index(&self, id: RegionId) -> &Region {
        &self.list[id.0 as usize]
    }
}

impl std::ops::IndexMut<RegionId> for Regions {
    fn index_mut(&mut self, id: RegionId) -> &mut Region {
        &mut self.list[id.0 as usize]
    }
}

fn region(vertices: Vec<VertexId>, subtasks: Range<u32>, unfinished: u32) -> Region {
    Region { vertices, subtasks, phase: Phase::Waiting, unfinished }
}

/// For each vertex the first vertex that pipelined edges connect it with.
fn pipelined_groups(graph: &JobGraph) -> Vec<usize> {
    let mut parents: Vec<usize> = (0..graph.vertices.len()).collect();
    fn root(parents: &mut [usize], mut vertex: usize) -> usize {
        while parents[vertex] != vertex {
            parents[vertex] = parents[parents[vertex]];
            vertex = parents[vertex];
        }
        vertex
    }
    for edge in graph.edges.iter().filter(|edge| edge.kind == ExchangeKind::Pipelined) {
        let source = root(&mut parents, edge.source.index());
        let target = root(&mut parents, edge.target.index());
        parents[source.max(target)] = source.min(target);
    }
    (0..parents.len()).map(|vertex| root(&mut parents, vertex)).collect()
}

/// Makes pipelined edges blocking where regions would wait for each other: a region that (perhaps by others) reads over a blocking
/// edge what it makes itself could never start. Edges lead forward, so that in the end there is an order.
pub fn break_cycles(graph: &mut JobGraph) {
    loop {
        let groups = pipelined_groups(graph);
        let waiting = groups_that_wait_for_themselves(graph, &groups);
        let edges = graph.edges.iter_mut().filter(|edge| edge.kind == ExchangeKind::Pipelined);
        let mut changed = false;
        for edge in edges.filter(|edge| waiting.contains(&groups[edge.source.index()])) {
            edge.kind = ExchangeKind::Blocking;
            changed = true;
        }
        if !changed {
            return;
        }
    }
}

fn groups_that_wait_for_themselves(graph: &JobGraph, groups: &[usize]) -> BTreeSet<usize> {
    let mut consumers = BTreeMap::<usize, BTreeSet<usize>>::new();
    for edge in graph.edges.iter().filter(|edge| edge.kind == ExchangeKind::Blocking) {
        let (source, target) = (groups[edge.source.index()], groups[edge.target.index()]);
        consumers.entry(source).or_default().insert(target);
    }
    let waits_for_itself = |group: &usize| {
        let mut open = vec![*group];
        let mut seen = BTreeSet::new();
        while let Some(next) = open.pop() {
            let after = consumers.get(&next).into_iter().flatten();
            open.extend(after.copied().filter(|group| seen.insert(*group)));
        }
        seen.contains(group)
    };
    consumers.keys().copied().filter(waits_for_itself).collect()
}

#[cfg(test)]
mod tests {
    use thalweg_graph::exchange::ExchangeKind::{Blocking, Pipelined};

    use super::*;
    use crate::testing::graph;

    fn kinds(parallelisms: &[u32], edges: &[(u32, u32, ExchangeKind)]) -> Vec<ExchangeKind> {
        let mut graph = graph(1, parallelisms, edges, &[]);
        break_cycles(&mut graph);
        graph.edges.iter().map(|edge| edge.kind).collect()
    }

    #[test]
    fn regions_that_wait_for_each_other_are_cut_and_others_stay() {
        // A region that reads over a blocking edge what it makes itself.
        let inside = [(0, 1, Pipelined), (0, 1, Blocking), (1, 2, Pipelined)];
        assert_eq!(kinds(&[1, 1, 1], &inside), [Blocking; 3]);
        // By a detour over another region.
        let detour = [(0, 2, Pipelined), (0, 1, Blocking), (1, 2, Blocking)];
        assert_eq!(kinds(&[1, 1, 1], &detour), [Blocking; 3]);
        let fine = [(0, 1, Pipelined), (1, 2, Blocking), (2, 3, Pipelined)];
        assert_eq!(kinds(&[1; 4], &fine), [Pipelined, Blocking, Pipelined]);
    }
}

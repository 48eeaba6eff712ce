//! The data plane's frames.

use arrow::buffer::Buffer;
use futures::executor::block_on;
use proptest::{collection::vec, prelude::*};
use thalweg_graph::{
    Attempt, CheckpointId, EdgeId, JobId, SubtaskId, VertexId,
    checkpoint::{AfterBarrier, Barrier},
    exchange::{ExchangeKind, ResultPartitionId},
};
use thalweg_worker::{
    exchange::{
        event::Signal,
        frame::{Frame, OpenRequest, Role, read},
    },
    watermark::Watermark,
};

use super::{changed, changes};

fn frames() -> Vec<Frame> {
    let producer = Attempt {
        job: JobId(u128::MAX),
        subtask: SubtaskId { vertex: VertexId(1), index: 300 },
        number: 70_000,
    };
    let partition = ResultPartitionId { producer, edge: EdgeId(2) };
    let request =
        OpenRequest { partition, subpartition: 5, kind: ExchangeKind::Pipelined, window_bytes: 1 << 20 };
    let barrier = Barrier {
        checkpoint: CheckpointId(9),
        savepoint: Some("hdfs://nn/s".to_owned()),
        then: AfterBarrier::Stop,
    };
    vec![
        Frame::Open(1, request),
        Frame::Credit(1, 4_096),
        Frame::Close(1),
        Frame::Block(1, Buffer::from(vec![7_u8; 100])),
        Frame::Signal(1, Signal::Watermark(Watermark(-1))),
        Frame::Signal(2, Signal::Barrier(barrier)),
        Frame::End(1),
        Frame::Failed(1, "why".to_owned()),
        Frame::Ping,
    ]
}

/// Reads frames until there are no more or one is refused, and returns the bytes of their blocks.
fn drain(mut bytes: &[u8], role: Role) -> usize {
    let mut blocks = 0;
    while let Ok(Some(frame)) = block_on(read(&mut bytes, role)) {
        if let Frame::Block(_, block) = frame {
            blocks += block.len();
        }
    }
    blocks
}

proptest! {
    #[test]
    fn changed_frames_are_read_or_refused(
        which in vec(0..frames().len(), 1..8), changes in changes(), consumer in any::<bool>()
    ) {
        let frames = frames();
        let bytes: Vec<u8> = which.iter().flat_map(|which| frames[*which].encode()).collect();
        let bytes = changed(&bytes, &changes);
        let role = if consumer { Role::Consumer } else { Role::Producer };
        prop_assert!(drain(&bytes, role) <= bytes.len());
    }

    #[test]
    fn random_frames_are_read_or_refused(bytes in vec(any::<u8>(), 0..2_000), consumer in any::<bool>()) {
        let role = if consumer { Role::Consumer } else { Role::Producer };
        prop_assert!(drain(&bytes, role) <= bytes.len());
    }
}

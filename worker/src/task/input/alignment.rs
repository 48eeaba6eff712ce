//! A source keeps pace with the others of its group: it tells the leader how far it has come, hears how far the slowest allows it to go, and
//! reads no further before that.

use std::{sync::Arc, time::Duration};

use thalweg_graph::Attempt;
use thalweg_plan::stream::WatermarkAlignment;
use thalweg_rpc::ToLeader;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{counters::EventTime, leader::Leader};

/// One source's part in its group.
pub struct Alignment {
    spec: WatermarkAlignment,
    attempt: Attempt,
    leader: Arc<Leader>,
    /// What the leader allows.
    allowed: watch::Receiver<i64>,
    next_report: Instant,
}

impl Alignment {
    /// A source that has read nothing.
    pub fn new(
        spec: WatermarkAlignment,
        attempt: Attempt,
        leader: Arc<Leader>,
        allowed: watch::Receiver<i64>,
    ) -> Self {
        Self { spec, attempt, leader, allowed, next_report: Instant::now() }
    }

    /// Whether it must wait for the others.
    pub fn is_ahead(&self, watermark_ms: Option<i64>) -> bool {
        watermark_ms.is_some_and(|watermark| watermark > *self.allowed.borrow())
    }

    /// Tells the leader how far it has come when it is time, or waits for what the leader says.
    pub async fn keep_pace(&mut self, event_time: &EventTime) {
        tokio::select! {
            () = sleep_until(self.next_report) => {
                self.report(event_time);
                self.next_report = Instant::now() + Duration::from_millis(self.spec.update_interval_ms);
            }
            changed = self.allowed.changed() => if changed.is_err() {
                // The attempt is over.
                std::future::pending::<()>().await;
            },
        }
    }

    fn report(&self, event_time: &EventTime) {
        let (_, watermark_ms, is_idle) = event_time.get();
        let message = ToLeader::SourceTime {
            attempt: self.attempt,
            group: self.spec.group.clone(),
            watermark_ms: watermark_ms.filter(|_| !is_idle),
            max_drift_ms: self.spec.max_drift_ms,
        };
        // What is not heard now, is said again.
        if let Some(session) = self.leader.session() {
            let _ = session.try_send(message);
        }
    }
}

//! Records on their way: acknowledgements are taken as they come, so that what waits stays small and a failure is seen early.

use std::collections::VecDeque;

use futures::FutureExt as _;
use krafka::producer::{DeliveryHandle, RecordMetadata};

use super::{super::client::failed, committable::Witness};
use crate::error::Result;

/// Acknowledgements that are waited for, in the order in which records were given.
#[derive(Default)]
pub struct Deliveries {
    waiting: VecDeque<DeliveryHandle>,
    /// The last record whose place is known.
    pub witness: Option<Witness>,
}

impl Deliveries {
    /// One more record is on its way.
    pub fn push(&mut self, delivery: DeliveryHandle) {
        self.waiting.push_back(delivery);
    }

    /// Takes the acknowledgements that have come.
    pub fn settle(&mut self, topic: &str) -> Result<()> {
        while let Some(delivery) = self.waiting.front_mut() {
            let Some(outcome) = delivery.now_or_never() else { return Ok(()) };
            self.waiting.pop_front();
            self.note(outcome.map_err(|error| failed("write to", topic, error))?);
        }
        Ok(())
    }

    /// Waits for all of them. The client gives each a time.
    pub async fn settle_all(&mut self, topic: &str) -> Result<()> {
        while let Some(delivery) = self.waiting.front_mut() {
            let outcome = delivery.await;
            self.waiting.pop_front();
            self.note(outcome.map_err(|error| failed("write to", topic, error))?);
        }
        Ok(())
    }

    fn note(&mut self, record: RecordMetadata) {
        if record.is_success() {
            let RecordMetadata { topic, partition, offset, .. } = record;
            self.witness = Some(Witness { topic, partition, offset });
        }
    }
}

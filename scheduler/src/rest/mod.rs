//! REST.
use crate::{dispatcher::DispatcherHandle, worker_gateway::WorkerGateway};
use std::sync::Arc;
use thalweg_graph::Options;
/// The routes of the control port.
pub fn routes(dispatcher: DispatcherHandle, gateway: WorkerGateway, options: Arc<Options>) -> axum::Router {
    let _ = (dispatcher, gateway, options);
    axum::Router::new()
}

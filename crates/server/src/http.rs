//! HTTP: health, metrics, the cluster as this node sees it, and the console.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderName, StatusCode, header},
    routing::get,
};
use prometheus_client::registry::Registry;
use tokio::{net::TcpListener, sync::watch};

use crate::{console::{self, Console}, metrics::Layers, node::KvNode, status::NodeStatus};

#[derive(Clone)]
struct Shared {
    node: KvNode,
    ready: watch::Receiver<bool>,
    metrics: Arc<Registry>,
}

/// Serves until `stop` says so.
pub(crate) async fn serve(
    listener: TcpListener,
    layers: Layers,
    console: Arc<Console>,
    ready: watch::Receiver<bool>,
    mut stop: watch::Receiver<bool>,
) {
    let node = layers.node.clone();
    let mut registry = Registry::with_prefix("quorate");
    registry.register_collector(Box::new(layers));
    let app = Router::new()
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .with_state(Shared { node, ready, metrics: Arc::new(registry) })
        .merge(console::routes(console));
    let stopped = async move {
        // A sender that is gone means that the node is, too.
        let _told = stop.wait_for(|stop| *stop).await;
    };
    if let Err(error) = axum::serve(listener, app).with_graceful_shutdown(stopped).await {
        tracing::warn!(%error, "http");
    }
}

/// 200 while this node takes SQL, 503 before and while it drains.
async fn health(State(shared): State<Shared>) -> (StatusCode, &'static str) {
    if *shared.ready.borrow() { (StatusCode::OK, "ok\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n") }
}

async fn status(State(shared): State<Shared>) -> Json<NodeStatus> {
    Json(shared.node.status())
}

/// Prometheus' text, of what the layers count.
async fn metrics(State(shared): State<Shared>) -> Result<([(HeaderName, &'static str); 1], String), StatusCode> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &shared.metrics)
        .map_err(|std::fmt::Error| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text))
}

//! Endpoints of other servers that need a model of another kind: 501, in the shape of their API's errors.

use std::sync::Arc;

use axum::Router;
use axum::routing::post;

use crate::app::App;
use crate::error::ApiError;

const RANKS: [&str; 5] = ["/v1/rerank", "/rerank", "/v1/reranking", "/reranking", "/v2/rerank"];

/// The routes. They are not in the OpenAPI document, which has what there is.
pub fn routes() -> Router<Arc<App>> {
    RANKS.into_iter().fold(Router::new(), |router, path| router.route(path, post(async || ApiError::no_ranks())))
}

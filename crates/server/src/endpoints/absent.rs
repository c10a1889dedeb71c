//! Endpoints of other servers that need a model of another kind: 501, in the shape of their API's errors.

use std::sync::Arc;

use axum::Router;
use axum::routing::post;

use crate::app::App;
use crate::error::ApiError;

const EMBEDDINGS: [&str; 5] = ["/v1/embeddings", "/embeddings", "/embedding", "/api/embed", "/api/embeddings"];
const RANKS: [&str; 5] = ["/v1/rerank", "/rerank", "/v1/reranking", "/reranking", "/v2/rerank"];

/// The routes. They are not in the OpenAPI document, which has what there is.
pub fn routes() -> Router<Arc<App>> {
    let paths = EMBEDDINGS.map(|path| (path, "embeddings")).into_iter().chain(RANKS.map(|path| (path, "ranks")));
    paths.fold(Router::new(), |router, (path, result)| {
        router.route(path, post(async move || ApiError::not_implemented(result)))
    })
}

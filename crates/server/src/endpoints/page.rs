//! The chat page, whose files are compiled into the program.

use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::routing::get;

use crate::app::App;

const FILES: &[(&str, &str, &str)] = &[
    ("/", "text/html; charset=utf-8", include_str!("../../page/index.html")),
    ("/page/style.css", "text/css; charset=utf-8", include_str!("../../page/style.css")),
    ("/page/icon.svg", "image/svg+xml", include_str!("../../page/icon.svg")),
    ("/page/main.js", "text/javascript; charset=utf-8", include_str!("../../page/main.js")),
    ("/page/api.js", "text/javascript; charset=utf-8", include_str!("../../page/api.js")),
    ("/page/markdown.js", "text/javascript; charset=utf-8", include_str!("../../page/markdown.js")),
    ("/page/store.js", "text/javascript; charset=utf-8", include_str!("../../page/store.js")),
    ("/page/words.js", "text/javascript; charset=utf-8", include_str!("../../page/words.js")),
];

pub fn routes() -> Router<Arc<App>> {
    FILES.iter().fold(Router::new(), |router, &(path, media, text)| {
        router.route(
            path,
            get(async move || ([(header::CONTENT_TYPE, media), (header::CACHE_CONTROL, "no-cache")], text)),
        )
    })
}

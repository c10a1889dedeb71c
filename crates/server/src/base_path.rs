//! A path below which all of the server's paths are, for proxies that pass paths on as they are.

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, Uri, uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect};
use tower::Layer;

use crate::error::ApiError;

/// The router with its paths below `base`, such as "/sterna"; the same router if `base` is empty.
pub fn below(base: &str, router: Router) -> Router {
    if base.is_empty() {
        return router;
    }
    let base = base.to_owned();
    // Before the router, which decides by the path.
    let strip = middleware::from_fn(move |mut request: Request, next: Next| {
        let base = base.clone();
        async move {
            if request.uri().path() == base {
                // The page names its files relative to its own path.
                return Redirect::permanent(&format!("{base}/")).into_response();
            }
            match without(&base, request.uri()) {
                Some(uri) => {
                    *request.uri_mut() = uri;
                    next.run(request).await
                }
                None => {
                    let message = format!("the paths of this server begin with {base}/, as set by --base-path");
                    ApiError::status(StatusCode::NOT_FOUND, message).into_response()
                }
            }
        }
    });
    Router::new().fallback_service(strip.layer(router))
}

/// The address without `base` at the beginning of its path; `None` if it is not there.
fn without(base: &str, uri: &Uri) -> Option<Uri> {
    let rest = uri.path_and_query()?.as_str().strip_prefix(base).filter(|rest| rest.starts_with('/'))?;
    let mut parts: uri::Parts = uri.clone().into_parts();
    parts.path_and_query = Some(rest.parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// Whether a path can be a base: none, or "/" and segments of letters, digits, `-`, `_`, `.` and `~`.
pub fn is_base(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let segment = |text: &str| !text.is_empty() && !text.bytes().all(|byte| byte == b'.') && text.bytes().all(plain);
    path.is_empty() || path.strip_prefix('/').is_some_and(|path| path.split('/').all(segment))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_segments_are_stripped() {
        for (uri, rest) in [
            ("/sterna/v1/models?x=1", Some("/v1/models?x=1")),
            ("/sterna/", Some("/")),
            ("/sterna", None),
            ("/sternas/v1/models", None),
            ("/v1/models", None),
            ("http://here/sterna/health", Some("http://here/health")),
        ] {
            let found = without("/sterna", &uri.parse().expect("an address"));
            assert_eq!(found.map(|uri| uri.to_string()).as_deref(), rest, "{uri}");
        }
        for (path, fits) in [
            ("", true),
            ("/a/b-c.d~1", true),
            ("/", false),
            ("a", false),
            ("/a/", false),
            ("/a/../b", false),
            ("/ä", false),
        ] {
            assert_eq!(is_base(path), fits, "{path}");
        }
    }
}

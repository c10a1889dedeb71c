//! Access control: hosts, origins and API keys.
//!
//! A page of another site must not reach a model on this machine, even if the site's name resolves to this machine's address.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use crate::app::App;
use crate::client::{self, Peer};
use crate::error::ApiError;

/// Paths that need no API key: those of monitoring, and the chat page.
const PUBLIC: [&str; 3] = ["/health", "/ready", "/"];

/// Checks a request before it reaches an endpoint, and adds the headers of CORS and security to the response. Logs method,
/// path, status, time and the client's address, but neither prompts nor answers.
pub async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().copied();
    let client = client::address(peer, request.headers(), app.settings.trust_proxy).map(|address| address.to_string());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let (method, path, begin) = (request.method().clone(), request.uri().path().to_owned(), Instant::now());
    let response = checked(&app, request, next).await;
    app.metrics.response(route.as_ref().map(MatchedPath::as_str), response.status());
    let (status, ms) = (response.status().as_u16(), begin.elapsed().as_millis() as u64);
    tracing::info!(%method, path = path.escape_default().to_string(), status, ms, client);
    response
}

async fn checked(app: &App, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let origin = headers.get(header::ORIGIN).cloned();
    if headers.get_all(header::HOST).iter().count() > 1 {
        return ApiError::invalid("the request has more than one Host header").into_response();
    }
    let host = host(&request);
    // Load balancers check the health of a server by its address alone.
    let nameless = host.is_none() && request.uri().path() == "/health";
    if !nameless && !host.as_deref().is_some_and(|host| is_own_host(app, host)) {
        let message = "the Host header names another server; if it is a name of this one, add it with --name";
        return ApiError::status(StatusCode::MISDIRECTED_REQUEST, message).into_response();
    }
    let foreign = origin.as_ref().filter(|origin| !host.as_ref().is_some_and(|host| is_own_origin(app, origin, host)));
    let listed = |origin: &HeaderValue| {
        let origin = origin.to_str().unwrap_or_default().trim_end_matches('/');
        app.settings.origins.iter().any(|one| one == "*" || origin.eq_ignore_ascii_case(one.trim_end_matches('/')))
    };
    let allowed = foreign.is_none_or(listed);
    if !allowed {
        let message = "pages of this origin may not use this server; allow it with --origin";
        return ApiError::status(StatusCode::FORBIDDEN, message).into_response();
    }
    let mut response = if request.method() == Method::OPTIONS && foreign.is_some() {
        StatusCode::NO_CONTENT.into_response()
    } else if !is_public(request.uri().path()) && !has_key(&app.settings.api_keys, headers) {
        ApiError::key().into_response()
    } else {
        next.run(request).await
    };
    if let Some(origin) = foreign {
        allow_origin(response.headers_mut(), origin.clone());
    }
    secure_headers(response.headers_mut());
    response
}

fn is_public(path: &str) -> bool {
    PUBLIC.contains(&path) || path.starts_with("/page/")
}

/// Host and port of a request, in lower case.
fn host(request: &Request) -> Option<String> {
    let header = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    header.or_else(|| request.uri().authority().map(|authority| authority.as_str())).map(str::to_ascii_lowercase)
}

/// Whether a host is this server: an address, "localhost", or a name from the settings. Anybody can make another name
/// resolve to this machine (DNS rebinding).
fn is_own_host(app: &App, host: &str) -> bool {
    let (name, _) = name_and_port(host);
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>().is_ok() || name == "localhost" || name.ends_with(".localhost") || is_named(app, name)
}

fn is_named(app: &App, name: &str) -> bool {
    app.settings.names.iter().any(|own| own.eq_ignore_ascii_case(name))
}

/// Whether a page is this server's own: it came from the request's host, or from a name in the settings at any port. A
/// proxy that ends TLS passes requests on by HTTP, so both schemes count.
fn is_own_origin(app: &App, origin: &HeaderValue, host: &str) -> bool {
    let origin = origin.to_str().unwrap_or_default().trim_end_matches('/').to_ascii_lowercase();
    let (from, default) = match (origin.strip_prefix("https://"), origin.strip_prefix("http://")) {
        (Some(from), _) => (from, "443"),
        (_, Some(from)) => (from, "80"),
        _ => return false,
    };
    let ((name, port), (own, own_port)) = (name_and_port(from), name_and_port(host));
    let same = name == own && port.unwrap_or(default) == own_port.unwrap_or(default);
    same || is_named(app, name)
}

/// The name or address of a host, and its port.
fn name_and_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.ends_with(':') && port.bytes().all(|b| b.is_ascii_digit()) => (name, Some(port)),
        _ => (host, None),
    }
}

/// Whether a request has one of the keys, or needs none: in `Authorization`, where the name of the scheme may have any case
/// (RFC 9110, section 11.1), or in Anthropic's `X-Api-Key`. The comparison of keys takes constant time.
fn has_key(keys: &[String], headers: &HeaderMap) -> bool {
    let value = headers.get(header::AUTHORIZATION).map_or(&b""[..], HeaderValue::as_bytes);
    let (scheme, rest) = value.split_at(value.iter().position(u8::is_ascii_whitespace).unwrap_or(value.len()));
    let bearer = if scheme.eq_ignore_ascii_case(b"bearer") { rest.trim_ascii() } else { b"" };
    let given = [bearer, headers.get("x-api-key").map_or(b"", |key| key.as_bytes().trim_ascii())];
    let pairs = keys.iter().flat_map(|key| given.map(|given| key.as_bytes().ct_eq(given)));
    let found = pairs.fold(subtle::Choice::from(0), |found, equal| found | equal);
    keys.is_empty() || found.into()
}

fn allow_origin(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, DELETE"));
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("authorization, content-type, x-api-key, *"),
    );
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
}

fn secure_headers(headers: &mut HeaderMap) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let policy = "default-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
}

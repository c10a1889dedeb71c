//! The address of a request's client, for the log.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;

/// The header to which a proxy adds the address of its own client.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The other end of the connection that a request came through.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// The address of the client: the other end of the connection, or with a trusted proxy the last address that is
/// forwarded. Those before it came from the proxy's client, which could write anything.
pub fn address(peer: Option<Peer>, headers: &HeaderMap, trust_proxy: bool) -> Option<IpAddr> {
    let last = || headers.get_all(FORWARDED_FOR).iter().next_back()?.to_str().ok()?.rsplit(',').next().map(str::trim);
    let forwarded = trust_proxy.then(last).flatten().and_then(parse);
    forwarded.or(peer.map(|peer| peer.0.to_canonical()))
}

/// An address, which some proxies write with a port or in brackets.
fn parse(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_the_last_forwarded_address_of_a_trusted_proxy_counts() {
        let peer = Some(Peer([10, 0, 0, 1].into()));
        for (forwarded, client) in [
            (&["203.0.113.7"][..], "203.0.113.7"),
            (&["198.51.100.1, 203.0.113.7"], "203.0.113.7"),
            (&["198.51.100.1", "203.0.113.7"], "203.0.113.7"),
            (&["203.0.113.7:4711"], "203.0.113.7"),
            (&["2001:db8::7"], "2001:db8::7"),
            (&["[2001:db8::7]:4711"], "2001:db8::7"),
            (&["[2001:db8::7]"], "2001:db8::7"),
            (&["evil\tname"], "10.0.0.1"),
            (&["203.0.113.7,"], "10.0.0.1"),
            (&[], "10.0.0.1"),
        ] {
            let values = forwarded.iter().map(|value| HeaderValue::from_str(value).expect("a header"));
            let headers: HeaderMap = values.map(|value| (FORWARDED_FOR.parse().expect("a name"), value)).fold(
                HeaderMap::new(),
                |mut headers, (name, value): (axum::http::HeaderName, _)| {
                    headers.append(name, value);
                    headers
                },
            );
            assert_eq!(
                address(peer, &headers, true).map(|ip| ip.to_string()).as_deref(),
                Some(client),
                "{forwarded:?}"
            );
            assert_eq!(address(peer, &headers, false), peer.map(|peer| peer.0), "{forwarded:?}");
        }
        assert_eq!(address(None, &HeaderMap::new(), true), None);
    }
}

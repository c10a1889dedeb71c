//! The metrics as Prometheus reads them, and the dashboard that shows them.

mod running;

use std::collections::{BTreeMap, BTreeSet};

use running::Running;
use serde_json::{Value, json};
use sterna_server::Settings;

const DASHBOARD: &str = include_str!("../../../deploy/grafana.json");

/// A metric family of the exposition.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    help: String,
    samples: Vec<Sample>,
}

#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// Parses OpenMetrics' text format: HELP and TYPE before the samples of a family, and `# EOF` at the end.
fn parse(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    let lines = text.strip_suffix("# EOF\n").unwrap_or_else(|| panic!("no end: {text}")).lines();
    for line in lines {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (word, name, rest) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
            name.clone_into(&mut current);
            let family = families.entry(current.clone()).or_default();
            match word {
                "HELP" => rest.clone_into(&mut family.help),
                "TYPE" => rest.clone_into(&mut family.kind),
                "UNIT" => assert!(name.ends_with(rest), "{line}"),
                _ => panic!("{line}"),
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let family = families.get_mut(&current).unwrap_or_else(|| panic!("{line}"));
        assert!(name.starts_with(&current), "{line} stands under {current}");
        let suffix = &name[current.len()..];
        let suffixes: &[&str] = match family.kind.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "info" => &["_info"],
            "histogram" => &["_bucket", "_sum", "_count"],
            kind => panic!("{kind}: {line}"),
        };
        assert!(suffixes.contains(&suffix) && !family.help.is_empty(), "{line}");
        let pairs = labels.trim_end_matches('}').split("\",").filter(|pair| !pair.is_empty());
        let labels = pairs.map(|pair| {
            let (name, value) = pair.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            (name.to_owned(), value.trim_end_matches('"').to_owned())
        });
        let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
        family.samples.push(Sample { name: name.to_owned(), labels: labels.collect(), value });
    }
    for (name, family) in &families {
        assert!(!family.kind.is_empty() && !family.help.is_empty(), "{name}: {family:?}");
    }
    families
}

#[test]
fn every_metric_is_described_and_labels_do_not_come_from_requests() {
    let settings = Settings { queue: 77, commit: "0123456789ab", ..Settings::default() };
    let server = Running::embedded(settings);
    assert_eq!(server.chat(json!({ "max_tokens": 3 })).status, 200);
    assert_eq!(server.post("/v1/chat/completions", &json!({ "messages": 3 })).status, 400);
    for path in ["/nowhere-1", "/nowhere-2", "/v1/models/nowhere-3", "/%22%0A", "/page/nowhere-4"] {
        assert_eq!(server.get(path, "").status, 404, "{path}");
    }
    assert_eq!(server.raw("GET /v1/models HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n").status, 421);
    let text = server.get("/metrics", "").body;
    let families = parse(&text);
    assert!(!text.contains("nowhere-") && !text.contains("evil"), "{text}");

    let responses = &families["sterna_http_responses"].samples;
    let count = |endpoint: &str, class: &str| -> f64 {
        let of = |sample: &&Sample| sample.labels["endpoint"] == endpoint && sample.labels["class"] == class;
        responses.iter().filter(of).map(|sample| sample.value).sum()
    };
    assert_eq!((count("/v1/chat/completions", "2xx"), count("/v1/chat/completions", "4xx")), (1.0, 1.0), "{text}");
    assert_eq!(count("other", "4xx") + count("/v1/models/{*model}", "4xx"), 5.0, "{text}");
    assert_eq!(count("/v1/models", "4xx"), 1.0, "{text}");

    let build = &families["sterna_build"].samples[0].labels;
    assert_eq!((build["version"].as_str(), build["commit"].as_str()), (env!("CARGO_PKG_VERSION"), "0123456789ab"));
    let one = |name: &str| families[name].samples[0].value;
    assert_eq!(one("sterna_queue_limit"), 77.0);
    assert!(one("process_start_time_seconds") > 1.7e9);
    if cfg!(target_os = "linux") {
        let (memory, files) = (one("process_resident_memory_bytes"), one("process_open_fds"));
        assert!(memory > 1e6 && one("process_cpu_seconds") > 0.0, "{text}");
        assert!(files > 3.0 && files < one("process_max_fds"), "{text}");
    }
    let names: BTreeSet<&str> = families
        .values()
        .flat_map(|family| &family.samples)
        .flat_map(|sample| sample.labels.keys().map(String::as_str))
        .collect();
    let known = ["class", "commit", "endpoint", "le", "model", "outcome", "version"];
    assert!(names.iter().all(|name| known.contains(name)), "{names:?}");
}

/// Texts of all queries of a dashboard.
fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("expr").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| queries(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| queries(value, found)),
        _ => {}
    }
}

#[test]
fn the_dashboard_shows_metrics_that_exist() {
    let server = Running::embedded(Settings::default());
    assert_eq!(server.chat(json!({ "max_tokens": 2 })).status, 200);
    let families = parse(&server.get("/metrics", "").body);
    let series: BTreeSet<_> =
        families.values().flat_map(|family| &family.samples).map(|sample| &*sample.name).collect();
    let mut found = Vec::new();
    queries(&serde_json::from_str(DASHBOARD).unwrap(), &mut found);
    let words = |query: &str| -> Vec<String> {
        let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words.filter(|word| word.starts_with("sterna_") || word.starts_with("process_")).map(str::to_owned).collect()
    };
    assert!(found.len() >= 8, "{found:?}");
    for query in &found {
        let names = words(query);
        assert!(!names.is_empty(), "{query}");
        for name in names {
            let exists = series.contains(name.as_str()) || (name.starts_with("process_") && !cfg!(target_os = "linux"));
            assert!(exists, "{name} of {query}");
        }
    }
}

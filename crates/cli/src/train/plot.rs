//! `sterna train plot`: draws the curves of runs as SVG.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::curves::{Curves, Line, smooth, thin};
use crate::output;

const EXAMPLES: &str = "\
Loss and gradient norm (bright: smoothed over a fiftieth of the steps), validation and rate over tokens \
read. The highest twentieth of loss and gradient norm may lie above the frame. A dashed line shows \
where rounding to trits began. It reads log.jsonl only, so it can be used while the run goes on.

Examples:
  sterna train plot run                           writes run/curves.svg
  sterna train plot run twin --out compare.svg    runs in one picture";

/// Draw the curves of one or several runs as SVG
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Plot {
    /// Directories of runs
    #[arg(value_name = "DIR", required = true, num_args = 1..=COLOURS.len())]
    runs: Vec<PathBuf>,
    /// The picture [default: curves.svg in the first DIR]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Plot {
    pub fn run(self) -> anyhow::Result<()> {
        let name = |run: &PathBuf| legend(run, &self.runs);
        let curves = self.runs.iter().map(|run| Curves::read(name(run), run)).collect::<anyhow::Result<Vec<_>>>()?;
        let out = self.out.unwrap_or_else(|| self.runs[0].join("curves.svg"));
        fs::write(&out, draw(&curves)).with_context(|| out.display().to_string())?;
        output::note(&format!("{}: curves of {} run(s)", out.display(), curves.len()));
        Ok(())
    }
}

/// A run's name in the legend: the last part of its path, or the whole path if another run ends alike.
fn legend(run: &Path, all: &[PathBuf]) -> String {
    let last = |run: &Path| {
        let path = fs::canonicalize(run).unwrap_or_else(|_| run.to_owned());
        path.file_name().map_or_else(|| run.display().to_string(), |name| name.to_string_lossy().into_owned())
    };
    let own = last(run);
    if all.iter().filter(|other| last(other) == own).count() > 1 { run.display().to_string() } else { own }
}

/// Colours of the runs, on light and on dark background.
const COLOURS: [(&str, &str); 8] = [
    ("#0969da", "#4493f8"),
    ("#bc4c00", "#f0883e"),
    ("#1a7f37", "#3fb950"),
    ("#8250df", "#ab7df8"),
    ("#cf222e", "#ff7b72"),
    ("#0b7285", "#39c5cf"),
    ("#bf3989", "#f778ba"),
    ("#57606a", "#9198a1"),
];

const STYLE: &str = "
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 } .small { font-size: 11px; fill: #57606a }
.grid { stroke: #d0d7de; stroke-width: 1 } .line { fill: none; stroke-width: 1.6; stroke-linejoin: round }
.raw { fill: none; opacity: .25 } .ternary { stroke-dasharray: 4 3; opacity: .7 }";

const STYLE_DARK: &str = "text { fill: #e6edf3 } .small { fill: #9198a1 } .grid { stroke: #30363d }";

/// Size of the picture, and margins: left of a panel, between panels, and for a line of the legend.
const WIDTH: f64 = 900.0;
const LEFT: f64 = 52.0;
const GAP: f64 = 66.0;
const LEGEND: f64 = 18.0;
/// Most points of a line; more would not be visible.
const POINTS: usize = 1000;

/// Draws the picture.
pub fn draw(runs: &[Curves]) -> String {
    let top = 44.0 + LEGEND * runs.len() as f64;
    let validated = runs.iter().any(|run| !run.validation.is_empty());
    let half = (WIDTH - LEFT - GAP - 20.0) / 2.0;
    let wide = if validated { half } else { WIDTH - LEFT - 20.0 };
    let (second, below) = (LEFT + half + GAP, top + 26.0 + 250.0 + 62.0);
    let height = below + 120.0 + 44.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n\
         <title>Training curves</title>{}\n<text class=\"title\" x=\"10\" y=\"22\">Training curves</text>\n",
        style(runs.len())
    );
    for (i, run) in runs.iter().enumerate() {
        let y = 44.0 + LEGEND * i as f64;
        let _ = writeln!(
            out,
            "<rect class=\"dot{i}\" x=\"10\" y=\"{}\" width=\"14\" height=\"4\" rx=\"2\"/>\
             <text x=\"32\" y=\"{y}\">{}</text>",
            y - 7.0,
            escape(&about(run))
        );
    }
    let tokens = runs.iter().filter_map(|run| run.loss.last()).fold(0.0, |most, (x, _)| x.max(most));
    let x = Axis::of(0.0, tokens, if validated { 5 } else { 10 });
    let frame = |left, top, width, height| Frame { left, top, width, height };
    let marks: Vec<_> = runs.iter().map(|run| run.ternary).collect();
    let of = |get: fn(&Curves) -> &Line| runs.iter().map(|run| (None, get(run).clone())).collect::<Vec<_>>();
    let noisy = |get: fn(&Curves) -> &Line| {
        runs.iter().map(|run| (Some(get(run).clone()), smooth(get(run)))).collect::<Vec<_>>()
    };
    let upper = frame(LEFT, top + 26.0, wide, 250.0);
    out += &upper.panel("loss, nats per token", &x, &noisy(|run| &run.loss), Range::MostOf, &marks);
    if validated {
        let panel = frame(second, top + 26.0, half, 250.0);
        out += &panel.panel("validation, bits per byte", &x, &of(|run| &run.validation), Range::Points, &marks);
    }
    let x = Axis::of(0.0, tokens, 5);
    let (rate, norm) = (frame(LEFT, below, half, 120.0), frame(second, below, half, 120.0));
    out += &rate.panel("rate of the ternary layers", &x, &of(|run| &run.rate), Range::FromZero, &[]);
    out += &norm.panel("norm of the gradient", &x, &noisy(|run| &run.gradient), Range::MostFromZero, &marks);
    out + "</svg>\n"
}

fn style(runs: usize) -> String {
    let colours = |pick: fn(&(&'static str, &'static str)) -> &'static str| {
        let rule =
            |(i, pair): (usize, &(_, _))| format!(".run{i} {{ stroke: {0} }} .dot{i} {{ fill: {0} }}", pick(pair));
        COLOURS.iter().take(runs).enumerate().map(rule).collect::<Vec<_>>().join("\n")
    };
    let (light, dark) = (colours(|pair| pair.0), colours(|pair| pair.1));
    format!("<style>{STYLE}\n{light}\n@media (prefers-color-scheme: dark) {{\n{STYLE_DARK}\n{dark}\n}}</style>")
}

/// Describes a run in one line.
fn about(run: &Curves) -> String {
    let last = |line: &Line| line.last().map_or(f64::NAN, |(_, y)| *y);
    let tokens = run.loss.last().map_or(0.0, |(x, _)| *x);
    let mut text = format!("{}: {} steps, {} tokens", run.name, run.steps, label(tokens, tokens / 100.0));
    let _ = write!(text, ", loss {:.3}", last(&smooth(&run.loss)));
    if !run.validation.is_empty() {
        let _ = write!(text, ", validation {:.3} bits per byte", last(&run.validation));
    }
    text
}

/// The range of y values that a panel shows.
#[derive(Clone, Copy, PartialEq)]
enum Range {
    /// The range of all points; there are few, and each is marked.
    Points,
    FromZero,
    /// All but the highest twentieth, so that the first steps do not flatten the rest.
    MostOf,
    MostFromZero,
}

impl Range {
    fn axis(self, lines: &[(Option<Line>, Line)]) -> Axis {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for (raw, line) in lines {
            let mut values: Vec<f64> = raw.as_ref().unwrap_or(line).iter().map(|(_, y)| *y).collect();
            values.sort_by(f64::total_cmp);
            if matches!(self, Self::MostOf | Self::MostFromZero) {
                values.truncate(values.len() - values.len() / 20);
            }
            low = values.first().map_or(low, |y| y.min(low));
            high = values.last().map_or(high, |y| y.max(high));
        }
        if matches!(self, Self::FromZero | Self::MostFromZero) {
            low = 0.0;
        }
        Axis::of(low, high, if matches!(self, Self::FromZero | Self::MostFromZero) { 4 } else { 7 })
    }
}

/// An axis, from the first tick to the last.
#[derive(Debug, PartialEq)]
struct Axis {
    low: f64,
    step: f64,
    count: usize,
}

impl Axis {
    /// An axis from `low` to `high` of at most `most` steps, each 1, 2 or 5 times a power of ten.
    fn of(low: f64, high: f64, most: usize) -> Self {
        let high = if high > low { high } else { low + low.abs().max(1e-6) };
        let mut power = 10f64.powf(((high - low) / most as f64).log10().floor());
        loop {
            for step in [1.0, 2.0, 5.0].map(|digit| digit * power) {
                // Rounding must not turn a limit that is a tick into another tick.
                let first = (low / step + 1e-9).floor();
                let count = (high / step - 1e-9).ceil() - first;
                if count <= most as f64 {
                    return Self { low: first * step, step, count: (count as usize).max(1) };
                }
            }
            power *= 10.0;
        }
    }

    fn share(&self, value: f64) -> f64 {
        (value - self.low) / (self.step * self.count as f64)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        (0..=self.count).map(|i| self.low + self.step * i as f64)
    }
}

/// The position of a panel.
struct Frame {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

impl Frame {
    fn panel(
        &self,
        title: &str,
        x: &Axis,
        lines: &[(Option<Line>, Line)],
        range: Range,
        marks: &[Option<f64>],
    ) -> String {
        let Self { left, top, width, height } = *self;
        let y = range.axis(lines);
        let (right, bottom) = (left + width, top + height);
        let mut out = format!("<g><text class=\"title\" x=\"{left}\" y=\"{}\">{title}</text>\n", top - 10.0);
        for tick in y.ticks() {
            let at = bottom - y.share(tick) * height;
            let _ = writeln!(
                out,
                "<line class=\"grid\" x1=\"{left}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text class=\"small\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                left - 6.0,
                at + 4.0,
                label(tick, y.step)
            );
        }
        let below = |out: &mut String, x: f64, y: f64, anchor: &str, text: &str| {
            let _ =
                writeln!(out, "<text class=\"small\" x=\"{x:.1}\" y=\"{y}\" text-anchor=\"{anchor}\">{text}</text>");
        };
        for tick in x.ticks() {
            below(&mut out, left + x.share(tick) * width, bottom + 16.0, "middle", &label(tick, x.step));
        }
        below(&mut out, right, bottom + 30.0, "end", "tokens read");
        // A nested element clips the lines to the panel.
        let _ = writeln!(out, "<svg x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\">");
        let at = |(tokens, value): &(f64, f64)| (x.share(*tokens) * width, (1.0 - y.share(*value)) * height);
        for (i, (raw, line)) in lines.iter().enumerate() {
            if let Some(raw) = raw {
                out += &polyline("raw", i, &thin(raw, POINTS), at);
            }
            out += &polyline("line", i, &thin(line, POINTS), at);
            for (x, y) in line.iter().map(at).filter(|_| range == Range::Points) {
                let _ = writeln!(out, "<circle class=\"dot{i}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\"/>");
            }
        }
        for (i, mark) in marks.iter().enumerate() {
            if let Some(mark) = mark {
                let x = x.share(*mark) * width;
                let _ = writeln!(
                    out,
                    "<line class=\"ternary run{i}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{height}\"/>"
                );
            }
        }
        out + "</svg></g>\n"
    }
}

fn polyline(class: &str, run: usize, line: &Line, at: impl Fn(&(f64, f64)) -> (f64, f64)) -> String {
    let points: Vec<_> = line.iter().map(at).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    format!("<polyline class=\"{class} run{run}\" points=\"{}\"/>\n", points.join(" "))
}

/// Formats a number with the precision that steps of `step` need: `250k`, `1.5M`, `0.004`.
fn label(value: f64, step: f64) -> String {
    let (unit, name) = match value.abs() {
        0.0..1e3 => (1.0, ""),
        1e3..1e6 => (1e3, "k"),
        1e6..1e9 => (1e6, "M"),
        _ => (1e9, "G"),
    };
    let places = (-(step / unit).log10() - 1e-9).ceil().clamp(0.0, 9.0) as usize;
    if value == 0.0 { "0".into() } else { format!("{:.places$}{name}", value / unit) }
}

/// Escapes text for XML, which does not allow control characters.
fn escape(text: &str) -> String {
    output::printable(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

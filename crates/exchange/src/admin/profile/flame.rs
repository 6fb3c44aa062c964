//! A flame graph as one SVG: each frame a bar as wide as its share of the samples, below its caller.

use super::Stacks;
use maud::{Markup, html};
use std::collections::BTreeMap;

const WIDTH: f64 = 1200.0;
const ROW: f64 = 17.0;
/// What is narrower is not drawn: nobody could see it, and there may be thousands.
const NARROWEST: f64 = 0.3;
/// Characters are about so wide.
const CHARACTER: f64 = 6.6;

#[derive(Default)]
struct Frame<'a> {
    samples: u64,
    callees: BTreeMap<&'a str, Frame<'a>>,
}

pub(super) fn graph(stacks: &Stacks, seconds: u64, hz: i32) -> String {
    let mut root = Frame::default();
    for (stack, samples) in stacks {
        root.samples += samples;
        let mut frame = &mut root;
        for name in stack {
            frame = frame.callees.entry(name).or_default();
            frame.samples += samples;
        }
    }
    let deepest = stacks.keys().map(Vec::len).max().unwrap_or(0);
    let height = (deepest + 2) as f64 * ROW;
    let title = format!("{} samples in {seconds} s at {hz} in a second of CPU time", root.samples);
    let mut bars = Vec::new();
    bar(&mut bars, &title, &root, root.samples.max(1), 0.0, 0);
    let graph = html! {
        svg xmlns="http://www.w3.org/2000/svg" viewBox=(format!("0 0 {WIDTH} {height}")) font-family="monospace"
            font-size="11" role="img" aria-label=(title) {
            rect width="100%" height="100%" fill="#fff" {}
            @for bar in bars { (bar) }
        }
    };
    graph.into_string()
}

fn bar(bars: &mut Vec<Markup>, name: &str, frame: &Frame<'_>, all: u64, x: f64, depth: usize) {
    let width = frame.samples as f64 / all as f64 * WIDTH;
    if width < NARROWEST {
        return;
    }
    let y = depth as f64 * ROW;
    let fits = (width / CHARACTER) as usize;
    let label: String = if fits < 3 { String::new() } else { name.chars().take(fits).collect() };
    // The same function has the same colour everywhere.
    let hue = 10 + name.bytes().fold(0u32, |sum, byte| sum.wrapping_mul(31) + u32::from(byte)) % 45;
    let share = 100.0 * frame.samples as f64 / all as f64;
    bars.push(html! {
        g {
            title { (name) " " (frame.samples) (format!(" ({share:.1}%)")) }
            rect x=(format!("{x:.2}")) y=(y) width=(format!("{width:.2}")) height=(ROW - 1.0)
                fill=(format!("hsl({hue},80%,72%)")) {}
            @if !label.is_empty() { text x=(format!("{:.2}", x + 2.0)) y=(y + 12.0) { (label) } }
        }
    });
    let mut x = x;
    for (name, callee) in &frame.callees {
        bar(bars, name, callee, all, x, depth + 1);
        x += callee.samples as f64 / all as f64 * WIDTH;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_wide_as_its_share_and_names_are_escaped() {
        let stack = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let stacks = Stacks::from([(stack(&["a", "f<u8>"]), 3), (stack(&["b"]), 1)]);
        let svg = graph(&stacks, 1, 99);
        for expected in
            ["4 samples", "f&lt;u8&gt; 3 (75.0%)", "width=\"900.00\"", "x=\"900.00\"", "b 1 (25.0%)"]
        {
            assert!(svg.contains(expected), "{expected}: {svg}");
        }
        assert!(!svg.contains("f<u8>"), "{svg}");
    }
}

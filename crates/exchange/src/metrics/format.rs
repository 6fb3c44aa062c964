//! The two text formats of Prometheus, and which of them a reader gets.
//!
//! * OpenMetrics 1.0 for who asks for it, as Prometheus does; the older text format for everybody else, as curl and
//!   `promtool check metrics`.
//! * Source: OpenMetrics 1.0; Prometheus exposition formats, text format 0.0.4; RFC 9110 §12.5.1.

use std::collections::BTreeSet;

/// How the page of metrics is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `application/openmetrics-text; version=1.0.0`
    OpenMetrics,
    /// `text/plain; version=0.0.4`
    Text,
}

impl Format {
    /// What a request with this Accept header gets; of equal weights OpenMetrics.
    pub fn accepted(accept: &str) -> Self {
        let weight = |name: &str| {
            let ranges = accept.split(',').filter_map(|range| {
                let mut parts = range.split(';').map(str::trim);
                parts.next().filter(|range| range.eq_ignore_ascii_case(name))?;
                let quality = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
                Some(quality.map_or(1.0, |quality| quality.parse().unwrap_or(0.0)))
            });
            ranges.fold(0.0, f64::max)
        };
        let open = weight("application/openmetrics-text");
        if open > 0.0 && open >= weight("text/plain") { Self::OpenMetrics } else { Self::Text }
    }

    /// The answer's Content-Type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// A page of OpenMetrics in this format.
    pub(super) fn write(self, page: String) -> String {
        match self {
            Self::OpenMetrics => page,
            Self::Text => text(&page),
        }
    }
}

/// The older format names a counter as its samples are named, and knows neither units nor an end.
fn text(page: &str) -> String {
    let described = |line: &'static str| page.lines().filter_map(move |l| l.strip_prefix(line));
    let counters: BTreeSet<&str> =
        described("# TYPE ").filter_map(|described| described.strip_suffix(" counter")).collect();
    let mut written = String::with_capacity(page.len());
    for line in page.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("UNIT" | "EOF"), ..) => continue,
            (Some("#"), Some(keyword), Some(name), Some(rest)) if counters.contains(name) => {
                written.extend(["# ", keyword, " ", name, "_total ", rest]);
            }
            _ => written.push_str(line),
        }
        written.push('\n');
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_who_asks_for_it() {
        const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0,\
            application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (accept, expected) in [
            (PROMETHEUS, Format::OpenMetrics),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("Application/OpenMetrics-Text; q=0.3, text/html", Format::OpenMetrics),
            ("text/plain, application/openmetrics-text", Format::OpenMetrics),
            ("text/plain;version=0.0.4, application/openmetrics-text;q=0.9", Format::Text),
            ("application/openmetrics-text;q=0", Format::Text),
            ("application/openmetrics-text;q=much", Format::Text),
            ("text/plain", Format::Text),
            ("*/*", Format::Text),
            ("", Format::Text),
        ] {
            assert_eq!(Format::accepted(accept), expected, "{accept}");
        }
    }

    #[test]
    fn the_older_format_names_counters_as_their_samples() {
        let open = "# HELP a_usd prices of a_usd\n# TYPE a_usd counter\n# UNIT a_usd usd\n\
            a_usd_total{b=\"# TYPE a_usd counter\"} 1\n# HELP c things\n# TYPE c gauge\nc 2\n# EOF\n";
        let expected = "# HELP a_usd_total prices of a_usd\n# TYPE a_usd_total counter\n\
            a_usd_total{b=\"# TYPE a_usd counter\"} 1\n# HELP c things\n# TYPE c gauge\nc 2\n";
        assert_eq!(Format::Text.write(open.to_owned()), expected);
        assert_eq!(Format::OpenMetrics.write(open.to_owned()), open);
    }
}

//! Pages of metrics for Prometheus: its text format 0.0.4, and OpenMetrics 1.0 for whoever asks for it.
//!
//! # Where the two differ
//! OpenMetrics names a counter without `_total` where it says what it is, knows units, calls what has no type `unknown`, and ends with
//! a line that proves the page whole. Samples, and so the series that a scraper stores, are the same in both: which of them was
//! spoken must not show in anybody's query.

use std::fmt;
use std::fmt::Write as _;

use crate::metric::{Kind, Metric};

/// Units that OpenMetrics wants to be told, where a name ends with one.
const UNITS: [&str; 4] = ["bytes", "celsius", "ratio", "seconds"];
const OPENMETRICS: &str = "application/openmetrics-text";
const TEXT: &str = "text/plain";

/// What a page is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format 0.0.4, which everybody reads.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The one that an `Accept` header asks for.
    pub fn accepted(header: Option<&str>) -> Self {
        let (mut openmetrics, mut prometheus) = (0.0, 0.0_f32);
        for item in header.unwrap_or_default().split(',') {
            let mut parts = item.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let (mut quality, mut version) = (1.0_f32, "1.0.0");
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match name.trim() {
                    // What is no number asks for nothing.
                    "q" => quality = value.trim().parse().unwrap_or(0.0),
                    "version" => version = value.trim().trim_matches('"'),
                    _ => {}
                }
            }
            if kind.eq_ignore_ascii_case(OPENMETRICS) && matches!(version, "1.0.0" | "0.0.1") {
                openmetrics = quality.max(openmetrics);
            } else if kind.eq_ignore_ascii_case(TEXT) {
                prometheus = quality.max(prometheus);
            }
        }
        if openmetrics > 0.0 && openmetrics >= prometheus { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The `Content-Type` of a page.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A page that is sent as it is written is sent in pieces of at least so many bytes, and of a sample more at most.
pub const PIECE_BYTES: usize = 32 * 1024;
/// A sample of a histogram with many labels seldom takes more.
const SAMPLE_BYTES_USUALLY: usize = 16 * 1024;

/// A page that is being written: each metric's head once, then its samples.
pub struct Page {
    text: String,
    format: Format,
    send: Option<Box<dyn FnMut(String) -> bool>>,
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page").field("format", &self.format).field("bytes", &self.text.len()).finish_non_exhaustive()
    }
}

impl Page {
    /// An empty page. `capacity` is a guess at its length.
    pub fn new(format: Format, capacity: usize) -> Self {
        Self { text: String::with_capacity(capacity), format, send: None }
    }

    /// A page that is not kept: each piece is given to `send` when it is full, until that says `false`, as nobody reads any more.
    pub fn in_pieces(format: Format, send: impl FnMut(String) -> bool + 'static) -> Self {
        let text = String::with_capacity(PIECE_BYTES + SAMPLE_BYTES_USUALLY);
        Self { text, format, send: Some(Box::new(send)) }
    }

    /// Sends what is written, if that is a piece.
    fn hand_over(&mut self, bytes_min: usize) {
        if self.text.len() < bytes_min {
            return;
        }
        if let Some(send) = &mut self.send {
            let next = String::with_capacity(PIECE_BYTES + SAMPLE_BYTES_USUALLY);
            if !send(std::mem::replace(&mut self.text, next)) {
                self.send = Some(Box::new(|_| false));
            }
        }
    }

    /// Says what a metric is. Its samples follow, all of them before the next head.
    pub fn head(&mut self, metric: &Metric) {
        let name = match (self.format, metric.kind) {
            (Format::OpenMetrics, Kind::Counter) => metric.name.strip_suffix("_total").unwrap_or(metric.name),
            _ => metric.name,
        };
        let kind = match (self.format, metric.kind) {
            (Format::OpenMetrics, Kind::Untyped) => "unknown",
            (Format::Prometheus | Format::OpenMetrics, kind) => kind.as_str(),
        };
        self.text.push_str("# HELP ");
        self.text.push_str(name);
        self.text.push(' ');
        for character in metric.help.chars() {
            match character {
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '"' if self.format == Format::OpenMetrics => self.text.push_str("\\\""),
                other => self.text.push(other),
            }
        }
        // Writing to a String cannot fail; here and below.
        writeln!(self.text, "\n# TYPE {name} {kind}").unwrap_or_default();
        let unit = UNITS.into_iter().find(|unit| name.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_')));
        if let (Format::OpenMetrics, Some(unit)) = (self.format, unit) {
            writeln!(self.text, "# UNIT {name} {unit}").unwrap_or_default();
        }
        self.hand_over(PIECE_BYTES);
    }

    /// A sample of a counter or gauge, with a value for each label of the table.
    pub fn sample(&mut self, metric: &Metric, labels: &[&str], value: u64) {
        self.series(metric, "", labels, None);
        writeln!(self.text, " {value}").unwrap_or_default();
        self.hand_over(PIECE_BYTES);
    }

    /// The same for what is not counted in whole numbers.
    pub fn sample_real(&mut self, metric: &Metric, labels: &[&str], value: f64) {
        self.series(metric, "", labels, None);
        writeln!(self.text, " {value}").unwrap_or_default();
        self.hand_over(PIECE_BYTES);
    }

    /// A histogram: for each upper bound how many were at most that, then all of them and their sum.
    pub fn histogram(&mut self, metric: &Metric, labels: &[&str], buckets: &[(f64, u64)], count: u64, sum: f64) {
        for (bound, below) in buckets {
            // `1.0`, not `1`: the form that OpenMetrics asks for, and one series whoever scrapes.
            self.series(metric, "_bucket", labels, Some(&format!("{bound:?}")));
            writeln!(self.text, " {below}").unwrap_or_default();
        }
        self.series(metric, "_bucket", labels, Some("+Inf"));
        writeln!(self.text, " {count}").unwrap_or_default();
        self.series(metric, "_sum", labels, None);
        writeln!(self.text, " {sum}").unwrap_or_default();
        self.series(metric, "_count", labels, None);
        writeln!(self.text, " {count}").unwrap_or_default();
        self.hand_over(PIECE_BYTES);
    }

    /// The whole page; of one that was sent in pieces, nothing.
    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.hand_over(1);
        self.text
    }

    fn series(&mut self, metric: &Metric, suffix: &str, labels: &[&str], bound: Option<&str>) {
        debug_assert_eq!(labels.len(), metric.labels.len(), "labels of {}", metric.name);
        self.text.push_str(metric.name);
        self.text.push_str(suffix);
        let pairs = metric.labels.iter().copied().zip(labels.iter().copied()).chain(bound.map(|bound| ("le", bound)));
        let mut is_first = true;
        for (name, value) in pairs {
            self.text.push(if is_first { '{' } else { ',' });
            is_first = false;
            self.text.push_str(name);
            self.text.push_str("=\"");
            for character in value.chars() {
                match character {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    other => self.text.push(other),
                }
            }
            self.text.push('"');
        }
        if !is_first {
            self.text.push('}');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(name: &'static str, kind: Kind, labels: &'static [&'static str]) -> Metric {
        Metric { name, kind, labels, help: "What \"it\" is.", question: "" }
    }

    fn page(format: Format, write: impl FnOnce(&mut Page)) -> String {
        let mut page = Page::new(format, 0);
        write(&mut page);
        page.finish()
    }

    #[test]
    fn a_counter_is_named_as_each_format_wants_and_its_samples_are_the_same() {
        let counter = metric("x_total", Kind::Counter, &["a"]);
        let write = |page: &mut Page| {
            page.head(&counter);
            page.sample(&counter, &["b\\\"\nc"], 3);
        };

        assert_eq!(
            page(Format::Prometheus, write),
            "# HELP x_total What \"it\" is.\n# TYPE x_total counter\nx_total{a=\"b\\\\\\\"\\nc\"} 3\n"
        );
        assert_eq!(
            page(Format::OpenMetrics, write),
            "# HELP x What \\\"it\\\" is.\n# TYPE x counter\nx_total{a=\"b\\\\\\\"\\nc\"} 3\n# EOF\n"
        );
    }

    #[test]
    fn a_histogram_has_cumulative_buckets_and_a_unit_where_that_is_known() {
        let histogram = metric("x_seconds", Kind::Histogram, &["a"]);
        let write = |page: &mut Page| {
            page.head(&histogram);
            page.histogram(&histogram, &["b"], &[(0.5, 1), (1.0, 2)], 3, 4.25);
        };

        let samples = "x_seconds_bucket{a=\"b\",le=\"0.5\"} 1\nx_seconds_bucket{a=\"b\",le=\"1.0\"} 2\n\
                       x_seconds_bucket{a=\"b\",le=\"+Inf\"} 3\nx_seconds_sum{a=\"b\"} 4.25\nx_seconds_count{a=\"b\"} 3\n";
        assert!(page(Format::Prometheus, write).ends_with(&format!("# TYPE x_seconds histogram\n{samples}")));
        let open = page(Format::OpenMetrics, write);
        assert!(open.ends_with(&format!("# TYPE x_seconds histogram\n# UNIT x_seconds seconds\n{samples}# EOF\n")));
    }

    #[test]
    fn what_only_grows_under_a_name_of_others_has_no_type() {
        let untyped = metric("pilot_xds_pushes", Kind::Untyped, &[]);
        let write = |page: &mut Page| {
            page.head(&untyped);
            page.sample(&untyped, &[], 1);
        };

        assert!(page(Format::Prometheus, write).ends_with("# TYPE pilot_xds_pushes untyped\npilot_xds_pushes 1\n"));
        assert!(
            page(Format::OpenMetrics, write).ends_with("# TYPE pilot_xds_pushes unknown\npilot_xds_pushes 1\n# EOF\n")
        );
    }

    #[test]
    fn pieces_make_up_the_whole_page_until_nobody_reads() {
        let histogram = metric("x_seconds", Kind::Histogram, &["a"]);
        let write = |page: &mut Page| {
            page.head(&histogram);
            for label in 0..1_000 {
                page.histogram(&histogram, &[&label.to_string()], &[(0.5, 1), (1.0, 2)], 3, 4.25);
            }
        };
        let (sent, pieces) = std::sync::mpsc::channel();
        let mut in_pieces = Page::in_pieces(Format::OpenMetrics, move |piece| sent.send(piece).is_ok());
        write(&mut in_pieces);
        assert_eq!(in_pieces.finish(), "");

        let pieces: Vec<String> = pieces.iter().collect();
        assert_eq!(pieces.concat(), page(Format::OpenMetrics, write));
        assert!(pieces.len() > 4, "{}", pieces.len());
        assert!(pieces.iter().all(|piece| piece.len() < PIECE_BYTES + SAMPLE_BYTES_USUALLY));

        let (sent, pieces) = std::sync::mpsc::channel();
        let mut unread = Page::in_pieces(Format::OpenMetrics, move |piece| {
            sent.send(piece.len()).unwrap();
            false
        });
        write(&mut unread);
        drop(unread.finish());
        assert_eq!(pieces.iter().count(), 1);
    }

    #[test]
    fn openmetrics_is_spoken_with_those_who_ask_for_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for header in [prometheus, "application/openmetrics-text", "text/plain, Application/OpenMetrics-Text; q=1"] {
            assert_eq!(Format::accepted(Some(header)), Format::OpenMetrics, "{header}");
        }
        for header in [
            "",
            "*/*",
            "text/plain",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=x",
            "application/openmetrics-text;version=9.0.0",
            "application/openmetrics-text;q=0.2,text/plain;q=0.8",
        ] {
            assert_eq!(Format::accepted(Some(header)), Format::Prometheus, "{header}");
        }
        assert_eq!(Format::accepted(None), Format::Prometheus);
    }
}

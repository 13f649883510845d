//! The forms in which metrics are asked for: OpenMetrics, which is how they are counted, and the older text format, which
//! is what everybody gets who does not ask for OpenMetrics.

use std::fmt::Write;

/// What a scraper asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// The text format of Prometheus, 0.0.4.
    Text,
}

impl Format {
    /// What an `Accept` header prefers: OpenMetrics where it is named, in this version or in none, with a quality that is no
    /// lower than that of plain text.
    pub fn preferred(accept: &str) -> Self {
        let (mut open, mut text) = (0_f32, 0_f32);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut quality, mut version) = (1_f32, None);
            for (key, value) in parts.filter_map(|part| part.split_once('=')) {
                match key.trim().to_ascii_lowercase().as_str() {
                    "q" => quality = value.trim().parse().unwrap_or(0.0),
                    "version" => version = Some(value.trim().trim_matches('"')),
                    _ => {}
                }
            }
            match (media_type.as_str(), version) {
                ("application/openmetrics-text", None | Some("1.0.0")) => open = quality.max(open),
                ("text/plain", None | Some("0.0.4")) | ("text/*" | "*/*", _) => text = quality.max(text),
                _ => {}
            }
        }
        if open > 0.0 && open >= text { Format::OpenMetrics } else { Format::Text }
    }

    /// Its `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Metrics in this format, from OpenMetrics.
    pub fn write(self, open_metrics: String) -> String {
        match self {
            Format::OpenMetrics => open_metrics,
            Format::Text => in_text(&open_metrics),
        }
    }
}

/// The text format names a counter as its one series is named, knows no units, and ends where it ends.
fn in_text(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    // The name of the family whose HELP is held back until its type is known.
    let mut help: Option<(&str, &str)> = None;
    for line in open_metrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(family), words) => help = Some((family, words.unwrap_or_default())),
            (Some("#"), Some("TYPE"), Some(family), Some(type_)) => {
                let (suffix, type_) = match type_ {
                    "counter" => ("_total", "counter"),
                    "unknown" => ("", "untyped"),
                    "info" => ("_info", "gauge"),
                    "stateset" => ("", "gauge"),
                    other => ("", other),
                };
                if let Some((_, help)) = help.take().filter(|(of, _)| *of == family) {
                    let _ = writeln!(text, "# HELP {family}{suffix} {help}");
                }
                let _ = writeln!(text, "# TYPE {family}{suffix} {type_}");
            }
            (Some("#"), Some("UNIT" | "EOF"), _, _) => {}
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_given_to_those_who_ask_for_it() {
        use Format::{OpenMetrics, Text};
        // What Prometheus 3 sends.
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                          application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                          text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, format) in [
            (prometheus, OpenMetrics),
            ("application/openmetrics-text; version=1.0.0; charset=utf-8", OpenMetrics),
            ("Application/OpenMetrics-Text", OpenMetrics),
            ("application/openmetrics-text; version=\"1.0.0\"", OpenMetrics),
            ("", Text),
            ("*/*", Text),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Text),
            ("text/plain;version=0.0.4;q=1,application/openmetrics-text;q=0.1", Text),
            ("application/openmetrics-text;version=0.0.1", Text),
            ("application/openmetrics-text;version=2.0.0", Text),
            ("application/openmetrics-text;q=0", Text),
            ("application/openmetrics-text;q=high", Text),
        ] {
            assert_eq!(Format::preferred(accept), format, "{accept}");
        }
    }

    #[test]
    fn a_counter_is_named_as_its_series() {
        let open = "# HELP writes Requests that change something.\n# TYPE writes counter\nwrites_total{verb=\"create\"} 2\n\
                    # HELP lag_seconds How late.\n# TYPE lag_seconds histogram\n# UNIT lag_seconds seconds\nlag_seconds_sum 0.0\n# EOF\n";
        let text = "# HELP writes_total Requests that change something.\n# TYPE writes_total counter\nwrites_total{verb=\"create\"} 2\n\
                    # HELP lag_seconds How late.\n# TYPE lag_seconds histogram\nlag_seconds_sum 0.0\n";
        assert_eq!(Format::Text.write(open.to_owned()), text);
        assert_eq!(Format::OpenMetrics.write(open.to_owned()), open);
    }
}

//! The `CORS` filter.

use std::sync::Arc;
use std::time::Duration;

use crate::diagnostic::{Code, Report};
use crate::dialect::istio::header_name;
use crate::ir::cors::Cors;
use crate::ir::route::StringMatch;
use crate::schema::{Fields, integer, text, truth, word};
use crate::source::Spanned;
use crate::tree::{Node, shortened};

const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "*"];

/// How long browsers remember a preflight when nothing is written, in seconds.
const MAX_AGE_DEFAULT: i64 = 5;

pub(super) fn read(node: &Node, report: &mut Report) -> Option<Cors> {
    let mut fields = Fields::open(node, "the CORS filter", report)?;
    let origins = fields.list_up_to(64, "allowOrigins", report, text);
    let methods = fields.list_up_to(9, "allowMethods", report, text);
    let allow_headers = fields.list_up_to(64, "allowHeaders", report, word);
    let expose_headers = fields.list_up_to(64, "exposeHeaders", report, word);
    let credentials = fields.read("allowCredentials", report, truth).unwrap_or(false);
    let max_age = fields
        .take("maxAge")
        .map_or(Some(MAX_AGE_DEFAULT), |node| integer(node, 1, i64::from(i32::MAX), report).map(|age| age.value));
    fields.finish(report);
    star_alone(&origins, "AllowOrigins cannot contain '*' alongside other origins", report);
    star_alone(&methods, "AllowMethods cannot contain '*' alongside other methods", report);
    star_alone(&allow_headers, "AllowHeaders cannot contain '*' alongside other methods", report);
    let allow_origins = origins.iter().filter_map(|origin| self::origin(origin, report)).collect();
    let mut allow_methods = Vec::new();
    for method in methods {
        if METHODS.contains(&&*method.value) {
            allow_methods.push(method.value);
        } else {
            report
                .add(Code::BadValue, method.span, format!("\"{}\" is not a method", shortened(&method.value)))
                .help("methods are written in capitals");
        }
    }
    Some(Cors {
        allow_origins,
        allow_methods,
        allow_headers: headers(allow_headers, report),
        expose_headers: headers(expose_headers, report),
        max_age: u64::try_from(max_age?).ok().map(Duration::from_secs),
        allow_credentials: credentials,
        forward_unmatched_preflights: false,
    })
}

fn star_alone(written: &[Spanned<Arc<str>>], message: &str, report: &mut Report) {
    if let (Some(star), 2..) = (written.iter().find(|word| &*word.value == "*"), written.len()) {
        report.add(Code::InvalidRule, star.span, message).help("keep `*` alone, or the others without it");
    }
}

fn headers(names: Vec<Spanned<Arc<str>>>, report: &mut Report) -> Vec<Arc<str>> {
    let checked = |name: Spanned<Arc<str>>| {
        if &*name.value == "*" { Some(name.value) } else { header_name(name.span, &name.value, report) }
    };
    names.into_iter().filter_map(checked).collect()
}

/// Longest origin, as the API server has it.
const ORIGIN_BYTES_MAX: usize = 253;

/// `scheme://host[:port]`, where the host may begin with `*`, which stands for any labels; or `*` alone.
fn origin(origin: &Spanned<Arc<str>>, report: &mut Report) -> Option<StringMatch> {
    let text = &*origin.value;
    if text == "*" {
        return Some(Cors::any_origin());
    }
    let parts = text.split_once("://").filter(|(scheme, rest)| {
        let letters = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        let stars = rest.matches('*').count();
        let placed = stars == 0 || (stars == 1 && (*rest == "*" || rest.starts_with("*.") || rest.starts_with("*:")));
        let host = !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic() && !b"/?#@\\".contains(&b));
        text.len() <= ORIGIN_BYTES_MAX
            && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && letters
            && placed
            && host
    });
    let Some((scheme, rest)) = parts else {
        report
            .add(Code::BadValue, origin.span, format!("\"{}\" is not an origin", shortened(text)))
            .help("write scheme and host, e.g. https://www.example.com or https://*.example.com, without path");
        return None;
    };
    Some(match rest.strip_prefix('*') {
        None => StringMatch::Exact(Arc::clone(&origin.value)),
        Some(rest) => {
            let (scheme, rest) = (regex_syntax::escape(scheme), regex_syntax::escape(rest));
            StringMatch::Regex(Arc::from(format!("{scheme}://[0-9A-Za-z.-]+{rest}")))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Span;

    fn read_origin(text: &str) -> Option<StringMatch> {
        let span = Span { file: 0, start: 0, end: 0 };
        origin(&Spanned { value: Arc::from(text), span }, &mut Report::default())
    }

    #[test]
    fn a_star_in_an_origin_stands_for_labels_and_its_dots_are_dots() {
        let expected = StringMatch::Regex(Arc::from(r"https://[0-9A-Za-z.-]+\.bar\.com"));
        assert_eq!(read_origin("https://*.bar.com"), Some(expected));
    }

    #[test]
    fn origins_with_a_path_or_a_star_in_the_middle_are_refused() {
        for text in ["https://a.com/", "https://a.*.com", "a.com", "://a.com", "https://", "https://a@b"] {
            assert_eq!(read_origin(text), None, "{text}");
        }
    }
}

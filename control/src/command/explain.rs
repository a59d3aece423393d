//! `tidegate explain P0107`: the page of a diagnostic's code. `tidegate explain --from … --url …`: what would happen to a
//! request, and why.
//!
//! Exit codes of the latter: 0 it is served, 1 it is refused or finds no route, 2 that cannot be said.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tidegate_traffic::explain::{Explanation, Question};

use super::ask::{self, AskError};
use super::progress::Reader;
use super::{FINDINGS, FINE, Output, USAGE, exit, show};
use crate::api::explain::encode;
use crate::finding;

/// A first question about a proxy that is not connected has its configuration translated.
const PATIENCE: Duration = Duration::from_secs(30);

/// Flags of `tidegate explain`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  \
    tidegate explain P0107\n  \
    tidegate explain --from shop/web --url http://reviews:9080/x?q=1 -H end-user:jason\n  \
    tidegate explain --from gateway shop/front --method POST --url http://shop.example:8080/cart\n\n\
    Exit codes of a request: 0 it is served, 1 it is refused or finds no route, 2 that cannot be said")]
pub struct Options {
    /// A code as findings show it, e.g. P0107 or C0001
    #[arg(value_name = "CODE", required_unless_present = "from", conflicts_with_all = ["from", "url"])]
    pub code: Option<String>,
    /// Who asks: [NAMESPACE/]NAME of a workload or service (of whose workloads the first), or `gateway NAMESPACE/NAME`
    #[arg(long, value_name = "NAME", num_args = 1..=2, requires = "url")]
    pub from: Vec<String>,
    /// The request's method
    #[arg(long, value_name = "METHOD", default_value = "GET")]
    pub method: String,
    /// The request's URL, its host as callers write it
    #[arg(long, value_name = "URL", requires = "from")]
    pub url: Option<String>,
    /// A header of the request; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME:VALUE")]
    pub headers: Vec<String>,
    /// The listener it arrives at, where it does not find that by itself
    #[arg(long, value_name = "LISTENER")]
    pub listener: Option<String>,
    /// The control plane's API
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:15014")]
    pub api: String,
    /// How a request's explanation is printed
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Output,
}

/// Prints a page, or asks and prints.
pub async fn run(options: &Options) -> ExitCode {
    match (&options.code, &options.url) {
        (Some(code), _) => explain_code(code),
        (None, Some(url)) => explain_request(options, url).await,
        (None, None) => exit(USAGE),
    }
}

fn explain_code(code: &str) -> ExitCode {
    let code = code.to_ascii_uppercase();
    match page(&code) {
        Some(page) => {
            show(&format!("{page}\n"));
            exit(FINE)
        }
        None => {
            eprintln!("tidegate explain: there is no diagnostic {code}; a request is explained with --from and --url");
            exit(FINDINGS)
        }
    }
}

async fn explain_request(options: &Options, url: &str) -> ExitCode {
    // What is typed wrongly is said here, whether or not a control plane runs.
    if let Err(error) = Question::parse(&options.method, url, options.headers.iter().map(String::as_str)) {
        eprintln!("tidegate explain: {error}");
        return exit(USAGE);
    }
    let reader = Reader::of(options.output == Output::Json);
    let asked = ask::get_shown(&options.api, &target(options, url), PATIENCE, reader).await;
    match asked.and_then(|bytes| Ok((serde_json::from_slice::<Explanation>(&bytes)?, bytes))) {
        Ok((explanation, bytes)) => {
            match options.output {
                Output::Text => show(&explanation.to_string()),
                Output::Json => show(&format!("{}\n", String::from_utf8_lossy(&bytes))),
            }
            exit(if explanation.refused.is_none() { FINE } else { FINDINGS })
        }
        Err(AskError::Refused(_, why)) => {
            eprintln!("tidegate explain: {why}");
            exit(USAGE)
        }
        Err(error) => {
            let api = &options.api;
            eprintln!("tidegate explain: no control plane at {api}: {error}; `--api` says where it is");
            exit(USAGE)
        }
    }
}

/// Where the API is asked.
fn target(options: &Options, url: &str) -> String {
    let from = encode(&options.from.join(" "));
    let mut target = format!("/api/v1/explain?from={from}&method={}&url={}", encode(&options.method), encode(url));
    // Writing to a string cannot fail.
    let headers = options.headers.iter().map(|header| ("header", header));
    for (key, value) in headers.chain(options.listener.iter().map(|listener| ("listener", listener))) {
        write!(target, "&{key}={}", encode(value)).unwrap_or_default();
    }
    target
}

/// The page of a code, of the compiler or of the control plane.
fn page(code: &str) -> Option<&'static str> {
    tidegate_policies::explain(code).or_else(|| finding::explain(code))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn parse(line: &str) -> Result<Options, clap::Error> {
        let words = std::iter::once("explain").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.options)
    }

    #[test]
    fn codes_of_the_compiler_and_of_the_control_plane_have_pages() {
        assert!(page("P0001").is_some_and(|page| page.contains("4 MiB")));
        assert!(page("C0001").is_some_and(|page| page.contains("directory cannot be read")));
        assert_eq!(page("X0001"), None);
    }

    #[test]
    fn an_argument_is_a_code_and_options_are_a_request() {
        assert_eq!(parse("P0107").unwrap().code.as_deref(), Some("P0107"));
        let request = parse("--from gateway shop/front --url http://a/?q=1 -H b:c -H d:e").unwrap();
        assert_eq!(
            target(&request, request.url.as_deref().unwrap()),
            "/api/v1/explain?from=gateway%20shop/front&method=GET&url=http://a/%3Fq%3D1&header=b:c&header=d:e"
        );

        for wrong in ["", "--from web", "--url http://a/", "P0107 --from web --url http://a/"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}

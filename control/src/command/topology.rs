//! `tidegate topology`: who calls whom, as a table, as JSON, or for Graphviz and Mermaid to draw.
//!
//! Exit codes: 0 it is shown, 2 the control plane does not answer.

mod draw;

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::graph::Asked;
use super::progress::Reader;
use super::{FINE, exit, show, watch};
use crate::topology::model::View;

/// Flags of `tidegate topology`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    pub asked: Asked,
    /// How it is printed
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Form,
    /// Show it anew every two seconds, until Ctrl-C
    #[arg(short, long)]
    pub watch: bool,
}

/// How the topology is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// For Graphviz: `tidegate topology -o dot | dot -Tsvg`.
    Dot,
    /// For Markdown.
    Mermaid,
}

/// Asks and prints.
pub async fn run(options: &Options) -> ExitCode {
    let reader = Reader::of(options.output == Form::Json);
    let picture = async |reader| {
        let (view, json) = options.asked.ask_shown(reader).await?;
        Ok(print(&view, &json, options.output))
    };
    let shown =
        if options.watch { watch::watch(reader, picture).await } else { picture(reader).await.map(|text| show(&text)) };
    match shown {
        Ok(()) => exit(FINE),
        Err(error) => options.asked.complain("topology", &error),
    }
}

fn print(view: &View, json: &str, form: Form) -> String {
    match form {
        Form::Table => draw::table(view),
        Form::Json => format!("{json}\n"),
        Form::Dot => draw::dot(view),
        Form::Mermaid => draw::mermaid(view),
    }
}

#[cfg(test)]
mod tests;

//! `tidegate compile`: prints the resources that a node would be given.

use std::io::{IsTerminal as _, stderr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::check::compile_shown;
use super::progress::{Progress, Reader};
use super::{FINDINGS, FINE, Output, USAGE, exit, show};
use crate::ads::Client;
use crate::snapshot::Compiler;
use crate::source::read::read;
use crate::world::World;

/// Flags of `tidegate compile`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Directory with policy files
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// The node's id: WORKLOAD.NAMESPACE, GATEWAY.NAMESPACE, or anything else for a proxyless client
    #[arg(long, value_name = "ID")]
    pub node: String,
    /// Names and versions, or the resources themselves
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Output,
}

/// Compiles and prints.
pub fn run(options: &Options) -> ExitCode {
    let files = match read(&options.directory) {
        Ok(files) => files,
        Err(error) => {
            eprintln!("tidegate compile: {error}");
            return exit(USAGE);
        }
    };
    let reader = Reader::of(options.output == Output::Json);
    let compiled = compile_shown(&files.files, stderr().is_terminal(), None, reader);
    eprint!("{}", compiled.rendered);
    if compiled.errors > 0 {
        return exit(FINDINGS);
    }
    let translating = Progress::begin("translating", None, reader);
    let world = Arc::new(World::new(compiled.policies));
    let view = Client::parse(&options.node).view(&world);
    let mut compiler = Compiler::default();
    compiler.advance(world);
    let resources = compiler.resources(&view);
    drop(translating);
    match options.output {
        Output::Text => {
            for (resource, encoded) in &resources {
                show(&format!("{}  {}  {}\n", resource.resource_type().short(), encoded.version, resource.name()));
            }
        }
        Output::Json => {
            let items: Vec<String> = resources.iter().map(|(resource, _)| resource.to_json()).collect();
            show(&format!("[{}]\n", items.join(",\n")));
        }
    }
    exit(FINE)
}

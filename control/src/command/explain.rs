//! `tidegate explain P0107`: the page of a diagnostic's code.

use std::process::ExitCode;

use clap::Args;

use super::{FINDINGS, FINE, exit, show};
use crate::finding;

/// Flags of `tidegate explain`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// A code as findings show it, e.g. P0107 or C0001
    #[arg(value_name = "CODE")]
    pub code: String,
}

/// Prints the page.
pub fn run(options: &Options) -> ExitCode {
    let code = options.code.to_ascii_uppercase();
    match page(&code) {
        Some(page) => {
            show(&format!("{page}\n"));
            exit(FINE)
        }
        None => {
            eprintln!("tidegate explain: there is no diagnostic {code}");
            exit(FINDINGS)
        }
    }
}

/// The page of a code, of the compiler or of the control plane.
fn page(code: &str) -> Option<&'static str> {
    tidegate_policies::explain(code).or_else(|| finding::explain(code))
}

#[cfg(test)]
mod tests {
    use super::page;

    #[test]
    fn codes_of_the_compiler_and_of_the_control_plane_have_pages() {
        assert!(page("P0001").is_some_and(|page| page.contains("4 MiB")));
        assert!(page("C0001").is_some_and(|page| page.contains("directory cannot be read")));
        assert_eq!(page("X0001"), None);
    }
}

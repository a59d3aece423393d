//! Findings of the control plane itself: what no line of a policy file is to blame for.
//!
//! They carry codes like those of the compiler, so that whoever reads a status has one way to ask what to do. `C00..` is
//! about the directory, `C01..` about a change from one configuration to the next.

use crate::api::model::Finding;
use crate::source::read::{FILES_MAX, ReadError, TOTAL_BYTES_MAX};

/// What the control plane finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The directory cannot be listed.
    DirectoryUnreadable,
    /// The directory holds no policy files.
    DirectoryEmpty,
    /// A file cannot be opened or read.
    FileUnreadable,
    /// The files are too large together.
    TotalTooLarge,
    /// There are too many files.
    TooManyFiles,
    /// A change of routes leads requests to nobody.
    RouteStranded,
    /// A change takes a certificate away that is in use.
    CertificateSpoilt,
}

impl Code {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::DirectoryUnreadable,
        Self::DirectoryEmpty,
        Self::FileUnreadable,
        Self::TotalTooLarge,
        Self::TooManyFiles,
        Self::RouteStranded,
        Self::CertificateSpoilt,
    ];

    /// As findings show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DirectoryUnreadable => "C0001",
            Self::DirectoryEmpty => "C0002",
            Self::FileUnreadable => "C0003",
            Self::TotalTooLarge => "C0004",
            Self::TooManyFiles => "C0005",
            Self::RouteStranded => "C0101",
            Self::CertificateSpoilt => "C0102",
        }
    }

    fn page(self) -> &'static str {
        match self {
            Self::DirectoryUnreadable => {
                "The configuration directory cannot be read.\n\nIt is gone, it is not a directory, or the control plane \
                 may not list it. Proxies keep the last good configuration. Create it or move it back, mount it, or \
                 give the user that runs `tidegate serve` the right to read it; it is looked for every few seconds, so \
                 nothing needs a restart."
            }
            Self::DirectoryEmpty => {
                "The configuration directory holds no policy files.\n\nAn empty directory is a mount that is not there \
                 yet, or a mistake; it is never taken for \"remove everything\", and proxies keep the last good \
                 configuration. Policy files are *.yaml and *.yml in the directory itself or one level below it; names \
                 that begin with a dot are passed over. To remove a policy, remove it from its file."
            }
            Self::FileUnreadable => {
                "A policy file is there and cannot be read.\n\nThe files count only together, so nothing of the \
                 directory is applied without it, and proxies keep the last good configuration. Give the user that \
                 runs `tidegate serve` the right to read it, mend the link if it is one, or move the file away."
            }
            Self::TotalTooLarge => {
                "The policy files are larger than 64 MiB together.\n\nThat is far above the policies of a very large \
                 mesh; a log, a dump or a program that writes without end is the usual cause. Move what is not policy \
                 out of the directory."
            }
            Self::TooManyFiles => {
                "There are more than 10,000 policy files.\n\n`--config` probably names the wrong directory, or a \
                 program writes a new file each time. Name the right one, or put several objects into one file."
            }
            Self::RouteStranded => {
                "A change would send requests that are answered today to a destination without endpoints.\n\nEvery \
                 such request would fail, so the change is refused as a whole and the last good configuration stays. \
                 Start a workload of the destination first (or correct its labels, ports or subset), or give it weight \
                 0 until there is one; the same files are accepted as soon as an edit brings the endpoints. A first \
                 configuration is not held to this, a rule that is unchanged is not, and neither is a destination that \
                 loses its endpoints later: only the change of a route that works."
            }
            Self::CertificateSpoilt => {
                "A change would take away a certificate, or roots, with which a gateway's listener is served.\n\nThe \
                 listener would close, so the change is refused as a whole, and the last good certificate is shown on. \
                 Put a certificate and the key that was made with it into the Secret (roots into `ca.crt`), in one \
                 write of the file. To do without it, remove the reference from the listener first. A listener that \
                 is new is not held to this: it waits for its certificate (P0216)."
            }
        }
    }
}

/// The page of a code such as `C0001` (upper or lower case).
pub fn explain(code: &str) -> Option<&'static str> {
    let code = code.trim();
    Code::ALL.iter().find(|known| known.as_str().eq_ignore_ascii_case(code)).map(|known| known.page())
}

/// A directory or file that cannot be read, as a finding on it.
pub fn unreadable(problem: &ReadError) -> Finding {
    let (code, path, help) = match problem {
        ReadError::Directory { path, .. } => (
            Code::DirectoryUnreadable,
            path,
            "create the directory or move it back, and let the control plane read it".to_owned(),
        ),
        ReadError::Empty { path } => (
            Code::DirectoryEmpty,
            path,
            "put the policy files back, or mount the directory; to remove a policy, remove it from its file".to_owned(),
        ),
        ReadError::File { path, .. } => {
            (Code::FileUnreadable, path, "let the control plane read the file, or move it away".to_owned())
        }
        ReadError::TotalTooLarge { path } => (
            Code::TotalTooLarge,
            path,
            format!("move what is not policy out of the directory; {} MiB are read", TOTAL_BYTES_MAX >> 20),
        ),
        ReadError::TooManyFiles { path } => (
            Code::TooManyFiles,
            path,
            format!("name the right directory, or put several objects into one file; {FILES_MAX} files are read"),
        ),
    };
    Finding {
        code: code.as_str().to_owned(),
        severity: "error".to_owned(),
        message: problem.to_string(),
        file: path.clone(),
        line: 0,
        column: 0,
        help: Some(help),
        places: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_own_page_and_no_code_of_the_compiler() {
        let pages: Vec<&str> = Code::ALL.iter().filter_map(|code| explain(&code.as_str().to_lowercase())).collect();

        assert_eq!(pages.len(), Code::ALL.len());
        for (position, code) in Code::ALL.iter().enumerate() {
            assert!(!pages[..position].contains(&pages[position]), "{code:?} shares a page");
            assert_eq!(tidegate_policies::explain(code.as_str()), None);
        }
        assert_eq!(explain("C9999"), None);
    }

    #[test]
    fn what_cannot_be_read_is_named_with_a_code_and_a_cure() {
        let path = || "/etc/mesh".to_owned();
        let reason = || "denied".to_owned();
        let cases = [
            (ReadError::Directory { path: path(), reason: reason() }, "C0001"),
            (ReadError::Empty { path: path() }, "C0002"),
            (ReadError::File { path: path(), reason: reason() }, "C0003"),
            (ReadError::TotalTooLarge { path: path() }, "C0004"),
            (ReadError::TooManyFiles { path: path() }, "C0005"),
        ];
        for (problem, code) in cases {
            let finding = unreadable(&problem);

            assert_eq!((&*finding.code, &*finding.file), (code, "/etc/mesh"));
            assert!(finding.message.contains("/etc/mesh") && finding.help.is_some_and(|help| !help.is_empty()));
        }
    }
}

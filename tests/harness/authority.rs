//! An authority that is `openssl`, as a user's may be, and its certificates as users write them down.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::process::Process;
use super::wait;

/// A server that is not there by then never will be.
const READY_LIMIT: Duration = Duration::from_secs(20);

/// An authority of its own, and what it has signed.
pub(crate) struct Authority {
    folder: TempDir,
}

impl Authority {
    /// With a root of its own.
    pub(crate) fn new() -> Self {
        let authority = Self { folder: TempDir::new().expect("a temporary folder can be made") };
        let subject = ["-subj", "/CN=an authority for tests", "-addext", "keyUsage=critical,keyCertSign"];
        authority.request("ca", &[&["-x509", "-days", "2"][..], &subject].concat());
        authority
    }

    /// A certificate with the common name `file`, for these names, and its key.
    pub(crate) fn sign(&self, file: &str, names: &str) {
        let subject = ["-subj", &format!("/CN={file}"), "-addext", &format!("subjectAltName={names}")];
        let signed = ["-x509", "-CA", &self.path("ca.crt"), "-CAkey", &self.path("ca.key"), "-days", "1"];
        let leaf = ["-addext", "basicConstraints=critical,CA:FALSE"];
        self.request(file, &[&signed[..], &subject, &leaf].concat());
    }

    fn request(&self, file: &str, arguments: &[&str]) {
        let mut command = Command::new("openssl");
        command.args(["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]).args(arguments);
        command.args(["-out", &self.path(&format!("{file}.crt")), "-keyout", &self.path(&format!("{file}.key"))]);
        let output = command.output().expect("openssl is there");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Of a file that it has made.
    pub(crate) fn path(&self, file: &str) -> String {
        self.folder.path().join(file).to_str().expect("a temporary folder has a plain name").to_owned()
    }

    /// A file as the value of a field in a block.
    pub(crate) fn block(&self, file: &str) -> String {
        let text = std::fs::read_to_string(self.path(file)).expect("it was made before");
        text.lines().map(|line| format!("    {line}\n")).collect()
    }

    /// A Secret with the certificate `file`.
    pub(crate) fn secret(&self, name: &str, file: &str) -> String {
        let (chain, key) = (self.block(&format!("{file}.crt")), self.block(&format!("{file}.key")));
        format!(
            "apiVersion: v1
kind: Secret
metadata: {{name: {name}, namespace: shop}}
type: kubernetes.io/tls
stringData:
  tls.crt: |
{chain}  tls.key: |
{key}"
        )
    }

    /// A ConfigMap and a Secret with its roots.
    pub(crate) fn roots(&self) -> String {
        let roots = self.block("ca.crt");
        format!(
            "apiVersion: v1
kind: ConfigMap
metadata: {{name: roots, namespace: shop}}
data:
  ca.crt: |
{roots}---
apiVersion: v1
kind: Secret
metadata: {{name: roots, namespace: shop}}
stringData:
  cacert: |
{roots}"
        )
    }

    /// A server of `openssl` that answers every request with a page, with the certificate `file`.
    pub(crate) async fn server(&self, address: SocketAddr, file: &str, folder: &Path) -> Process {
        let mut command = Command::new("openssl");
        command.args(["s_server", "-www", "-quiet", "-accept", &address.to_string()]);
        command.args(["-cert", &self.path(&format!("{file}.crt")), "-key", &self.path(&format!("{file}.key"))]);
        let server = Process::start("openssl", folder, &mut command);
        wait::until("openssl listens", READY_LIMIT, || async { tokio::net::TcpStream::connect(address).await.is_ok() })
            .await;
        server
    }
}

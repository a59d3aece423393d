//! What the control plane says of each change: read from its API, as any other tool would.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use super::say;
use crate::command::ask;
use crate::command::progress::{Progress, Reader};

/// Between two looks while the mesh starts.
const LOOK: Duration = Duration::from_millis(50);
/// Between two looks at a change that is under way.
const FOLLOW: Duration = Duration::from_millis(20);
/// A change that has not reached every proxy by then is shown as it stands.
const FOLLOW_LIMIT: Duration = Duration::from_secs(5);
/// The control plane answers within its own long poll.
const ANSWER_LIMIT: Duration = Duration::from_secs(40);

/// Waits until `proxies` proxies hold the newest configuration.
pub(super) async fn all_settled(api: SocketAddr, proxies: usize, limit: Duration) -> anyhow::Result<()> {
    let progress =
        Progress::begin("starting the mesh: proxies with their configuration", Some(proxies), Reader::Person);
    let settled = async {
        loop {
            if let Ok(status) = get(api, "/api/v1/status").await {
                let newest = status["generation"].as_u64();
                let known = status["proxies"].as_array().map_or(0, |all| {
                    all.iter().filter(|p| newest.is_some() && p["settled_generation"].as_u64() == newest).count()
                });
                progress.reach(known);
                if known >= proxies {
                    return;
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(limit, settled)
        .await
        .with_context(|| format!("the {proxies} proxies did not get their configuration within {} s", limit.as_secs()))
}

/// Follows the changes of a running control plane.
pub(super) struct Watch {
    api: SocketAddr,
    since: u64,
    seen: Vec<Value>,
}

impl Watch {
    /// Follows what happens from now on.
    pub(super) async fn start(api: SocketAddr) -> anyhow::Result<Self> {
        let status = get(api, "/api/v1/status").await?;
        let since = status["generation"].as_u64().context("the control plane's status has no generation")?;
        Ok(Self { api, since, seen: Vec::new() })
    }

    /// The changes so far, for the report.
    pub(super) fn seen(&self) -> &[Value] {
        &self.seen
    }

    /// Prints each change when every proxy has it. Ends only with an error.
    pub(super) async fn print_each(&mut self) -> anyhow::Error {
        loop {
            let path = format!("/api/v1/changes?since={}&wait=30s", self.since);
            let changes = match get(self.api, &path).await {
                Ok(changes) => changes,
                Err(error) => return error.context("the control plane's API does not answer"),
            };
            for change in changes["changes"].as_array().into_iter().flatten() {
                if let Err(error) = self.print(change).await {
                    return error;
                }
            }
        }
    }

    async fn print(&mut self, change: &Value) -> anyhow::Result<()> {
        let generation = change["generation"].as_u64().context("a change has no generation")?;
        self.since = self.since.max(generation);
        let what = words(change);
        if change["result"] != "applied" {
            say(&format!("refused, the last good configuration stays: {what}\n  tidegate status says why"));
            return Ok(());
        }
        let done = self.follow(generation).await?;
        let count = |key: &str| done[key].as_u64().unwrap_or(0);
        let (proxies, acked, left) = (count("proxies"), count("acked"), count("left"));
        let last_ack_ms = done["last_ack_ms"].as_f64().unwrap_or(0.0);
        let gone = if left > 0 { format!(", {left} went away") } else { String::new() };
        say(&format!("{what}: applied by {acked}/{proxies} proxies in {last_ack_ms:.0} ms{gone}"));
        self.seen.push(json!({
            "what": what, "proxies": proxies, "acked": acked, "left": left, "last_ack_ms": last_ack_ms
        }));
        Ok(())
    }

    /// The change once no proxy is left to answer it, or as it stands after a while.
    async fn follow(&self, generation: u64) -> anyhow::Result<Value> {
        let path = format!("/api/v1/changes?since={}", generation.saturating_sub(1));
        let mut looks = FOLLOW_LIMIT.as_millis() / FOLLOW.as_millis();
        loop {
            let changes = get(self.api, &path).await?;
            let change = changes["changes"].as_array().into_iter().flatten().find(|c| c["generation"] == generation);
            let change = change.context("a change has vanished from the control plane's list")?;
            if is_complete(change) || looks == 0 {
                return Ok(change.clone());
            }
            looks -= 1;
            tokio::time::sleep(FOLLOW).await;
        }
    }
}

/// Whether every proxy that was to apply the change has accepted it, refused it or gone away.
fn is_complete(change: &Value) -> bool {
    let count = |key: &str| change[key].as_u64().unwrap_or(0);
    count("acked") + count("nacked") + count("left") >= count("proxies")
}

fn words(change: &Value) -> String {
    let parts: Vec<&str> = change["what"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if parts.is_empty() { "a change".to_owned() } else { parts.join("; ") }
}

async fn get(api: SocketAddr, path: &str) -> anyhow::Result<Value> {
    let answer = ask::get(&api.to_string(), path, ANSWER_LIMIT).await?;
    Ok(serde_json::from_slice(&answer)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::is_complete;

    #[test]
    fn a_change_is_followed_until_each_proxy_has_accepted_or_refused_it_or_gone_away() {
        let change =
            |acked: u64, nacked: u64, left: u64| json!({"proxies": 3, "acked": acked, "nacked": nacked, "left": left});

        assert!(is_complete(&change(3, 0, 0)));
        assert!(is_complete(&change(1, 1, 1)));
        assert!(!is_complete(&change(1, 1, 0)));
        assert!(!is_complete(&change(0, 0, 0)));
    }
}

//! `/explain`: what this proxy would do with a request, from the snapshot that requests see, with what has been learned
//! about clusters and endpoints meanwhile.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidegate_http1::{EscapedSlashes, canonical_path, without_parameters};
use tidegate_traffic::RouteTable;
use tidegate_traffic::explain::{Fact, Learned, Mesh, Question, explain};
use tidegate_xds::resource::RouteConfiguration;
use tidegate_xds::resource::cluster::Cluster;
use tidegate_xds::resource::endpoint::{Endpoint, LocalityEndpoints};
use tidegate_xds::resource::listener::{Listener, RouteSource};

use crate::balance::circuit_breaker::LIMITS;
use crate::balance::outlier::moment;
use crate::config::snapshot::{ActiveCluster, ActiveListener, ChainKind, Snapshot, localities};
use crate::worker::Shared;

/// Content type and text, or what is wrong with the question.
pub(super) fn answer(shared: &Shared, node: &str, query: &str) -> Result<(&'static str, String), String> {
    let asked = Asked::parse(query)?;
    let snapshot = shared.snapshot.load_full();
    let explanation =
        explain(&format!("proxy {node}, now"), &Live(snapshot), &asked.question, asked.listener.as_deref());
    if asked.json {
        let body = serde_json::to_string(&explanation).map_err(|error| error.to_string())?;
        return Ok(("application/json", body));
    }
    Ok(("text/plain; charset=utf-8", explanation.to_string()))
}

struct Asked {
    question: Question,
    listener: Option<String>,
    json: bool,
}

impl Asked {
    /// `method=&host=&path=&header=name:value&listener=&scheme=&format=`, percent-encoded.
    fn parse(query: &str) -> Result<Self, String> {
        let (mut method, mut scheme, mut host, mut target) = ("GET".to_owned(), "http".to_owned(), None, None);
        let (mut headers, mut listener, mut json) = (Vec::new(), None, false);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decode(value).ok_or_else(|| format!("{key} is not percent-encoded UTF-8"))?;
            match key {
                "method" => method = value,
                "scheme" => scheme = value,
                "host" => host = Some(value),
                "path" => target = Some(value),
                "header" => headers.push(value),
                "listener" => listener = Some(value),
                "format" => json = value == "json",
                _ => {
                    return Err(format!(
                        "{key} is not one of method, scheme, host, path, header, listener, format; \
                         try /explain?host=reviews:9080&path=/x"
                    ));
                }
            }
        }
        let host = host.ok_or("host is needed: /explain?host=reviews:9080&path=/x")?;
        let target = target.unwrap_or_else(|| "/".to_owned());
        let (path, query) = target.split_once('?').map_or((target.as_str(), None), |(path, query)| (path, Some(query)));
        // In the form that requests are brought to before anything looks at them.
        let canonical = canonical_path(path, EscapedSlashes::Refuse).map_err(|refusal| refusal.reason.to_owned())?;
        let path = without_parameters(&canonical);
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        let url = format!("{scheme}://{host}{path}{query}");
        let question = Question::parse(&method, &url, headers.iter().map(String::as_str));
        Ok(Self { question: question.map_err(|error| error.to_string())?, listener, json })
    }
}

/// Percent-encoding of a query; a plus sign is a space.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                rest = after;
                u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
            }
            plain => plain,
        });
    }
    String::from_utf8(bytes).ok()
}

/// The configuration in use.
struct Live(Arc<Snapshot>);

impl Live {
    fn listener(&self, name: &str) -> Option<&ActiveListener> {
        self.0.listeners.values().find(|active| *active.config.name == *name).map(|active| &**active)
    }

    fn active(&self, name: &str) -> Option<&ActiveCluster> {
        self.0.cluster(name).map(|cluster| &**cluster)
    }
}

impl Mesh for Live {
    fn listeners(&self) -> Vec<&Listener> {
        let mut listeners: Vec<&Listener> = self.0.listeners.values().map(|active| &*active.config).collect();
        listeners.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        listeners
    }

    fn routes(&self, listener: &Listener, _: &RouteSource) -> Option<(&RouteConfiguration, &RouteTable)> {
        let active = self.listener(&listener.name)?;
        active.chains.iter().chain(&active.default_chain).find_map(|chain| match &chain.kind {
            ChainKind::Http(http) => Some((&*http.routes.config, &http.routes.table)),
            ChainKind::Tcp(_) => None,
        })
    }

    fn cluster(&self, name: &str) -> Option<&Cluster> {
        self.active(name).map(|active| &*active.config)
    }

    fn localities<'m>(&'m self, cluster: &'m Cluster) -> &'m [LocalityEndpoints] {
        self.active(&cluster.name).map_or(&[], |active| {
            let of_name = active.assignment.as_ref().map_or(&[][..], |assignment| &assignment.localities);
            let said = localities(&active.config, active.assignment.as_ref());
            // Addresses that a name resolved to are an assignment too.
            if said.is_empty() { of_name } else { said }
        })
    }

    fn learned(&self, cluster: &str) -> Vec<Fact> {
        let Some(active) = self.active(cluster) else { return Vec::new() };
        let breaker = &active.state.breaker;
        let mut text = format!(
            "now: connections {}, pending {}, requests {}, retries {}",
            breaker.connections(),
            breaker.pending(),
            breaker.requests(),
            breaker.retries()
        );
        for limit in LIMITS {
            let trips = breaker.trips(limit);
            if trips > 0 {
                text.push_str(&format!(", {} refused {trips} times", limit.as_str()));
            }
        }
        vec![Fact::new("circuit_breaker", text, &active.config.policies)]
    }

    fn learned_of_endpoint(&self, cluster: &str, endpoint: &Endpoint) -> Option<Learned> {
        let active = self.active(cluster)?;
        let index = active.endpoints.endpoints().iter().position(|known| known.address == endpoint.address)?;
        let state = active.states.get(index)?;
        let live = active.live.load();
        let mut text = format!("{} in flight", state.in_flight.load(Ordering::Relaxed));
        if !active.config.health_checks.is_empty() {
            text.push_str(&format!(", check {:?}", state.learned.checked()));
        }
        if active.outlier.is_some()
            && let Some(ejection) = state.learned.outlier.ejection()
        {
            let left = ejection.lasts.saturating_sub(moment(active).saturating_sub(ejection.since));
            text.push_str(&format!(", ejected ({}) for {:.1} s more", ejection.reason.as_str(), left.as_secs_f64()));
        }
        if live.is_in_panic(index) {
            text.push_str(", in panic");
        }
        Some(Learned { usable: live.is_usable(index), text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_brought_to_the_form_that_requests_have() {
        let asked = Asked::parse("host=reviews:9080&path=/a/../b//c;v=1%3Fq=1&header=x:1&format=json").unwrap();

        assert_eq!(asked.question.to_string(), "GET http://reviews:9080/b/c?q=1 -H x:1");
        assert!(asked.json);
    }

    #[test]
    fn a_wrong_question_is_answered_with_what_to_write() {
        for wrong in ["", "path=/", "host=a&colour=red", "host=a&path=x", "host=a&path=/%252f", "host=a&header=b"] {
            assert!(Asked::parse(wrong).is_err(), "{wrong}");
        }
    }
}

//! Runs the cases of HTTP/1.1 clients in front of an HTTP/1.1 backend.

use std::net::SocketAddr;

use tidegate_proxy::Proxy;
use tidegate_xds::resource::cluster::UpstreamProtocol;
use tidegate_xds::resource::route::RouteAction;

use crate::backend::Recording;
use crate::case::{Case, SEEN, Verdict};
use crate::client::{Client, answer_in};
use crate::readings::agree;
use crate::resources::{
    cluster, forward, http_listener, inline, of_cluster, of_listener, options, route, routes, start_with,
};
use crate::{PATIENCE, Tally};

/// A proxy with one worker, so that what one case leaves behind on a connection is what the next one finds.
pub(crate) async fn in_front_of(protocol: UpstreamProtocol, backend: SocketAddr) -> (Proxy, SocketAddr) {
    let to_backend = |prefix| route(prefix, RouteAction::Forward(Box::new(forward("backend"))));
    // The asterisk of OPTIONS is no path, so that a prefix of `/` does not cover it.
    let all = routes("routes", vec![to_backend("/"), to_backend("*")]);
    let mut options = options();
    options.workers = std::num::NonZeroUsize::new(1);
    let resources =
        vec![of_cluster(cluster("backend", protocol, &[backend])), of_listener(http_listener("in", inline(all)))];
    start_with(options, resources).await
}

pub(crate) async fn run(cases: Vec<Case>) -> Tally {
    let backend = Recording::start().await;
    let (proxy, address) = in_front_of(UpstreamProtocol::Http1, backend.address).await;
    let mut tally = Tally::default();
    for case in cases {
        tally.cases += 1;
        let judged = match tokio::time::timeout(PATIENCE, exchange(address, &backend, &case)).await {
            Ok(judged) => judged,
            Err(_elapsed) => Err("no end in sight".into()),
        };
        let reached = backend.take();
        count(&mut tally, &case, &reached);
        if let Err(danger) = judge(&case, &reached) {
            tally.dangerous += 1;
            tally.faults.push(format!("{} ({}) is dangerous: {danger}", case.name, case.rfc));
        }
        let verdict = judged.and_then(|()| compare(&case, &reached));
        let clean = poison(address, &backend).await;
        for fault in [verdict, clean].into_iter().filter_map(Result::err) {
            tally.faults.push(format!("{} ({}): {fault}", case.name, case.rfc));
        }
    }
    drop(proxy);
    tally
}

/// Says it and looks at the answers.
async fn exchange(address: SocketAddr, backend: &Recording, case: &Case) -> Result<(), String> {
    let mut client = Client::connect(address).await;
    client.say(&case.sent).await;
    match &case.verdict {
        Verdict::Refused(status) => refused(&mut client, *status).await,
        Verdict::Torn { reached, then } => {
            backend.wait_for(reached.len()).await;
            client.say(then).await;
            let refused = refused(&mut client, 400).await;
            backend.wait_for_end().await;
            refused
        }
        Verdict::Forwarded(reached) => {
            for _ in 0..agree(reached).map_or(1, |requests| requests.len()) {
                let answer = client.answer().await.map_err(|error| format!("no answer: {error}"))?;
                if answer.status != 204 {
                    return Err(format!("answered {}", answer.head.trim_end()));
                }
            }
            Ok(())
        }
        Verdict::Malformed => Err("a verdict of HTTP/2 alone".into()),
    }
}

/// One answer with this status, which says that the connection ends, and then its end.
async fn refused(client: &mut Client, status: u16) -> Result<(), String> {
    let all = client.rest().await;
    let Some(answer) = answer_in(&all) else {
        return Err(format!("closed without an answer: {:?}", String::from_utf8_lossy(&all)));
    };
    let closes = answer.head.to_ascii_lowercase().contains("\r\nconnection: close\r\n");
    let single = String::from_utf8_lossy(&all).lines().filter(|line| line.starts_with("HTTP/1.")).count() == 1;
    match answer.status == status && closes && single {
        true => Ok(()),
        false => Err(format!("answered {:?}, wanted {status} and a close", String::from_utf8_lossy(&all))),
    }
}

/// What reached the backend is what the case says, byte for byte.
pub(crate) fn compare(case: &Case, reached: &[u8]) -> Result<(), String> {
    let wanted: &[u8] = match &case.verdict {
        Verdict::Refused(_) | Verdict::Malformed => b"",
        Verdict::Forwarded(wanted) | Verdict::Torn { reached: wanted, .. } => wanted,
    };
    match reached == wanted {
        true => Ok(()),
        false => Err(format!("forwarded\n  {}\n  wanted\n  {}", shown(reached), shown(wanted))),
    }
}

/// The judgement that does not know the verdict: every next hop sees the same, and nothing that was refused was whole.
pub(crate) fn judge(case: &Case, reached: &[u8]) -> Result<(), String> {
    let seen = agree(reached)?;
    let whole = seen.iter().filter(|request| request.whole).count();
    match &case.verdict {
        Verdict::Refused(_) | Verdict::Torn { .. } | Verdict::Malformed if whole > 0 => {
            Err(format!("{whole} requests were whole when the caller was refused"))
        }
        Verdict::Forwarded(_) if whole != seen.len() => Err("an unfinished request was answered".into()),
        Verdict::Refused(_) | Verdict::Torn { .. } | Verdict::Malformed | Verdict::Forwarded(_) => Ok(()),
    }
}

/// An orderly request right behind a case arrives as it is.
pub(crate) async fn poison(address: SocketAddr, backend: &Recording) -> Result<(), String> {
    let mut client = Client::connect(address).await;
    client.say(crate::case::PLAIN.as_bytes()).await;
    let answer = tokio::time::timeout(PATIENCE, client.answer()).await;
    let answered = matches!(&answer, Ok(Ok(answer)) if answer.status == 204);
    let reached = backend.take();
    match answered && reached == SEEN.as_bytes() {
        true => Ok(()),
        false => Err(format!("the next request was {} and got {answer:?}", shown(&reached))),
    }
}

pub(crate) fn count(tally: &mut Tally, case: &Case, reached: &[u8]) {
    let without = String::from_utf8_lossy(reached).replace(crate::case::ADDED, "");
    match &case.verdict {
        Verdict::Refused(_) | Verdict::Malformed => tally.refused += 1,
        Verdict::Torn { .. } => tally.torn += 1,
        Verdict::Forwarded(_) if without == String::from_utf8_lossy(&case.sent) => tally.as_sent += 1,
        Verdict::Forwarded(_) => tally.mended += 1,
    }
}

pub(crate) fn shown(bytes: &[u8]) -> String {
    let text = format!("{:?}", String::from_utf8_lossy(bytes));
    match text.char_indices().nth(600) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], bytes.len()),
        None => text,
    }
}

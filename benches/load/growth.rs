//! What a request costs in a mesh that has grown: our own proxy twice, one with much and one with little to look through.
//!
//! # Routes
//! Ten thousand on one host, and the request takes the last one of them, beside a host with that one alone.
//!
//! # Endpoints
//! Ten thousand beside two, in two regimes. *Keyed*: a consistent hash of few keys, so that both use equally few connections
//! and the difference is the choice alone. *In turn*: a round robin through all, over connections that are kept, so that ten
//! thousand of them are open; here the kernel's and the processor's memory of each connection counts as well, and it would
//! for any proxy.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::admin::page;
use super::cases::{Measured, Plan, Wanted};
use super::load::Exchange;
use super::loads::{Case, Load, offer, under_load};
use super::mesh::{HTTP1, Objects, Service, split};
use super::meter;
use super::peers::{Peer, Target};
use super::world::{VERSIONS, World, http1, one_of_many};

const MUCH: usize = 10_000;
const FEW_ENDPOINTS: usize = 2;
/// For a connection to each of them; one takes the proxy and the application a tenth of a millisecond.
const CONNECT_LIMIT: Duration = Duration::from_secs(60);
/// Gateway API allows 16 rules, and fewer than 128 matches in all of them.
const RULES_PER_ROUTE: usize = 16;
const MATCHES_PER_RULE: usize = 7;

const ROUTES: Case = Case { name: "growth-routes", regime: "1 to 10000", load: Load::Http1(Exchange::Get, HTTP1) };
const KEYED: Case =
    Case { name: "growth-endpoints-keyed", regime: "2 to 10000", load: Load::Http1(Exchange::GetKeyed, KEYED_HOST) };
const TURN: Case =
    Case { name: "growth-endpoints-turn", regime: "2 to 10000", load: Load::Http1(Exchange::Get, TURN_HOST) };

const KEYED_HOST: &str = "keyed.bench";
const TURN_HOST: &str = "turn.bench";

pub(crate) async fn run(plan: &Plan, wanted: Wanted<'_>, bin: &Path, measured: &mut Measured) -> anyhow::Result<()> {
    if wanted.has(ROUTES.name) {
        let world = World::start(bin, |_| routes())?;
        let targets = start(&world, &[HTTP1], measured)?;
        let known = page(targets[0].admin(), "/config_dump")?.matches("\"/growth/").count();
        ensure!(known >= MUCH - 1, "only {known} of {MUCH} routes");
        under_load(plan, &ROUTES, &targets, &world, measured).await?;
    }
    let cases: Vec<_> = [KEYED, TURN].into_iter().filter(|case| wanted.has(case.name)).collect();
    if !cases.is_empty() {
        let world = World::start(bin, |_| endpoints())?;
        let targets = start(&world, &[KEYED_HOST, TURN_HOST], measured)?;
        let known = page(targets[0].admin(), "/clusters")?;
        for host in [KEYED_HOST, TURN_HOST] {
            let name = format!("{}-", host.trim_end_matches(".bench"));
            let known = known.lines().filter(|line| line.contains(&name) && line.contains("::weight::")).count();
            ensure!(known >= MUCH, "only {known} of {MUCH} endpoints of {host}");
        }
        for case in cases {
            if case.name == TURN.name {
                connect_to_all(&targets[0], &world).await?;
            }
            under_load(plan, &case, &targets, &world, measured).await?;
        }
    }
    Ok(())
}

/// The one with much first.
fn start(world: &World, hosts: &[&str], measured: &mut Measured) -> anyhow::Result<Vec<Target>> {
    let mut targets = Vec::new();
    for peer in [Peer::Ours, Peer::Small] {
        let target = Target::begin(peer, world, super::peers::command(peer, world)?)?;
        for host in hosts {
            world.answers_with(target.listens().http1, host, "/")?;
        }
        measured.know(&target);
        targets.push(target);
    }
    Ok(targets)
}

/// Asks until every endpoint has a connection: opening them is not what the case is about.
async fn connect_to_all(target: &Target, world: &World) -> anyhow::Result<()> {
    let start = meter::now();
    loop {
        let open = connections(target)?;
        if open >= MUCH {
            return Ok(());
        }
        ensure!(start.elapsed() < CONNECT_LIMIT, "only {open} connections to {MUCH} endpoints after {CONNECT_LIMIT:?}");
        offer(TURN.load, target, Duration::from_secs(1), world).await?;
    }
}

/// Open to the endpoints of [`TURN_HOST`].
fn connections(target: &Target) -> anyhow::Result<usize> {
    let name = format!("||{}-{}.bench", TURN_HOST.trim_end_matches(".bench"), target.peer.name());
    let numbers = page(target.admin(), "/stats/prometheus")?;
    let gauge = numbers
        .lines()
        .find(|line| line.starts_with("tidegate_upstream_connections_active{") && line.contains(&name))
        .and_then(|line| line.rsplit(' ').next()?.parse::<usize>().ok());
    gauge.context("no number of connections")
}

fn gateways() -> Objects {
    let mut objects = Objects::new();
    for peer in [Peer::Ours, Peer::Small] {
        objects.gateway(peer.gateway(), false);
    }
    objects
}

fn routes() -> Vec<String> {
    let mut objects = gateways();
    let service = Service { name: "h1", protocol: "http", port: http1(VERSIONS[0]).port() };
    objects.service(service);
    for (version, address) in (1..).zip(VERSIONS) {
        objects.workload(service, version, http1(address));
    }
    objects.route("last", &[Peer::Ours.name(), Peer::Small.name()], HTTP1, &split("", service));
    let numbers: Vec<usize> = (1..MUCH).collect();
    for (number, of_route) in numbers.chunks(RULES_PER_ROUTE * MATCHES_PER_RULE).enumerate() {
        let matches = |numbers: &[usize]| {
            let one = |n: &usize| format!("{{path: {{type: PathPrefix, value: /growth/{n}}}}}");
            numbers.iter().map(one).collect::<Vec<_>>().join(", ")
        };
        let rules: String = of_route.chunks(MATCHES_PER_RULE).map(|rule| split(&matches(rule), service)).collect();
        objects.route(&format!("other-{number}"), &[Peer::Ours.name()], HTTP1, &rules);
    }
    vec![objects.into_text()]
}

fn endpoints() -> Vec<String> {
    let mut objects = gateways();
    let port = one_of_many(0).port();
    for (gateway, count) in [(Peer::Ours, MUCH), (Peer::Small, FEW_ENDPOINTS)] {
        for (host, policy) in [
            (KEYED_HOST, "{policy: ConsistentHash, consistentHash: {header: x-key, maglev: {}}}"),
            (TURN_HOST, "{policy: RoundRobin}"),
        ] {
            let name = format!("{}-{}", host.trim_end_matches(".bench"), gateway.name());
            objects.service_of_slices(&name, port);
            objects.governed_service(&name, &format!("  loadBalancer: {policy}\n"));
            let addresses: Vec<SocketAddr> = (1..=count).map(one_of_many).collect();
            objects.endpoints(&name, &addresses);
            let rule = format!("  - backendRefs: [{{name: {name}, port: {port}}}]\n");
            objects.route(&name, &[gateway.name()], host, &rule);
        }
    }
    vec![objects.into_text()]
}

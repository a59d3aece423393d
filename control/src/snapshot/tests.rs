//! What a change costs, counted exactly, and who is given what.

mod clients;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidegate_policies::ir::circuit_breaker::Outlier;
use tidegate_policies::ir::load_balancing::{LoadBalancing, TrafficSettings};
use tidegate_policies::ir::rate_limit::{RateLimit, RateScope};
use tidegate_policies::ir::route::{ClientMatch, RequestMatch};
use tidegate_policies::ir::tls::{Credential, CredentialName, ListenerTls, Termination, TlsMode};
use tidegate_policies::ir::world::Protocol;
use tidegate_policies::ir::{Origin, PolicySet, Stated, WorkloadLimits};
use tidegate_xds::name::ResourceType;
use tidegate_xds::resource::Resource;
use tidegate_xds::resource::cluster::{Discovery, UpstreamProtocol};

use super::{Compiler, View, Work};
use crate::fixture::{
    backend, canary, entry, fault, for_all, labels, mesh, named, origin, port, rate_limit, retry, rule, service, split,
    stated,
};
use crate::world::World;

fn world(policies: PolicySet) -> Arc<World> {
    Arc::new(World::new(Arc::new(policies)))
}

fn all_views() -> Vec<View> {
    let sidecars = ["web-1", "reviews-1", "reviews-2", "ratings-1", "ledger-1"].map(|name| View::Sidecar(named(name)));
    let gateway = View::Gateway { name: named("front"), address: None, locality: Default::default() };
    sidecars.into_iter().chain([gateway, View::Other]).collect()
}

/// Moves on to `policies` with all views in use, and says what that took.
fn advance(compiler: &mut Compiler, policies: PolicySet) -> Work {
    compiler.advance(world(policies));
    for view in all_views() {
        compiler.resources(&view);
    }
    compiler.forget_unused();
    compiler.take_work()
}

fn settled() -> Compiler {
    let mut compiler = Compiler::default();
    advance(&mut compiler, mesh());
    compiler
}

fn work(translated: &[(&'static str, usize)], encoded: &[(ResourceType, usize)]) -> Work {
    Work { translated: translated.iter().copied().collect(), encoded: encoded.iter().copied().collect() }
}

fn versions(compiler: &mut Compiler, view: &View) -> BTreeMap<String, Arc<str>> {
    let resources = compiler.resources(view).into_iter();
    resources.map(|(r, e)| (format!("{} {}", r.resource_type(), r.name()), e.version.clone())).collect()
}

#[test]
fn a_weight_edit_recompiles_the_routes_of_that_service_and_nothing_else() {
    let mut compiler = settled();
    let mut edited = mesh();
    edited.mesh_routes.insert(named("reviews"), canary(50, 50));

    let took = advance(&mut compiler, edited);

    // Five sidecars in one namespace are one class of clients, so they share one set of hosts and one configuration.
    let expected = work(&[("hosts", 1), ("grpc routes", 1)], &[(ResourceType::Route, 2)]);
    assert_eq!(took, expected);
}

#[test]
fn the_cost_of_a_weight_edit_does_not_grow_with_the_mesh() {
    let large = |v2| {
        let mut set = mesh();
        for number in 0..500 {
            let more = service(&format!("more-{number}"), vec![port("http", 80, Protocol::Http)]);
            set.services.insert(more.name.clone(), more);
        }
        set.mesh_routes.insert(named("reviews"), canary(90, v2));
        set
    };
    let mut compiler = Compiler::default();
    advance(&mut compiler, large(10));

    let took = advance(&mut compiler, large(11));

    assert_eq!(took, work(&[("hosts", 1), ("grpc routes", 1)], &[(ResourceType::Route, 2)]));
}

#[test]
fn nothing_is_done_when_nothing_changed() {
    let mut compiler = settled();

    assert_eq!(advance(&mut compiler, mesh()), Work::default());
}

#[test]
fn an_endpoint_that_moves_touches_the_assignments_of_its_service_and_its_own_sidecar() {
    let mut compiler = settled();
    let mut edited = mesh();
    edited.workloads.get_mut(&named("reviews-2")).unwrap().address = [127, 0, 9, 9].into();

    let took = advance(&mut compiler, edited);

    let units = [("endpoints", 1), ("sidecar listeners", 1), ("inbound clusters", 1), ("inbound routes", 1)];
    // Of three assignments (all, v1, v2) v1 comes out equal; of two listeners the outbound one does.
    assert_eq!(took, work(&units, &[(ResourceType::Endpoint, 2), (ResourceType::Listener, 1)]));
}

#[test]
fn a_balancing_setting_touches_the_clusters_of_its_service() {
    let balanced = |set: &mut PolicySet, balancing| {
        let settings = set.backends.get_mut(&named("reviews")).unwrap();
        settings.subsets.get_mut("v2").unwrap().traffic = TrafficSettings {
            load_balancing: Some(stated("DestinationRule", "reviews", balancing)),
            ..TrafficSettings::default()
        };
    };

    let took = cost_after(|set| balanced(set, LoadBalancing::Random), |set| balanced(set, LoadBalancing::ROUND_ROBIN));

    // Subsets are read by endpoints too, but these come out equal.
    assert_eq!(took, work(&[("clusters", 1), ("endpoints", 1)], &[(ResourceType::Cluster, 1)]));
}

/// What editing a policy costs, from a settled compiler.
fn cost(edit: impl FnOnce(&mut PolicySet)) -> Work {
    cost_after(|_| {}, edit)
}

/// What the second edit of a policy costs.
fn cost_after(first: impl FnOnce(&mut PolicySet), edit: impl FnOnce(&mut PolicySet)) -> Work {
    let mut compiler = settled();
    let mut edited = mesh();
    first(&mut edited);
    advance(&mut compiler, edited.clone());
    edit(&mut edited);
    advance(&mut compiler, edited)
}

fn of_reviews(set: &mut PolicySet) -> &mut TrafficSettings {
    &mut set.backends.get_mut(&named("reviews")).unwrap().traffic
}

#[test]
fn a_fault_of_a_service_touches_the_routes_to_it() {
    let took = cost(|set| of_reviews(set).fault = Some(stated("Fault", "slow", fault())));

    // Clusters and endpoints read other settings of the same service; they come out equal.
    let units = [("hosts", 1), ("grpc routes", 1), ("clusters", 1), ("endpoints", 1)];
    assert_eq!(took, work(&units, &[(ResourceType::Route, 2)]));
}

#[test]
fn a_rate_limit_of_a_service_touches_the_routes_where_its_requests_arrive() {
    let took = cost(|set| of_reviews(set).rate_limits = vec![stated("RateLimit", "limits", rate_limit("all"))]);

    let units = [("inbound routes", 2), ("clusters", 1), ("endpoints", 1)];
    assert_eq!(took, work(&units, &[(ResourceType::Route, 2)]));
}

#[test]
fn a_rate_limit_of_workloads_touches_the_routes_where_their_requests_arrive() {
    let took = cost(|set| {
        let limits = vec![stated("RateLimit", "limits", rate_limit("all"))];
        let labels = labels(&[("version", "v2")]);
        set.workload_limits.push(WorkloadLimits { namespace: "shop".into(), labels, limits });
    });

    // Whom a limit chooses is seen only by looking; of four workloads that speak HTTP three come out equal.
    assert_eq!(took, work(&[("inbound routes", 4)], &[(ResourceType::Route, 1)]));
}

#[test]
fn ejection_and_limits_of_a_service_touch_its_clusters() {
    let slower = Outlier { interval: Some(Duration::from_secs(9)), ..Outlier::default() };
    let stated =
        |outlier| move |set: &mut PolicySet| of_reviews(set).outlier = Some(stated("CircuitBreaker", "x", outlier));

    let took = cost_after(stated(Outlier::default()), stated(slower));

    assert_eq!(took, work(&[("clusters", 1), ("endpoints", 1)], &[(ResourceType::Cluster, 3)]));
}

#[test]
fn where_ejection_is_written_touches_the_routes_to_the_service_and_not_its_clusters() {
    let at = |line| {
        move |set: &mut PolicySet| {
            let Stated { origin, value } = stated("CircuitBreaker", "x", Outlier::default());
            let origin = Arc::new(Origin { line, ..Origin::clone(&origin) });
            of_reviews(set).outlier = Some(Stated { origin, value });
        }
    };

    let took = cost_after(at(40), at(41));

    assert_eq!(took.encoded.keys().collect::<Vec<_>>(), [&ResourceType::Route], "{took:?}");
}

#[test]
fn no_policy_for_requests_touches_a_listener() {
    let took = cost(|set| {
        let traffic = of_reviews(set);
        traffic.fault = Some(stated("Fault", "slow", fault()));
        traffic.retry = Some(stated("BackendPolicy", "x", retry()));
        let shared = RateLimit { scope: RateScope::Shared, ..rate_limit("all") };
        traffic.rate_limits = vec![stated("RateLimit", "limits", shared)];
    });

    assert_eq!(took.encoded.get(&ResourceType::Listener), None, "{took:?}");
}

#[test]
fn what_holds_for_the_mesh_touches_the_listeners_of_proxies() {
    let took = cost(|set| set.mesh.error_header = false);

    assert_eq!(took.translated, BTreeMap::from([("sidecar listeners", 5), ("gateway listeners", 1)]));
    assert_eq!(took.encoded.keys().collect::<Vec<_>>(), [&ResourceType::Listener]);
}

#[test]
fn proxies_know_the_rate_limit_service_as_soon_as_a_limit_is_shared() {
    let service: SocketAddr = "127.0.0.1:15010".parse().unwrap();
    let knows = |limits: &[RateScope], view: View| {
        let mut set = mesh();
        let limits = limits.iter().map(|scope| RateLimit { scope: *scope, ..rate_limit("all") });
        of_reviews(&mut set).rate_limits = limits.map(|limit| stated("RateLimit", "limits", limit)).collect();
        let mut compiler = Compiler::default();
        compiler.set_rate_limit_service(service);
        compiler.advance(world(set));
        let found = compiler.resources(&view).into_iter().find(|(r, _)| &**r.name() == "tidegate-rate-limit");
        found.map(|(resource, _)| match resource {
            Resource::Cluster(cluster) => {
                let Discovery::Static(localities) = &cluster.discovery else { panic!("its address is known") };
                (localities[0].endpoints[0].address, cluster.protocol)
            }
            other => panic!("a cluster was expected, not {other:?}"),
        })
    };
    let web = || View::Sidecar(named("web-1"));

    assert_eq!(knows(&[RateScope::PerProxy], web()), None);
    assert_eq!(knows(&[RateScope::Shared], web()), Some((service, UpstreamProtocol::Http2)));
    assert_eq!(knows(&[RateScope::Shared], View::Other), None, "gRPC clients have no use for it");
}

#[test]
fn only_clients_that_are_told_apart_by_place_have_endpoints_of_their_own() {
    let spread = |apart: bool| {
        let mut set = mesh();
        for (name, zone) in [("web-1", "a"), ("reviews-1", "a"), ("reviews-2", "b"), ("ratings-1", "b")] {
            let zone = if apart { zone } else { "a" };
            set.workloads.get_mut(&named(name)).unwrap().locality = ["eu".into(), zone.into(), "".into()];
        }
        set
    };

    let together = advance(&mut Compiler::default(), spread(false));
    let mut compiler = Compiler::default();
    let apart = advance(&mut compiler, spread(true));

    // Four services; `reviews` is seen from zone a, from zone b, and from nowhere.
    assert_eq!((together.translated["endpoints"], apart.translated["endpoints"]), (4, 6));
    let priorities = |compiler: &mut Compiler, name: &str| {
        let resources = compiler.resources(&View::Sidecar(named(name)));
        let found = resources.into_iter().find_map(|(resource, _)| match resource {
            Resource::Endpoint(assignment) if assignment.cluster_name.starts_with("outbound|9080||") => {
                Some(assignment)
            }
            _ => None,
        });
        let localities = found.unwrap().localities.clone();
        localities.iter().map(|l| format!("{}{}", l.priority, l.locality.zone)).collect::<Vec<_>>()
    };
    assert_eq!(priorities(&mut compiler, "web-1"), ["0a", "1b"]);
    assert_eq!(priorities(&mut compiler, "ratings-1"), ["0b", "1a"]);
    assert_eq!(priorities(&mut compiler, "ledger-1"), ["0a", "0b"]);
}

#[test]
fn an_object_that_only_moved_in_its_file_is_not_encoded_again() {
    let mut compiler = settled();
    let mut edited = mesh();
    edited.services.values_mut().for_each(|service| service.origin.line += 3);
    edited.workloads.values_mut().for_each(|workload| workload.origin.line += 3);

    let took = advance(&mut compiler, edited);

    assert!(took.encoded.is_empty(), "{took:?}");
}

#[test]
fn a_service_that_is_added_or_removed_changes_the_outbound_routes_of_all() {
    let mut compiler = settled();
    let mut edited = mesh();
    let cart = service("cart", vec![port("http", 80, Protocol::Http)]);
    edited.services.insert(cart.name.clone(), cart);

    let added = advance(&mut compiler, edited);
    let removed = advance(&mut compiler, mesh());

    let encoded = |of_type| added.encoded.get(&of_type).copied().unwrap_or(0);
    // `outbound` and `grpc|cart…`; both API listeners of the new port.
    assert_eq!((encoded(ResourceType::Route), encoded(ResourceType::Listener)), (2, 2));
    assert_eq!((encoded(ResourceType::Cluster), encoded(ResourceType::Endpoint)), (1, 1));
    assert_eq!(removed, work(&[], &[(ResourceType::Route, 1)]));
}

#[test]
fn unrelated_clients_share_hosts_although_rules_tell_some_clients_apart() {
    let mut set = mesh();
    let for_web = RequestMatch {
        client: ClientMatch { namespace: None, labels: labels(&[("app", "web")]) },
        ..RequestMatch::default()
    };
    let beta = rule("VirtualService", 3, split(&[(backend("reviews", 9080, Some("v2")), 1)]));
    let rest = rule("VirtualService", 9, split(&[(backend("reviews", 9080, Some("v1")), 1)]));
    let rules = vec![entry(for_web, beta), entry(RequestMatch::default(), rest)];
    set.mesh_routes.insert(named("reviews"), for_all(rules));
    let mut compiler = Compiler::default();

    let took = advance(&mut compiler, set);

    // Four services seen one way by all, of which only `reviews` is seen a second way by `web`.
    assert_eq!(took.translated["hosts"], 5);
    let route_counts = |view: &str, compiler: &mut Compiler| {
        let resources = compiler.resources(&View::Sidecar(named(view)));
        let outbound =
            resources.into_iter().find(|(r, _)| &**r.name() == "outbound" && r.resource_type() == ResourceType::Route);
        outbound.expect("every sidecar has outbound routes").1.clusters.len()
    };
    assert_eq!(route_counts("web-1", &mut compiler), 1 + route_counts("ratings-1", &mut compiler));
}

#[test]
fn a_compiler_that_lived_through_changes_gives_what_a_fresh_one_gives() {
    let mut lived = settled();
    let mut edited = mesh();
    edited.mesh_routes.insert(named("reviews"), canary(5, 5));
    edited.workloads.remove(&named("ratings-1"));
    edited.services.remove(&named("ledger"));
    advance(&mut lived, edited.clone());
    let mut fresh = Compiler::default();
    advance(&mut fresh, edited);

    for view in all_views() {
        assert_eq!(versions(&mut lived, &view), versions(&mut fresh, &view), "{view:?}");
    }
}

#[test]
fn everything_that_is_translated_is_accepted_by_the_decoder_unchanged() {
    use tidegate_xds::resource::Decoded;
    let mut compiler = settled();

    for view in all_views() {
        for (resource, _) in compiler.resources(&view) {
            let decoded = Decoded::from_any(resource.resource_type().type_url(), &resource.encode_value());
            assert_eq!(decoded.map(|d| d.resource), Ok(resource));
        }
    }
}

#[test]
fn sockets_are_for_proxies_and_api_listeners_for_the_proxyless() {
    let mut compiler = settled();
    let names = |compiler: &mut Compiler, view: View| {
        let resources = compiler.resources(&view).into_iter().map(|(r, _)| r);
        let listeners = resources.filter(|r| r.resource_type() == ResourceType::Listener);
        listeners.map(|r| r.name().to_string()).collect::<Vec<_>>()
    };

    let web = names(&mut compiler, View::Sidecar(named("web-1")));
    let front =
        names(&mut compiler, View::Gateway { name: named("front"), address: None, locality: Default::default() });
    let other = names(&mut compiler, View::Other);

    assert_eq!(web, ["outbound", "outbound_tcp|127.0.1.1:15432", "inbound|80"]);
    assert_eq!(front, ["gateway|8080"]);
    assert!(
        other.contains(&"ratings.shop.svc.cluster.local:9090".to_owned())
            && other.contains(&"ratings.shop:9090".to_owned())
    );
    assert!(!other.iter().any(|name| name.contains("ledger") || name.contains('|')));
}

#[test]
fn a_name_that_two_services_claim_is_given_once() {
    let mut set = mesh();
    let mut double = service("double", vec![port("http", 9080, Protocol::Http)]);
    double.hosts = vec!["reviews.shop.svc.cluster.local".into()];
    set.services.insert(double.name.clone(), double);
    let mut compiler = Compiler::default();
    compiler.advance(world(set));

    let resources = compiler.resources(&View::Sidecar(named("web-1")));

    let name = "outbound|9080||reviews.shop.svc.cluster.local";
    let clusters = resources.iter().filter(|(r, _)| r.resource_type() == ResourceType::Cluster && &**r.name() == name);
    assert_eq!(clusters.count(), 1);
}

#[test]
fn a_host_that_two_services_claim_is_the_first_ones_for_proxyless_clients_in_every_type() {
    let with_claimants = |claimants: &[&str]| {
        let mut set = mesh();
        for name in claimants {
            let mut claimant = service(name, vec![port("grpc", 80, Protocol::Http2)]);
            claimant.hosts = vec!["both.example.com".into()];
            // Each sends its calls elsewhere, so that their routes differ.
            let target =
                if *name == "a-first" { backend("reviews", 9080, None) } else { backend("ratings", 9090, None) };
            let away = rule("VirtualService", 1, split(&[(target, 1)]));
            set.services.insert(claimant.name.clone(), claimant);
            set.mesh_routes.insert(named(name), for_all(vec![entry(RequestMatch::default(), away)]));
        }
        let mut compiler = Compiler::default();
        compiler.advance(world(set));
        let set = compiler.set(&View::Other, 1, None);
        [
            (ResourceType::Cluster, "outbound|80||both.example.com"),
            (ResourceType::Listener, "both.example.com:80"),
            (ResourceType::Route, "grpc|both.example.com:80"),
        ]
        .map(|(of_type, name)| set.get(of_type, name).unwrap_or_else(|| panic!("{of_type} {name}")).version.clone())
    };

    let (first, second) = (with_claimants(&["a-first"]), with_claimants(&["b-second"]));
    let both = with_claimants(&["b-second", "a-first"]);

    assert_ne!(first[2], second[2], "the routes tell whose they are");
    assert_eq!(both, first);
}

/// The mesh with a gateway that shows a certificate with this key.
fn with_certificate(key: &str) -> PolicySet {
    let mut set = mesh();
    let name = CredentialName("secret|shop/front".into());
    let termination = Termination { certificates: vec![name.clone()], clients: None, version_min: None };
    let credential = Credential::Certificate { chain: Arc::from(*b"chain"), key: Arc::from(key.as_bytes()) };
    set.credentials.insert(name, credential);
    let listener = &mut set.gateways.get_mut(&named("front")).unwrap().listeners[0];
    let mode = TlsMode::Terminate(termination);
    listener.tls = Some(ListenerTls { origin: origin("Gateway", "front", 7), mode });
    set
}

#[test]
fn a_renewed_certificate_is_one_resource_for_the_gateways_that_show_it() {
    let mut compiler = Compiler::default();
    advance(&mut compiler, with_certificate("first"));

    let took = advance(&mut compiler, with_certificate("second"));

    assert_eq!(took, work(&[("gateway listeners", 1)], &[(ResourceType::Secret, 1)]));
    let holders = all_views().into_iter().filter(|view| {
        compiler.resources(view).iter().any(|(resource, _)| resource.resource_type() == ResourceType::Secret)
    });
    let holders: Vec<View> = holders.collect();
    assert!(matches!(holders.as_slice(), [View::Gateway { .. }]), "{holders:?}");
}

#[test]
fn a_private_key_is_in_the_bytes_for_the_gateway_and_in_no_text() {
    let mut compiler = Compiler::default();
    compiler.advance(world(with_certificate("tell-nobody")));
    let gateway = View::Gateway { name: named("front"), address: None, locality: Default::default() };

    let resources = compiler.resources(&gateway);

    let holds = |bytes: &[u8]| bytes.windows(11).any(|window| window == b"tell-nobody");
    assert!(resources.iter().any(|(resource, _)| holds(&resource.encode_value())), "it is sent");
    for (resource, _) in &resources {
        assert!(!holds(resource.to_json().as_bytes()) && !holds(format!("{resource:?}").as_bytes()));
    }
    assert!(!holds(format!("{:?}", compiler.world()).as_bytes()));
}

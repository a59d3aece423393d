//! What became of each object, as conditions.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tidegate_policies::ir::status::{Condition, ConditionKind, ObjectStatus};
use tidegate_policies::{Code, Source, compile, compile_at};

const SHOP: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {selector: {app: a}, ports: [{name: http, port: 80}]}
---
apiVersion: tidegate.io/v1alpha1
kind: Workload
metadata: {name: a, labels: {app: a}}
spec: {address: 127.0.9.1, ports: [{name: http, port: 80}]}
---
"#;

const FAULT: &str = "
apiVersion: tidegate.io/v1alpha1
kind: Fault
metadata: {name: f}
spec:
  targetRefs: [{kind: Service, name: a}]
  expiresAt: 2026-12-01T00:00:00Z
  abort: {httpStatus: 503, percent: 50}
";

/// 2026-12-01T00:00:00Z
const DECEMBER: Duration = Duration::from_secs(1_796_083_200);

fn sources(text: &str) -> Vec<Source> {
    vec![Source { path: Arc::from("shop.yaml"), text: format!("{SHOP}{text}").into_bytes() }]
}

fn only(text: &str, kind: &str) -> ObjectStatus {
    let statuses = compile(&sources(text)).set.statuses;
    statuses.into_iter().find(|status| status.origin.kind == kind).expect("the object has a status")
}

fn condition(status: &ObjectStatus, kind: ConditionKind) -> &Condition {
    status.conditions.iter().find(|condition| condition.kind == kind).expect("the condition is there")
}

#[test]
fn an_object_without_findings_is_accepted_and_resolved() {
    let status = only(FAULT, "Fault");

    let told: Vec<_> = status.conditions.iter().map(|c| (c.kind, c.holds, c.reason)).collect();
    assert_eq!(
        told,
        [(ConditionKind::Accepted, true, "Accepted"), (ConditionKind::ResolvedRefs, true, "ResolvedRefs")]
    );
}

#[test]
fn an_object_with_a_mistake_is_invalid_and_its_neighbour_is_not() {
    let text = format!("{FAULT}---{}", FAULT.replace("name: f}", "name: g}").replace("503", "99"));

    let statuses = compile(&sources(&text)).set.statuses;

    let accepted: Vec<_> = statuses.iter().map(|status| condition(status, ConditionKind::Accepted)).collect();
    assert!(accepted[0].holds);
    assert_eq!((accepted[1].holds, accepted[1].reason), (false, "Invalid"));
    assert!(accepted[1].message.contains("99"));
}

#[test]
fn an_object_that_cannot_be_read_at_all_still_has_a_status() {
    let text = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v}
spec: nothing
";

    assert_eq!(condition(&only(text, "VirtualService"), ConditionKind::Accepted).reason, "Invalid");
}

#[test]
fn a_route_to_a_service_that_does_not_exist_is_accepted_and_not_resolved() {
    let text = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{group: '', kind: Service, name: a}]
  rules: [{backendRefs: [{name: b, port: 80}]}]
";

    let status = only(text, "HTTPRoute");

    assert!(condition(&status, ConditionKind::Accepted).holds);
    let resolved = condition(&status, ConditionKind::ResolvedRefs);
    assert_eq!((resolved.holds, resolved.reason), (false, "BackendNotFound"));
}

#[test]
fn a_route_without_its_parent_says_that_the_target_is_missing() {
    let text = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec: {parentRefs: [{name: nowhere}]}
";

    assert_eq!(condition(&only(text, "HTTPRoute"), ConditionKind::Accepted).reason, "TargetNotFound");
}

#[test]
fn the_loser_of_a_conflict_names_the_winner() {
    let rule = |name: &str| {
        format!(
            "---\napiVersion: tidegate.io/v1alpha1\nkind: CircuitBreaker\nmetadata: {{name: {name}}}\nspec: {{targetRefs: [{{kind: Service, name: a}}], limits: {{maxRequests: 1}}}}\n"
        )
    };

    let statuses = compile(&sources(&(rule("z") + &rule("b")))).set.statuses;

    let of = |name: &str| statuses.iter().find(|status| &*status.origin.object.name == name).unwrap();
    let loser = condition(of("z"), ConditionKind::Accepted);
    assert_eq!((loser.holds, loser.reason), (false, "Conflicted"));
    assert!(loser.message.contains("CircuitBreaker default/b"), "{}", loser.message);
    assert!(condition(of("b"), ConditionKind::Accepted).holds);
}

#[test]
fn a_certificate_that_cannot_be_had_leaves_the_gateway_accepted_and_unresolved() {
    let gateway = |reference: &str| {
        format!(
            "\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: front}}\nspec: {{gatewayClassName: tidegate, listeners: [{{name: s, port: 443, protocol: HTTPS, tls: {{certificateRefs: [{reference}]}}}}]}}\n"
        )
    };
    let told = |reference: &str| {
        let status = only(&gateway(reference), "Gateway");
        assert!(condition(&status, ConditionKind::Accepted).holds);
        condition(&status, ConditionKind::ResolvedRefs).reason
    };

    assert_eq!(told("{name: nowhere}"), "InvalidCertificateRef");
    assert_eq!(told("{name: nowhere, kind: ConfigMap}"), "InvalidCertificateRef");
    assert_eq!(told("{name: nowhere, namespace: other}"), "RefNotPermitted");
}

#[test]
fn of_two_tcp_routes_at_a_listener_both_are_accepted_and_the_newer_says_that_it_does_nothing() {
    let gateway = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec: {gatewayClassName: tidegate, listeners: [{name: db, port: 9310, protocol: TCP}]}
";
    let route = |name: &str, second: u8| {
        format!(
            "---\napiVersion: gateway.networking.k8s.io/v1alpha2\nkind: TCPRoute\nmetadata: {{name: {name}, creationTimestamp: \"2026-01-01T00:00:0{second}Z\"}}\nspec: {{parentRefs: [{{name: front}}], rules: [{{backendRefs: [{{name: a, port: 80}}]}}]}}\n"
        )
    };

    let statuses = compile(&sources(&(gateway.to_owned() + &route("newer", 2) + &route("older", 1)))).set.statuses;

    let of = |name: &str| statuses.iter().find(|status| &*status.origin.object.name == name).unwrap();
    for name in ["newer", "older"] {
        assert!(condition(of(name), ConditionKind::Accepted).holds, "{name}");
    }
    let loser = condition(of("newer"), ConditionKind::Ineffective);
    assert!(loser.message.contains("an older TCPRoute has this listener"), "{}", loser.message);
    assert_eq!(loser.path.as_deref(), Some("spec.parentRefs[0].name"));
    assert!(of("older").conditions.iter().all(|condition| condition.kind != ConditionKind::Ineffective));
}

#[test]
fn a_field_that_cannot_act_is_named_by_its_path_in_lists_of_objects_too() {
    let plain = "
apiVersion: tidegate.io/v1alpha1
kind: RateLimit
metadata: {name: l}
spec:
  targetRefs: [{kind: Service, name: a}]
  rules:
  - {name: one, limit: {requests: 1, per: 1s}, key: [{header: x}, {sourceIdentity: true}]}
";
    let listed = "
apiVersion: v1
kind: List
items:
- apiVersion: tidegate.io/v1alpha1
  kind: RateLimit
  metadata: {name: l}
  spec:
    targetRefs: [{kind: Service, name: a}]
    rules:
    - name: one
      limit: {requests: 1, per: 1s}
      key:
      - header: x
      - sourceIdentity: true
";

    for text in [plain, listed] {
        let status = only(text, "RateLimit");
        let ineffective = condition(&status, ConditionKind::Ineffective);
        assert_eq!(ineffective.path.as_deref(), Some("spec.rules[0].key[1].sourceIdentity"));
        assert_eq!(ineffective.reason, "CannotAct");
    }
}

#[test]
fn a_fault_is_reported_once_it_has_expired_and_not_before() {
    let sources = sources(FAULT);
    let expired = |compilation: &tidegate_policies::Compilation| {
        compilation.diagnostics.iter().any(|diagnostic| diagnostic.code == Code::FaultExpired)
    };
    let end = SystemTime::UNIX_EPOCH + DECEMBER;

    let before = compile_at(&sources, end - Duration::from_secs(1));
    let after = compile_at(&sources, end);

    assert!(!expired(&before));
    assert!(expired(&after));
    assert!(!expired(&compile(&sources)));
    // Who enforces it has a clock; the set does not depend on when it was made.
    assert_eq!(before.set.backends, after.set.backends);
}

#[test]
fn what_only_exists_has_no_status() {
    assert!(compile(&sources("# nothing else\n")).set.statuses.is_empty());
}

/// A root for `/a` with a delegate that has these matches.
fn delegating(delegate: &str, matches: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: root}}
spec:
  hosts: [a]
  http:
  - {{match: [{{uri: {{prefix: /a}}}}], delegate: {{name: {delegate}, namespace: team}}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: inner, namespace: team}}
spec:
  http:
  - match:
    - {{uri: {{prefix: /a/b}}}}
    - {matches}
    redirect: {{uri: /}}
"
    )
}

fn of_both(text: &str) -> (ObjectStatus, ObjectStatus) {
    let statuses = compile(&sources(text)).set.statuses;
    let named = |name: &str| {
        statuses.iter().find(|status| &*status.origin.object.name == name).expect("it has a status").clone()
    };
    (named("root"), named("inner"))
}

#[test]
fn a_root_and_its_delegate_are_both_accepted() {
    let (root, inner) = of_both(&delegating("inner", "{method: {exact: GET}}"));

    for status in [root, inner] {
        assert!(status.conditions.iter().all(|c| c.holds && c.kind != ConditionKind::Ineffective), "{status:?}");
    }
}

#[test]
fn a_root_whose_delegate_is_missing_is_not_accepted_and_the_one_nobody_names_says_so() {
    let (root, inner) = of_both(&delegating("other", "{method: {exact: GET}}"));

    let accepted = condition(&root, ConditionKind::Accepted);
    assert!(!accepted.holds && accepted.message.contains("team/other"), "{accepted:?}");
    let ineffective = condition(&inner, ConditionKind::Ineffective);
    assert!(ineffective.message.contains("nobody delegates to it"), "{ineffective:?}");
}

#[test]
fn a_match_that_the_root_does_not_leave_to_a_delegate_is_ineffective_by_its_path() {
    let (root, inner) = of_both(&delegating("inner", "{uri: {prefix: /b}}"));

    assert!(condition(&root, ConditionKind::Accepted).holds);
    assert!(condition(&inner, ConditionKind::Accepted).holds);
    assert_eq!(condition(&inner, ConditionKind::Ineffective).path.as_deref(), Some("spec.http[0].match[1]"));
}

/// A gateway whose certificate is valid from 2026-11-28 for a hundred years.
fn with_certificate() -> Vec<Source> {
    let block = |pem: &str| pem.lines().map(|line| format!("    {line}\n")).collect::<String>();
    let chain = block(include_str!("../src/certificate/testdata/ec.crt"));
    let key = block(include_str!("../src/certificate/testdata/ec.key"));
    sources(&format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: front}}
spec:
  gatewayClassName: tidegate
  listeners:
  - {{name: https, port: 443, protocol: HTTPS, tls: {{certificateRefs: [{{name: front}}]}}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: front}}
type: kubernetes.io/tls
stringData:
  tls.crt: |
{chain}  tls.key: |
{key}"
    ))
}

#[test]
fn a_certificate_that_ends_is_spoken_of_in_days_before_and_after() {
    const DAY: Duration = Duration::from_secs(86_400);
    // 2026-11-28T17:21:52Z and 36,500 days.
    let begins = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_886_512);
    let ends = begins + DAY * 36_500;
    let told = |now: SystemTime| {
        let compilation = compile_at(&with_certificate(), now);
        assert!(!compilation.has_errors(), "a renewal must be able to get in");
        let told = compilation.diagnostics.iter().filter(|d| {
            assert!(!format!("{d:?}").contains("BEGIN") && d.labels.len() == 2, "the places are names");
            matches!(d.code, Code::CertificateEnds | Code::CertificateExpired)
        });
        told.map(|d| (d.code, d.message.clone())).collect::<Vec<_>>()
    };
    let what = "certificate of secret default/front";

    assert_eq!(told(begins), []);
    assert_eq!(told(ends - DAY * 30), []);
    assert_eq!(told(ends - DAY * 10), [(Code::CertificateEnds, format!("{what} expires in 10 days"))]);
    assert_eq!(told(ends + DAY * 3), [(Code::CertificateExpired, format!("{what} has expired 3 days ago"))]);
    let early = (Code::CertificateExpired, format!("{what} is not valid yet, but in 2 days"));
    assert_eq!(told(begins - DAY * 2), [early]);
    let [at_its_end, at_no_time] = [compile_at(&with_certificate(), ends), compile(&with_certificate())];
    assert_eq!(at_its_end.set.credentials, at_no_time.set.credentials, "what proxies are given knows no time");
    assert_eq!(at_its_end.set.gateways, at_no_time.set.gateways);
}

#[test]
fn a_file_that_breaks_within_a_key_is_shown_without_the_key() {
    let key = include_str!("../src/certificate/testdata/ec.key");
    let lines: Vec<&str> = key.lines().filter(|line| !line.contains("-----")).collect();
    let text = String::from_utf8(with_certificate()[0].text.clone()).unwrap();
    let text = text.replace(&format!("    {}", lines[1]), &format!("  {}", lines[1]));
    let encoded = format!("a: 1\na: {}\n", "QUJD".repeat(20));

    for (text, hidden) in [(text, lines), (encoded, vec!["QUJDQUJD"])] {
        let sources = vec![Source { path: Arc::from("broken.yaml"), text: text.into_bytes() }];
        let compilation = compile(&sources);
        let shown = compilation.render(&sources, false);

        assert!(compilation.has_errors() && shown.contains("***"), "{shown}");
        for line in &hidden {
            assert!(!shown.contains(line), "{shown}");
        }
    }
}

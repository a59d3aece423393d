//! The kinds: read, refused, or without bearing.

use std::sync::Arc;

use crate::diagnostic::{Code, Report};
use crate::source::Spanned;
use crate::spelling;
use crate::tree::shortened;

/// A kind that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    BackendPolicy,
    BackendTlsPolicy,
    BackendTrafficPolicy,
    CircuitBreaker,
    ConfigMap,
    DestinationRule,
    EndpointSlice,
    Fault,
    Gateway,
    GatewayClass,
    GrpcRoute,
    HttpRoute,
    IstioGateway,
    ListenerSet,
    MeshDefaults,
    Namespace,
    RateLimit,
    ReferenceGrant,
    Secret,
    Service,
    ServiceEntry,
    TcpRoute,
    TlsRoute,
    VirtualService,
    Workload,
    WorkloadEntry,
}

impl Kind {
    /// As written.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Kind::BackendPolicy => "BackendPolicy",
            Kind::BackendTlsPolicy => "BackendTLSPolicy",
            Kind::BackendTrafficPolicy => "XBackendTrafficPolicy",
            Kind::CircuitBreaker => "CircuitBreaker",
            Kind::ConfigMap => "ConfigMap",
            Kind::DestinationRule => "DestinationRule",
            Kind::EndpointSlice => "EndpointSlice",
            Kind::Fault => "Fault",
            Kind::Gateway | Kind::IstioGateway => "Gateway",
            Kind::GatewayClass => "GatewayClass",
            Kind::GrpcRoute => "GRPCRoute",
            Kind::HttpRoute => "HTTPRoute",
            Kind::ListenerSet => "ListenerSet",
            Kind::MeshDefaults => "MeshDefaults",
            Kind::Namespace => "Namespace",
            Kind::RateLimit => "RateLimit",
            Kind::ReferenceGrant => "ReferenceGrant",
            Kind::Secret => "Secret",
            Kind::Service => "Service",
            Kind::ServiceEntry => "ServiceEntry",
            Kind::TcpRoute => "TCPRoute",
            Kind::TlsRoute => "TLSRoute",
            Kind::VirtualService => "VirtualService",
            Kind::Workload => "Workload",
            Kind::WorkloadEntry => "WorkloadEntry",
        }
    }

    /// Whether what became of its objects is told: what routes and governs, as opposed to what exists.
    pub(crate) fn has_status(self) -> bool {
        match self {
            Kind::BackendPolicy
            | Kind::BackendTlsPolicy
            | Kind::BackendTrafficPolicy
            | Kind::CircuitBreaker
            | Kind::DestinationRule
            | Kind::Fault
            | Kind::Gateway
            | Kind::GrpcRoute
            | Kind::HttpRoute
            | Kind::IstioGateway
            | Kind::ListenerSet
            | Kind::MeshDefaults
            | Kind::RateLimit
            | Kind::TcpRoute
            | Kind::TlsRoute
            | Kind::VirtualService => true,
            Kind::ConfigMap
            | Kind::EndpointSlice
            | Kind::GatewayClass
            | Kind::Namespace
            | Kind::ReferenceGrant
            | Kind::Secret
            | Kind::Service
            | Kind::ServiceEntry
            | Kind::Workload
            | Kind::WorkloadEntry => false,
        }
    }

    /// Whether its objects are in no namespace.
    pub(crate) fn is_cluster_wide(self) -> bool {
        matches!(self, Kind::Namespace | Kind::GatewayClass | Kind::MeshDefaults)
    }
}

/// What is done with a kind.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Standing {
    Read(Kind),
    /// Known, not implemented; what to do instead.
    Refused(&'static str),
    /// Belongs to a cluster and means nothing to a mesh.
    NoBearing,
}

/// A group's kinds.
struct Group {
    name: &'static str,
    versions: &'static [&'static str],
    kinds: &'static [(&'static str, Standing)],
}

const LATER: &str = "remove it; it would not be enforced";

use Standing::{NoBearing, Read, Refused};

const GROUPS: &[Group] = &[
    Group {
        name: "",
        versions: &["v1"],
        kinds: &[
            ("Namespace", Read(Kind::Namespace)),
            ("Secret", Read(Kind::Secret)),
            ("Service", Read(Kind::Service)),
            ("ConfigMap", Read(Kind::ConfigMap)),
            ("Endpoints", Refused("write an EndpointSlice (discovery.k8s.io/v1)")),
            ("Event", NoBearing),
            ("LimitRange", NoBearing),
            ("Node", NoBearing),
            ("PersistentVolume", NoBearing),
            ("PersistentVolumeClaim", NoBearing),
            ("Pod", NoBearing),
            ("PodTemplate", NoBearing),
            ("ReplicationController", NoBearing),
            ("ResourceQuota", NoBearing),
            ("ServiceAccount", NoBearing),
        ],
    },
    Group {
        name: "discovery.k8s.io",
        versions: &["v1", "v1beta1"],
        kinds: &[("EndpointSlice", Read(Kind::EndpointSlice))],
    },
    Group {
        name: "tidegate.io",
        versions: &["v1alpha1"],
        kinds: &[
            ("Workload", Read(Kind::Workload)),
            ("BackendPolicy", Read(Kind::BackendPolicy)),
            ("CircuitBreaker", Read(Kind::CircuitBreaker)),
            ("Fault", Read(Kind::Fault)),
            ("MeshDefaults", Read(Kind::MeshDefaults)),
            ("RateLimit", Read(Kind::RateLimit)),
            ("Rollout", Refused("shift the weights of a VirtualService or HTTPRoute by hand")),
        ],
    },
    Group {
        name: "networking.istio.io",
        versions: &["v1", "v1beta1", "v1alpha3"],
        kinds: &[
            ("DestinationRule", Read(Kind::DestinationRule)),
            ("ServiceEntry", Read(Kind::ServiceEntry)),
            ("VirtualService", Read(Kind::VirtualService)),
            ("WorkloadEntry", Read(Kind::WorkloadEntry)),
            (
                "EnvoyFilter",
                Refused("what it is mostly used for has a kind of its own: RateLimit (tidegate.io/v1alpha1)"),
            ),
            ("Gateway", Read(Kind::IstioGateway)),
            ("ProxyConfig", Refused("start-up settings are flags of the proxy")),
            ("Sidecar", Refused(LATER)),
            ("WorkloadGroup", Refused("write a WorkloadEntry, or a Workload (tidegate.io/v1alpha1), for each machine")),
        ],
    },
    Group {
        name: "security.istio.io",
        versions: &["v1", "v1beta1"],
        kinds: &[
            ("AuthorizationPolicy", Refused(LATER)),
            ("PeerAuthentication", Refused(LATER)),
            ("RequestAuthentication", Refused(LATER)),
        ],
    },
    Group { name: "telemetry.istio.io", versions: &["v1", "v1alpha1"], kinds: &[("Telemetry", Refused(LATER))] },
    Group {
        name: "extensions.istio.io",
        versions: &["v1alpha1"],
        kinds: &[("WasmPlugin", Refused("extensions are not run in the proxy"))],
    },
    Group {
        name: "gateway.networking.k8s.io",
        versions: &["v1", "v1beta1", "v1alpha2", "v1alpha3"],
        kinds: &[
            ("Gateway", Read(Kind::Gateway)),
            ("GatewayClass", Read(Kind::GatewayClass)),
            ("GRPCRoute", Read(Kind::GrpcRoute)),
            ("HTTPRoute", Read(Kind::HttpRoute)),
            ("ListenerSet", Read(Kind::ListenerSet)),
            ("ReferenceGrant", Read(Kind::ReferenceGrant)),
            ("TCPRoute", Read(Kind::TcpRoute)),
            ("BackendTLSPolicy", Read(Kind::BackendTlsPolicy)),
            ("TLSRoute", Read(Kind::TlsRoute)),
            ("UDPRoute", Refused(LATER)),
        ],
    },
    Group {
        name: "gateway.networking.x-k8s.io",
        versions: &["v1alpha1"],
        kinds: &[
            ("XBackend", Refused(LATER)),
            ("XBackendTrafficPolicy", Read(Kind::BackendTrafficPolicy)),
            ("XListenerSet", Refused("write it as ListenerSet, apiVersion: gateway.networking.k8s.io/v1")),
            ("XMesh", Refused(LATER)),
        ],
    },
    Group {
        name: "multicluster.x-k8s.io",
        versions: &["v1beta1", "v1alpha1"],
        kinds: &[("ServiceExport", Refused(LATER)), ("ServiceImport", Refused(LATER))],
    },
    Group {
        name: "servicemesh.kubesphere.io",
        versions: &["v1alpha2"],
        kinds: &[
            ("ServicePolicy", Refused("write its `template` as a DestinationRule")),
            ("Strategy", Refused("write its `template` as a VirtualService")),
        ],
    },
    Group {
        name: "flagger.app",
        versions: &["v1beta1"],
        kinds: &[
            ("AlertProvider", Refused(LATER)),
            ("Canary", Refused("shift the weights of a VirtualService or HTTPRoute by hand")),
            ("MetricTemplate", Refused(LATER)),
        ],
    },
    Group {
        name: "apps",
        versions: &["v1"],
        kinds: &[
            ("ControllerRevision", NoBearing),
            ("DaemonSet", NoBearing),
            ("Deployment", NoBearing),
            ("ReplicaSet", NoBearing),
            ("StatefulSet", NoBearing),
        ],
    },
    Group { name: "batch", versions: &["v1"], kinds: &[("CronJob", NoBearing), ("Job", NoBearing)] },
    Group { name: "autoscaling", versions: &["v1", "v2"], kinds: &[("HorizontalPodAutoscaler", NoBearing)] },
    Group { name: "policy", versions: &["v1"], kinds: &[("PodDisruptionBudget", NoBearing)] },
    Group {
        name: "networking.k8s.io",
        versions: &["v1"],
        kinds: &[
            ("Ingress", Refused("use a Gateway API Gateway with HTTPRoutes")),
            ("IngressClass", NoBearing),
            ("NetworkPolicy", NoBearing),
        ],
    },
    Group {
        name: "rbac.authorization.k8s.io",
        versions: &["v1"],
        kinds: &[
            ("ClusterRole", NoBearing),
            ("ClusterRoleBinding", NoBearing),
            ("Role", NoBearing),
            ("RoleBinding", NoBearing),
        ],
    },
    Group { name: "apiextensions.k8s.io", versions: &["v1"], kinds: &[("CustomResourceDefinition", NoBearing)] },
    Group { name: "storage.k8s.io", versions: &["v1"], kinds: &[("StorageClass", NoBearing)] },
    Group { name: "scheduling.k8s.io", versions: &["v1"], kinds: &[("PriorityClass", NoBearing)] },
];

/// What is done with that kind; unknown ones are reported.
pub(crate) fn find(api_version: &Spanned<Arc<str>>, kind: &Spanned<Arc<str>>, report: &mut Report) -> Option<Standing> {
    let (group, version) = api_version.value.rsplit_once('/').unwrap_or(("", &api_version.value));
    let Some(known) = GROUPS.iter().find(|known| known.name == group) else {
        unknown_group(group, api_version, kind, report);
        return None;
    };
    let Some((_, standing)) = known.kinds.iter().find(|(name, _)| **name == *kind.value) else {
        unknown_kind(known, api_version, kind, report);
        return None;
    };
    if !known.versions.contains(&version) {
        let versions: Vec<String> = known
            .versions
            .iter()
            .map(|version| if group.is_empty() { (*version).to_owned() } else { format!("{group}/{version}") })
            .collect();
        let finding = report.add(
            Code::UnknownVersion,
            api_version.span,
            format!("`{}` is not a version in which `{}` is read", shortened(&api_version.value), kind.value),
        );
        finding.help(format!("write apiVersion: {}", versions.join(" or ")));
        return None;
    }
    Some(*standing)
}

fn unknown_group(group: &str, api_version: &Spanned<Arc<str>>, kind: &Spanned<Arc<str>>, report: &mut Report) {
    let homes: Vec<&Group> =
        GROUPS.iter().filter(|home| home.kinds.iter().any(|(name, _)| **name == *kind.value)).collect();
    let finding = report.add(
        Code::UnknownKind,
        api_version.span,
        format!("no kind of the group \"{}\" is known", shortened(group)),
    );
    if let Some(near) = spelling::nearest(group, GROUPS.iter().map(|known| known.name)).filter(|near| !near.is_empty())
    {
        finding.say(format!("did you mean `{near}`?")).help(format!("write the group as `{near}`"));
    } else if let Some(home) = homes.first() {
        let version = home.versions.first().copied().unwrap_or_default();
        let full = if home.name.is_empty() { version.to_owned() } else { format!("{}/{version}", home.name) };
        finding.help(format!("a `{}` is known as apiVersion: {full}", kind.value));
    } else {
        finding.help("move objects that are not for the mesh out of the directory");
    }
}

fn unknown_kind(group: &Group, api_version: &Spanned<Arc<str>>, kind: &Spanned<Arc<str>>, report: &mut Report) {
    let finding = report.add(
        Code::UnknownKind,
        kind.span,
        format!("`{}` has no kind `{}`", shortened(&api_version.value), shortened(&kind.value)),
    );
    if let Some(home) = GROUPS.iter().find(|home| home.kinds.iter().any(|(name, _)| **name == *kind.value)) {
        let version = home.versions.first().copied().unwrap_or_default();
        let full = if home.name.is_empty() { version.to_owned() } else { format!("{}/{version}", home.name) };
        finding.help(format!("a `{}` belongs to apiVersion: {full}", kind.value));
        return;
    }
    let here = group.kinds.iter().map(|(name, _)| *name);
    let everywhere = GROUPS.iter().flat_map(|group| group.kinds.iter().map(|(name, _)| *name));
    match spelling::nearest(&kind.value, here).or_else(|| spelling::nearest(&kind.value, everywhere)) {
        Some(near) => {
            finding.say(format!("did you mean `{near}`?")).help(format!("write `kind: {near}`"));
        }
        None => {
            finding.help("move objects that are not for the mesh out of the directory");
        }
    }
}

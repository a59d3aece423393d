//! Every code, its severity and its page.
//!
//! One table, so that a code without an explanation cannot be written. Numbers are promises to scripts and runbooks: a code is
//! never given to something else. P00 is about files, P01 about fields, P02 about what is named, P03 about rules.

use std::fmt;

use super::Severity;

macro_rules! codes {
    ($($variant:ident $text:literal $severity:ident $page:literal;)*) => {
        /// What kind of finding it is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $page] $variant,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// As written in messages, e.g. `P0106`.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $text,)* }
            }

            /// How bad findings of this kind are.
            pub fn severity(self) -> Severity {
                match self { $(Code::$variant => Severity::$severity,)* }
            }

            fn page(self) -> &'static str {
                match self { $(Code::$variant => $page,)* }
            }
        }
    };
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The page of a code such as `P0106` (upper or lower case).
pub fn explain(code: &str) -> Option<&'static str> {
    let code = code.trim();
    Code::ALL.iter().find(|known| known.as_str().eq_ignore_ascii_case(code)).map(|known| known.page())
}

codes! {
    FileTooLarge "P0001" Error "A file is larger than 4 MiB.\n\nPolicies are small; a file of that size is usually a log or a dump that landed in the directory. If it really is policy, split it: the compiler reads any number of files.";
    NotUtf8 "P0002" Error "A file is not UTF-8.\n\nThe message names the first byte that is wrong. Editors on Windows may save UTF-16 or a code page: save as UTF-8. A compressed or binary file does not belong into the directory.";
    BadYaml "P0003" Error "A document is not YAML.\n\nThe position is where the parser could not go on; the cause is often a line earlier: an open quote or bracket, a tab, or a line indented less than its neighbours. Other documents of the file are still checked. When the text ends at the position, the file was probably cut off while it was written or copied.";
    TooComplex "P0004" Error "A document or file asks for more than the compiler grants: 50,000 values in a document (values copied by an alias count each time), 48 levels of nesting, 40,000 documents in a file, 500,000 routes after every host got every rule.\n\nThe limits stop a few lines from filling the memory. Split the object, write the aliases out, or name fewer hosts in one object.";
    DuplicateKey "P0005" Error "A field is written twice in the same map.\n\nYAML forbids it, and parsers that let it pass disagree on which one counts. Keep one. A common cause is a second `http:` or `metadata:` pasted below the first.";
    TooManyObjects "P0006" Error "There are more than 200,000 objects in one directory.\n\nSplit the mesh, or look for a program that writes the same objects over and over.";
    UnsupportedYaml "P0007" Error "The document uses a feature of YAML that policies do not need: a tag (`!!binary`), a merge key (`<<`), a key that is not text, or an alias to a value that contains it.\n\nWrite the fields out. Plain anchors and aliases are fine.";
    Truncated "P0008" Error "The last line of a file has no line break.\n\nA file that is being written or was cut off ends in the middle of a line, and `weight: 1` may be the beginning of `weight: 100`. A configuration must never be applied in part, so the compiler wants to see the end: finish the file with a line break.";
    TooManyFindings "P0009" Error "A file has more than 200 findings and the rest is not shown.\n\nMend the first ones and run again; one wrong indentation often explains all of them.";
    EmptyFile "P0010" Error "A file holds nothing, not even a comment.\n\nThat is what a file looks like while it is being saved, or after a disk was full; taking it at its word would remove every object it held. Delete the file to remove them, or leave a comment in it.";

    UnknownKind "P0101" Error "`apiVersion` and `kind` do not name anything that is known.\n\nCheck the spelling of both: `kind` is in capitals as in `VirtualService`, `apiVersion` carries the group as in `networking.istio.io/v1`. Custom resources of other products do not belong into the directory.";
    KindNotSupported "P0102" Error "The kind is known, but this version does not implement it.\n\nIt is refused, because a policy that is accepted and not enforced is worse than none. Remove the object, or use what the message points to.";
    NoEffect "P0103" Info "The object is accepted and has no effect.\n\nWhen the mesh is read from a directory, Deployments, Secrets, ConfigMaps and the like describe things that a cluster would start or store. They may stay in the file. What runs is described by `Workload`, `WorkloadEntry` or `EndpointSlice`.";
    MissingField "P0104" Error "A field that must be there is missing or empty.\n\nThe message names the field; the place is the map it belongs to.";
    WrongType "P0105" Error "A field has a value of another type than it takes.\n\nMind that YAML takes `1.10` and `8080` for numbers and `true` for a truth value: a label or header with such a value needs quotes. A port needs a number without quotes.";
    UnknownField "P0106" Error "A field is not known at this place.\n\nThe nearest known field is suggested. A field with the right name at the wrong depth (wrong indentation) is unknown too.";
    WeightsNotHundred "P0107" Info "The weights of a split do not add up to 100.\n\nWeights are relative, so the split works: 90 and 20 give 81.8 % and 18.2 %. If percentages were meant, one of the numbers is wrong.";
    FieldNotSupported "P0108" Error "The field is known, but this version does not implement it.\n\nIt is refused rather than ignored: a timeout, retry or fault that is written but not enforced shows only in an outage. Remove the field, or use what the message points to.";
    BadName "P0109" Error "A name cannot be used.\n\nNames of objects are lower-case letters, digits, `-` and `.`, begin and end with a letter or digit and have at most 253 characters (labels of a host name 63).";
    BadRegex "P0110" Error "A regular expression cannot be used.\n\nPatterns have RE2 syntax, match the whole value, are at most 1024 characters long, and their compiled form is limited. Look-around and back-references do not exist in RE2. The message shows the position in the pattern.";
    UnknownVersion "P0111" Error "The kind is known, but not in this version of its API.\n\nThe message lists the versions that are read.";
    FieldWithoutEffect "P0112" Info "A field, or an object as a whole, is accepted and has no effect here.\n\nThe message says why. Remove it, or complete what it needs: a route without parents, for example, needs `parentRefs`.";
    BadValue "P0113" Error "A field has a value that it cannot have: out of range, not one of the words it takes, or not of the right form.\n\nThe message says what is allowed.";

    UnknownService "P0201" Error "A host or service is named that does not exist.\n\nShort names are looked up in the namespace of the object that uses them; `name.namespace` and `name.namespace.svc.cluster.local` name one in another namespace. Names outside the mesh need a ServiceEntry.";
    UnknownSubset "P0202" Error "A route names a subset that no DestinationRule defines for that host.\n\nElsewhere this is answered with 503 at run time. Define the subset, or correct its name. Put the route and the subset into the directory in one step; the order of files does not matter.";
    UnknownPort "P0203" Error "A port is named that the service does not have.\n\nThe help lists those it has. Routes name the port of the Service, not the `targetPort` of the workload.";
    PortNeeded "P0204" Error "The service has several ports, so the destination must say which one is meant.\n\nAdd `port: {number: N}` to the destination.";
    DuplicateObject "P0205" Error "The same object (kind, namespace and name) is written twice.\n\nBoth places are shown. Remove one: which of the two would count is otherwise a matter of file names.";
    DuplicateListener "P0206" Error "Two things want to listen at the same address and port.\n\nBoth places are shown. Only one process can have a socket; give each workload, application and sidecar port its own.";
    UnresolvedBackend "P0207" Warning "A backend of a route cannot be resolved; its share of requests is answered with 500, as Gateway API demands.\n\nThe kind is not Service, or the service or its port does not exist.";
    UnknownParent "P0208" Warning "A route names a parent that does not exist, so it has no effect there.\n\nParents are Gateways, or Services (`group: \"\"`, `kind: Service`) for calls inside the mesh. A missing namespace means the namespace of the route.";
    NotAttached "P0209" Warning "A route does not attach to any listener of its gateway, so it has no effect there.\n\nReasons: `sectionName` or `port` name no listener; the listener's `allowedRoutes` do not admit the route's namespace or kind; none of the route's hostnames fits the listener's hostname.";
    NotGranted "P0210" Warning "A route sends to a service of another namespace without that namespace's consent; its share of requests is answered with 500.\n\nA ReferenceGrant in the namespace of the service gives it.";
    NoEndpoints "P0211" Warning "Requests are sent to a service or subset that has no endpoints; they will be answered with 503.\n\nCompare the selector of the service, or the labels of the subset, with the labels of the workloads in the namespace of the service.";
    WildcardHost "P0212" Error "A wildcard host is not allowed here.\n\nRules of a mesh are for services that exist: name each host.";
    DuplicateSubset "P0214" Error "A subset is defined twice for one host, in one DestinationRule or in two.\n\nBoth places are shown. Keep one.";
    NameTaken "P0215" Error "Two objects of different kinds would have one identity in the mesh.\n\nA Service and a ServiceEntry, or a Workload and a WorkloadEntry, of the same name and namespace cannot be told apart. Rename one.";
    UnresolvedCertificate "P0216" Warning "A listener refers to a certificate that cannot be had.\n\nA certificate is a Secret of type `kubernetes.io/tls` with a certificate in `tls.crt` and its key in `tls.key`, both in PEM. They must fit each other, and neither may be encrypted. Roots are `ca.crt` of a ConfigMap or Secret. A listener of whose certificates none can be had is not opened (P0308).";
    CertificateNotGranted "P0217" Warning "A listener refers to a certificate of another namespace without that namespace's consent.\n\nA ReferenceGrant in the namespace of the Secret gives it: from the group `gateway.networking.k8s.io`, the kind and namespace of the gateway, to the kind `Secret`.";
    UnknownDelegate "P0218" Error "A rule delegates to a VirtualService that does not exist, or that has hosts of its own.\n\nA delegate is a VirtualService without `hosts` and `gateways`. Without a `namespace` it is looked up in that of the object that delegates. Put both into the directory in one step; the order of files does not matter.";

    CertificateExpired "P0219" Warning "A certificate has expired, or is not valid yet, so whoever is shown it refuses the connection.\n\nIt is handed out all the same, because a listener that is closed helps nobody. Put the renewed certificate with its key into the Secret: proxies show it from the next connection on, and no connection is closed for it.";
    CertificateEnds "P0220" Warning "A certificate expires within 30 days.\n\nAfterwards whoever is shown it refuses the connection. Put the renewed certificate with its key into the Secret: proxies show it from the next connection on, and no connection is closed for it. The days are counted when the files are read.";
    CertificateOfAnother "P0221" Warning "A listener with TLS serves a host that none of its certificates is for, so callers that ask for that host refuse the connection.\n\nOnly the names in the certificate's subjectAltName count; a wildcard stands for one label. Have the certificate made for that host too, refer to a further certificate, or limit the listener's `hostname`.";
    UnknownCredential "P0222" Error "A `credentialName` names a Secret that is not there, or that does not hold what is needed.\n\nIt is looked up in the namespace of the object that names it. A server's certificate and its key are `tls.crt` and `tls.key` (or `cert` and `key`), roots are `ca.crt` (or `cacert`), all in PEM. It is an error, because without it every connection would fail.";
    NoClients "P0223" Warning "A DestinationRule is for clients that do not exist, so it has no effect.\n\nA DestinationRule of the namespace of its service is for everybody, and one of `istio-system` for everybody whose service has none. One of another namespace is for the clients of that namespace alone: workloads with a sidecar, and gateways. `exportTo` limits further whose clients a rule is for. Clients that say no namespace, as gRPC without a proxy, are under the rules for everybody.";
    WeightsZero "P0301" Error "All weights of a split are zero, so there is nowhere to send a request.\n\nGive at least one destination a weight above zero. To answer without a backend, use `directResponse` or a redirect.";
    InvalidRule "P0302" Error "The parts of a rule contradict each other, or one is missing.\n\nThe message is the one that Istio or the Kubernetes API gives for the same mistake.";
    UnreachableRule "P0303" Warning "A rule can never be reached, because an earlier one takes every request.\n\nRules of a VirtualService are tried in the order in which they are written. Move the rule without conditions to the end. Of several TCPRoutes at one listener the oldest takes every connection.";
    MergedRoutes "P0304" Info "Several objects have rules for one service; they are merged.\n\nEach keeps the order of its own rules. Among the next rules of all objects the most specific is tried first: exact path, longest prefix, pattern, then method, number of headers and of query parameters; then the older object, then the name.";
    ConflictingSettings "P0305" Warning "Two DestinationRules set the same stanza (such as `loadBalancer` or `connectionPool`) for one host, or two XBackendTrafficPolicies are for one service; the older one, or the first by name, counts. A DestinationRule of the client's namespace goes before one of the service's, and that before one of `istio-system`, whole.\n\nSet it in one place.";
    NotHttp "P0306" Warning "HTTP rules are written for a service none of whose ports speaks HTTP, so they have no effect.\n\nA port speaks HTTP when its `appProtocol` or the beginning of its name says so: `http`, `http2` or `grpc`, as in `name: http-api`.";
    KeepAliveOff "P0307" Warning "`maxRequestsPerConnection: 1` opens a new connection for every request.\n\nThat costs a round trip each time and, under load, ports. It is rarely meant; leave it out to keep connections.";
    ListenerNotServed "P0308" Warning "A gateway's listener is not opened.\n\nHTTP, HTTPS, TLS and TCP are served; UDP is not yet. A listener with TLS needs `tls` with a certificate that can be had (P0216, P0217), and, where callers must show a certificate, the roots that it leads to.";
    ConflictingListener "P0309" Error "Two listeners of a gateway cannot be told apart.\n\nListeners of one port need different hostnames; names of listeners must be unique.";
    PortNotCarried "P0310" Info "A port that is not TCP is not carried by the mesh; clients reach it directly.\n\nNothing has to be done. UDP and SCTP ports, DNS for example, may stay in the Service.";
    NeverFires "P0321" Warning "A fault of a VirtualService has no `percentage`, so it never fires.\n\nIstio takes the missing percentage for zero, and the same file does the same here. Add `percentage: {value: 100}` for every request, or the share that is meant; or remove the fault.";
    RepeatsUnsafe "P0322" Warning "A rule for POST, PATCH or CONNECT is tried again after the backend may have carried the request out.\n\nAn answer of 5xx or a connection that breaks says nothing about what has been done, so an order may be placed twice. Retry on `connect-failure` and `refused-stream` only, which mean that nothing was carried out; or leave `retries` out: the mesh retries by itself what was never sent.";
    Deprecated "P0323" Info "A field is read, but has a newer name or form.\n\nThe message names what to write instead. It has the effect that the message says, unless the newer field is written too.";
    NotInherited "P0324" Warning "`portLevelSettings` drop what the rest of the traffic policy sets.\n\nAs in Istio, the settings of a port replace all of the host's: `loadBalancer`, `connectionPool` and `outlierDetection` that are not written again below the port have their defaults there. Write them again, or leave the settings of the port out.";
    ListenerNotTaken "P0325" Warning "A listener, or a ListenerSet as a whole, is not taken by its gateway.\n\nA gateway takes ListenerSets only of namespaces that its `allowedListeners` admit; without it, of none. A listener that has the port and hostname of an earlier one, or another protocol on the same port, is left out: the gateway's own come first, then those of the oldest set.";
    DelegateConflict "P0326" Warning "A match of a delegate and a match of the rule that delegates to it do not go together, so the delegate's is left out there.\n\nA request has to be meant by both, and a delegate can only narrow what it is given: where both have a `uri`, a `method` or the same header, the delegate's is equal, or begins with the prefix of the other. A pattern cannot be compared; write it on one side only.";
    DelegateUnused "P0327" Warning "A VirtualService without `hosts` has no effect, because no other delegates to it.\n\nIts rules are for the hosts of whoever says `delegate` with its name and namespace. If it was meant for a service of its own, add `hosts`.";
    VersionLent "P0328" Info "A route leads to a subset that the DestinationRule for clients of one namespace does not define.\n\nThat rule replaces everybody's for those clients, whole. Elsewhere their requests would be answered with 503; here they go to the endpoints that everybody's rule gives the subset, and are sent as their own rule says. Define the subset in their rule too, if other endpoints are meant.";

    TargetNotFound "P0401" Warning "A policy is attached to something that does not exist, so it has no effect there.\n\nA target is looked up in the namespace of the policy unless it names another. A rule of a route is found by its `name`, a listener of a gateway by its own, a version by the label `version` of endpoints or as a subset of a DestinationRule.";
    TargetNotGranted "P0402" Warning "A policy is attached to something in another namespace without that namespace's consent; it has no effect there.\n\nA ReferenceGrant in the namespace of the target gives it: from the group `tidegate.io`, the kind and namespace of the policy, to the kind of the target.";
    PolicyConflict "P0403" Warning "Two policies say the same stanza for the same target; the older one, or the first by name, counts.\n\nThe stanza of the other has no effect there. Policies for targets of different size do not conflict: the most specific counts, in the order rule, route, listener, gateway, version, service, namespace, mesh. Rate limits never conflict, all of them are asked.";
    PolicyOverrides "P0404" Warning "A policy says a stanza that another dialect says for the same target; the policy counts.\n\nFor a service that is a DestinationRule, for a rule the route itself. Say it in one place.";
    StanzaNotApplicable "P0405" Warning "A stanza is attached to something that it cannot act on, so it has no effect there.\n\nA route or a gateway has retries, timeouts, sessions, faults and rate limits. How endpoints are chosen, connected to, checked and ejected is about services: attach that to a Service, a version of it, or a Namespace.";
    NobodyCounts "P0406" Warning "A rate limit is attached to a service none of whose workloads has a sidecar, so nobody counts.\n\nLimits for a service are kept where its requests arrive. Give the workloads a sidecar, or attach the limit to the route or gateway that the requests come through.";
    IdentityUnproven "P0407" Warning "A condition or key is about who the caller is, which nobody proves without mutual TLS; it holds for nobody.\n\nNarrow by `namespaces` or `labels`, or tell callers apart by a header or their address.";
    LimitShadowed "P0408" Info "A rate limit never decides, because another rule of the same object counts the same requests and refuses earlier.\n\nBoth rules have the same `match`, `key`, `scope` and `mode`. Remove the looser one, or give it what tells it apart.";
    FaultExpired "P0409" Warning "A fault has expired, so it does nothing.\n\nProxies stop it at that time by themselves. Remove the object, or give it a later `expiresAt`.";
    FaultNever "P0410" Warning "A fault happens to 0 percent of requests, which is never.\n\nRaise `percent`, or remove that part of the fault.";
    RefusesEverything "P0411" Info "A limit of zero refuses everything.\n\nAn explicit zero is honoured, where Istio takes it for unset. To have the default, leave the field out.";
    RetriesTwice "P0412" Warning "`maxRetries` is given beside a `retryBudget` and has no effect.\n\nThe budget is a share of the requests in flight and grows with them; keep one of the two.";
    SingleEndpoint "P0413" Warning "Outlier detection is set for a service with a single endpoint.\n\nThe last endpoint of a service is never ejected, so there is nothing that the stanza could do. Add endpoints, or remove it.";
    MirrorUnsafe "P0414" Info "Requests are copied that change something.\n\nThe copy is carried out too: a mirrored POST creates a second order. Narrow the rule to `GET` and `HEAD`, or let the copies go to a version with a store of its own.";
    PerTryWithoutEffect "P0415" Warning "An attempt may take as long as the whole request, so `perTry` has no effect.\n\nAn attempt must be shorter than the request for a second one to have time.";
    RetriesCutShort "P0416" Info "The attempts of a retry do not all fit into the request's timeout.\n\nWith `attempts: 3` there are up to four tries; four times `perTry` should be no longer than `request`, or the last ones are cut short.";
    VersionNotRouted "P0417" Info "A policy is attached to a version that no route sends to, so how that version is called does not matter yet.\n\nA version is called as such when a route names it: as a subset, or as `{group: tidegate.io, kind: Version}`.";
    GrpcCheckNeedsHttp2 "P0418" Warning "A gRPC health check is for a port that is called with HTTP/1.1.\n\ngRPC needs HTTP/2. Envoy refuses the cluster of such a port, and with it every call to the service; our own proxy asks by HTTP/2 anyway and takes endpoints that cannot answer for unwell. If the port does speak gRPC or HTTP/2, begin its name with `grpc` or `http2`, set its `appProtocol`, or say `h2UpgradePolicy: UPGRADE` in a DestinationRule. If not, check by `http` or `tcp`.";
}

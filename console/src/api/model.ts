// What the control plane's API says, as types. The server's side is control/src/api/model.rs and control/src/topology.
//
// Fields that an older or younger server may leave out are marked optional here, and every reader copes.

export type Window = "1m" | "10m" | "1h" | "total";
export type GraphType = "versionedApp" | "app" | "workload" | "service";
export type Health = "healthy" | "degraded" | "failing" | "idle";
export type Mtls = "mutual" | "none" | "unknown";

export interface Latency {
  p50?: number | null;
  p90?: number | null;
  p95?: number | null;
  p99?: number | null;
}

export interface Numbers {
  requests: number;
  rps: number;
  errors: number;
  error_share: number;
  health: Health;
}

export interface Node extends Numbers {
  id: string;
  kind: "app" | "workload" | "service" | "unknown" | "other" | "namespace";
  namespace: string;
  name: string;
  version?: string | null;
  workloads?: string[];
  services?: string[];
  latency_ms?: Latency | null;
}

export interface Reporter {
  requests: number;
  errors: number;
  latency_ms?: Latency | null;
}

export interface Edge extends Numbers {
  id: string;
  source: string;
  destination: string;
  protocol: "http" | "grpc" | "tcp";
  service: string;
  mtls: Mtls;
  share?: number | null;
  codes?: Record<string, number>;
  flags?: Record<string, number>;
  latency_ms?: Latency | null;
  request_bytes?: number;
  response_bytes?: number;
  connections_opened?: number;
  connections_closed?: number;
  reporters?: { source?: Partial<Reporter> | null; destination?: Partial<Reporter> | null };
}

export interface Topology {
  window: Window;
  seconds: number;
  at: string;
  since: string;
  type: GraphType;
  nodes: Node[];
  edges: Edge[];
  folded?: { edges: number; requests: number };
}

export interface SeriesPoint extends Latency {
  at: string;
  rps: number;
  error_share: number;
}

export interface Series {
  step_seconds: number;
  points: SeriesPoint[];
}

export interface Split {
  host: string;
  namespace: string;
  name: string;
  kind: string;
  route: string;
  // The gateway whose host this is; null inside the mesh.
  gateway?: string | null;
  source: string;
  destinations: SplitDestination[];
}

export interface SplitDestination {
  name: string;
  service: string;
  version?: string | null;
  desired: number;
  acknowledged: number | null;
  acknowledged_by: number;
  of: number;
  observed: number | null;
}

export interface Splits {
  generation: number;
  splits: Split[];
}

export interface Place {
  file: string;
  line: number;
  column: number;
  length?: number;
  label?: string;
  // Whether the finding is about this place, and not only explained by it. The first is, where nobody says.
  primary?: boolean;
}

export interface Finding {
  code: string;
  severity: string;
  message: string;
  help?: string | null;
  places?: Place[];
  // The first place, as `/api/v1/status` has always said it.
  file?: string;
  line?: number;
  column?: number;
}

export interface Condition {
  type: string;
  status: "True" | "False" | "Unknown";
  reason: string;
  message: string;
  path?: string;
}

export interface Policy {
  kind: string;
  namespace: string;
  name: string;
  file: string;
  line: number;
  status: string;
  conditions: Condition[];
  findings: Finding[];
}

export interface Policies {
  in_force?: boolean;
  policies: Policy[];
  files: { path: string; findings: number; in_force?: boolean }[];
  // What is about no file.
  findings?: Finding[];
}

export interface PolicyFile {
  path: string;
  text: string;
  in_force: boolean;
  // Secrets are covered with stars.
  redacted?: boolean;
  findings: Finding[];
}

export interface Answers {
  state: "SYNCED" | "STALE" | "NACKED" | "NOT_SENT";
  subscribed: number;
  wildcard?: boolean;
  sent_generation: number | null;
  acked_generation: number | null;
  nack: { message: string; age_ms: number } | null;
}

export interface Proxy {
  node: string;
  kind: "sidecar" | "gateway" | "other";
  workload: string | null;
  mode: string;
  connected_since: string;
  address: string;
  settled_generation: number;
  generation: number;
  types: Record<string, Answers>;
}

export interface Status {
  generation: number;
  config: { directory: string; state: "current" | "rejected"; since: string; files: number; diagnostics: Finding[] };
  proxies: Proxy[];
}

// Where a finding points, whichever of the two ways the server says it.
export function placesOf(finding: Finding): Place[] {
  if (finding.places?.length) return finding.places;
  if (!finding.file) return [];
  return [{ file: finding.file, line: finding.line ?? 0, column: finding.column ?? 0 }];
}

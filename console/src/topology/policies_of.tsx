// The policies that have to do with a service: those of its name, and those whose split sends to it. What acts on a given request
// in which order is the question that `tidegate explain` answers.

import type { Policies, Policy, Split } from "../api/model.ts";
import { useWords } from "../i18n/index.ts";
import { PolicyState } from "../policies/policy_state.tsx";
import { goTo } from "../state/address.ts";
import { useLive } from "../state/feed_context.tsx";
import { Link, useLocation } from "../state/location.tsx";
import { usePolled } from "../state/polled.ts";
import { Section } from "./panel.tsx";

const EVERY_SECONDS = 10;

export function PoliciesOf({ services }: { services: string[] }) {
  const t = useWords();
  const { address } = useLocation();
  const { data } = usePolled<Policies>("/api/v1/policies", EVERY_SECONDS);
  const splits = useLive().splits.data?.splits ?? [];
  const found = (data?.policies ?? []).filter((policy) => concerns(policy, services, splits));
  if (!data) return null;
  return (
    <Section name="policies" title={t("panel.policies")}>
      {found.length === 0 && <p class="quiet">{t("panel.noPolicies")}</p>}
      <ul class="policy-list">
        {found.map((policy) => (
          <li key={`${policy.kind}/${policy.namespace}/${policy.name}`}>
            <Link to={goTo(address, "policies", { file: policy.file, policy: `${policy.kind}/${policy.namespace}/${policy.name}` })}>
              {policy.kind} <b>{policy.name}</b>
            </Link>
            <PolicyState policy={policy} />
          </li>
        ))}
      </ul>
    </Section>
  );
}

export function concerns(policy: Policy, services: string[], splits: Split[]): boolean {
  return services.some((service) => {
    const [name, namespace] = service.split(".");
    if (policy.namespace === namespace && policy.name === name) return true;
    return splits.some(
      (split) =>
        split.kind === policy.kind && split.namespace === policy.namespace && split.name === policy.name &&
        (split.host === service || split.destinations.some((destination) => destination.service === service)),
    );
  });
}

// The state of an object in a word, in the terms of Gateway API, with the shape of a health.

import type { Health, Policy } from "../api/model.ts";
import { useWords } from "../i18n/index.ts";
import { HealthMark } from "../parts/health.tsx";
import { toneOf } from "./annotate.ts";

export function PolicyState({ policy }: { policy: Policy }) {
  const t = useWords();
  const health = policyHealth(policy);
  return (
    <span class={`policy-state tone-${health}`} data-policy-state={health}>
      <HealthMark health={health} word={false} /> {policy.status || t(`policy.${health}`)}
    </span>
  );
}

export function policyHealth(policy: Policy): Health {
  const refused = policy.conditions.some((condition) => condition.type !== "Ineffective" && condition.status === "False");
  const tones = policy.findings.map((finding) => toneOf(finding.severity));
  if (refused || tones.includes("failing")) return "failing";
  const ineffective = policy.conditions.some((condition) => condition.type === "Ineffective" && condition.status === "True");
  if (ineffective || tones.includes("degraded")) return "degraded";
  return policy.conditions.some((condition) => condition.status === "Unknown") ? "idle" : "healthy";
}

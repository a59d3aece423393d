// Why requests ended as they did: classes of status codes, and the proxies' own flags with what they mean.

import { count, share } from "../format.ts";
import { useWords, type Key } from "../i18n/index.ts";
import { Section } from "./panel.tsx";

const FLAGS = ["NR", "NC", "UH", "UF", "UC", "UR", "UPE", "UT", "UO", "URX", "DC", "DPE", "SI", "OM", "DI", "FI", "RL", "DO"] as const;

export function Breakdown({ codes, flags, requests }: { codes: Record<string, number>; flags: Record<string, number>; requests: number }) {
  const t = useWords();
  const sorted = Object.entries(codes).filter(([, n]) => n > 0).sort(([a], [b]) => a.localeCompare(b));
  const raised = Object.entries(flags).filter(([, n]) => n > 0).sort(([, a], [, b]) => b - a);
  if (sorted.length === 0 && raised.length === 0) return null;
  return (
    <Section name="codes" title={t("codes.title")}>
      <svg class="code-bar" width="100%" height="8" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
        {segments(sorted, requests).map(({ code, from, width }) => (
          <rect key={code} class={`code code-${code[0]}`} x={from} y="0" width={width} height="8" />
        ))}
      </svg>
      <ul class="code-list">
        {sorted.map(([code, n]) => (
          <li key={code} data-code={code}>
            <span class={`code-dot code-${code[0]}`} aria-hidden="true" />
            <b>{code}</b> {count(n)} <span class="quiet">{share(requests > 0 ? n / requests : null)}</span>
          </li>
        ))}
      </ul>
      {raised.length > 0 && (
        <ul class="flag-list">
          {raised.map(([flag, n]) => (
            <li key={flag} data-flag={flag}>
              <b>{flag}</b> <span>{meaning(flag) ? t(meaning(flag)!) : ""}</span> <span>{count(n)}</span>
            </li>
          ))}
        </ul>
      )}
    </Section>
  );
}

function segments(codes: [string, number][], requests: number): { code: string; from: number; width: number }[] {
  let from = 0;
  return codes.map(([code, n]) => {
    const width = requests > 0 ? (n / requests) * 100 : 0;
    from += width;
    return { code, from: from - width, width };
  });
}

function meaning(flag: string): Key | null {
  const known = FLAGS.find((one) => one === flag);
  return known ? `flag.${known}` : null;
}

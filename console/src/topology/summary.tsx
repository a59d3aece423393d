// What is drawn in one line, and what is not drawn: nothing is left out without a word.

import type { Topology } from "../api/model.ts";
import { count, rate, share } from "../format.ts";
import type { Aggregated } from "../graph/aggregate.ts";
import { useWords } from "../i18n/index.ts";
import { useLocation } from "../state/location.tsx";

export function Summary({ picture, topology }: { picture: Aggregated; topology: Topology }) {
  const t = useWords();
  const requests = picture.edges.reduce((sum, edge) => sum + edge.requests, 0);
  const errors = picture.edges.reduce((sum, edge) => sum + edge.errors, 0);
  const rps = picture.edges.reduce((sum, edge) => sum + edge.rps, 0);
  const hidden = topology.nodes.length - picture.of;
  const folded = topology.folded;
  return (
    <p class="summary" data-summary>
      <span>{t("summary.size", { nodes: picture.nodes.length, edges: picture.edges.length })}</span>
      <span>
        {rate(rps)} {t("unit.requestsPerSecond")}
      </span>
      <span>{t("summary.errors", { share: share(requests > 0 ? errors / requests : 0) })}</span>
      {hidden > 0 && <span data-hidden={hidden}>{t("summary.hidden", { n: hidden })}</span>}
      {folded && folded.edges > 0 && (
        <span class="summary-folded" data-folded={folded.edges} title={t("summary.foldedHelp")}>
          {t("summary.folded", { edges: count(folded.edges), requests: count(folded.requests) })}
        </span>
      )}
    </p>
  );
}

export function FoldedNotice({ picture }: { picture: Aggregated }) {
  const t = useWords();
  const { set } = useLocation();
  if (picture.level === "none") return null;
  return (
    <div class="banner" role="status" data-banner="aggregated" data-level={picture.level}>
      <span>{t(picture.level === "app" ? "aggregate.apps" : "aggregate.namespaces", { of: picture.of, n: picture.nodes.length })}</span>
      <button type="button" class="button button-small" onClick={() => set({ all: true }, "push")}>
        {t("aggregate.all", { of: picture.of })}
      </button>
    </div>
  );
}

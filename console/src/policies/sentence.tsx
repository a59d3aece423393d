// What is wrong, and how to mend it.

import type { Finding } from "../api/model.ts";
import { CLI } from "../cli.ts";
import { useWords } from "../i18n/index.ts";
import { toneOf } from "./annotate.ts";

export function Sentence({ finding }: { finding: Finding }) {
  const t = useWords();
  const tone = toneOf(finding.severity);
  return (
    <div class={`sentence tone-${tone}`}>
      <p>
        <b title={CLI.explainCode(finding)}>
          {t(`severity.${tone}`)} {finding.code}
        </b>{" "}
        {finding.message}
      </p>
      {finding.help && (
        <p class="sentence-help">
          <b>{t("policies.help")}</b> {finding.help}
        </p>
      )}
    </div>
  );
}

// A file as it stands on disk, with what is wrong under the line where it is wrong.

import { useEffect, useMemo, useRef } from "preact/hooks";
import { query } from "../api/client.ts";
import type { Policy, PolicyFile } from "../api/model.ts";
import { useWords } from "../i18n/index.ts";
import { Icon } from "../parts/icons.tsx";
import { Failure, Loading } from "../parts/notices.tsx";
import { useRead } from "../state/feed_context.tsx";
import { useLocation } from "../state/location.tsx";
import { usePolled } from "../state/polled.ts";
import { annotate, pieces, type Line, type Note } from "./annotate.ts";
import { Sentence } from "./sentence.tsx";

const EVERY_SECONDS = 3; // Where there is no live stream that tells of a file that was saved.

export function FileView({ path, policy }: { path: string; policy: Policy | null }) {
  const t = useWords();
  const { set } = useLocation();
  const { data, failure, retry } = usePolled<PolicyFile>(query("/api/v1/files", { path }), EVERY_SECONDS, useRead());
  const annotated = useMemo(() => (data ? annotate(data.path, data.text, data.findings) : null), [data]);
  const code = useRef<HTMLDivElement>(null);
  const loaded = annotated !== null;
  // Only when something else is opened: a reader's own scrolling stays.
  useEffect(() => {
    const first = code.current?.querySelector(policy && policy.findings.length === 0 ? `[data-line="${policy.line}"]` : "[data-finding]");
    first?.scrollIntoView({ block: "center" });
  }, [loaded, path, policy?.name, policy?.line]);

  return (
    <section class="file" aria-label={path} data-file-view={path}>
      <header class="file-head">
        <h2 class="mono">{path}</h2>
        <button type="button" class="icon-button" aria-label={t("panel.close")} title={`${t("panel.close")} (Esc)`} onClick={() => set({ file: "", policy: "" }, "push")}>
          <Icon name="close" />
        </button>
      </header>
      {failure && !data && <Failure failure={failure} onRetry={retry} />}
      {!data && !failure && <Loading />}
      {data && !data.in_force && (
        <div class="banner banner-failing" role="alert" data-banner="not-in-force">
          <Icon name="warning" /> {t("policies.notInForce")}
        </div>
      )}
      {data?.redacted && <p class="file-note quiet">{t("policies.redacted")}</p>}
      {policy && <Conditions policy={policy} />}
      {annotated?.elsewhere.map((finding, at) => (
        <Sentence key={at} finding={finding} />
      ))}
      {annotated && (
        <div class="code" ref={code} role="group" aria-label={t("policies.yaml")} tabIndex={0}>
          {annotated.lines.map((line) => (
            <CodeLine key={line.number} line={line} current={policy?.line === line.number} />
          ))}
        </div>
      )}
    </section>
  );
}

function CodeLine({ line, current }: { line: Line; current: boolean }) {
  return (
    <>
      <div class={`code-line ${current ? "code-line-current" : ""} ${line.notes.length > 0 ? `code-line-${line.notes[0]!.tone}` : ""}`} data-line={line.number}>
        <span class="code-number">{line.number}</span>
        <code>
          {pieces(line).map((piece, at) =>
            piece.tone ? (
              <mark key={at} class={`mark mark-${piece.tone} code-${piece.kind}`}>
                {piece.text}
              </mark>
            ) : (
              <span key={at} class={`code-${piece.kind}`}>
                {piece.text}
              </span>
            ),
          )}
        </code>
      </div>
      {line.notes.map((note, at) => (
        <NoteLine key={at} note={note} line={line.number} />
      ))}
    </>
  );
}

function NoteLine({ note, line }: { note: Note; line: number }) {
  return (
    <div class={`code-note tone-${note.tone}`} data-finding={note.finding.code} data-at={`${line}:${note.column + 1}`}>
      <span class="code-number" aria-hidden="true" />
      <div style={{ marginLeft: `min(${note.column}ch, 40%)` }}>
        {note.label && <p class="code-label">{note.label}</p>}
        {note.primary && <Sentence finding={note.finding} />}
      </div>
    </div>
  );
}

function Conditions({ policy }: { policy: Policy }) {
  return (
    <ul class="conditions" data-conditions={policy.conditions.length}>
      {policy.conditions.map((condition, at) => {
        const bad = condition.type === "Ineffective" ? condition.status === "True" : condition.status === "False";
        return (
          <li key={at} class={bad ? (condition.type === "Ineffective" ? "tone-degraded" : "tone-failing") : ""}>
            <b>{condition.type}</b> {condition.status} <span class="quiet">{condition.message || condition.reason}</span>
            {condition.path && <span class="mono quiet"> {condition.path}</span>}
          </li>
        );
      })}
    </ul>
  );
}

// What a page says when it has nothing to show: why, and what happens next.

import type { ComponentChildren } from "preact";
import type { AskFailed } from "../api/client.ts";
import { useWords } from "../i18n/index.ts";
import { Icon } from "./icons.tsx";

export function Loading() {
  const t = useWords();
  return (
    <div class="notice" role="status">
      <span class="waves" aria-hidden="true">
        <i />
        <i />
        <i />
      </span>
      <p>{t("notice.loading")}</p>
    </div>
  );
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="notice" role="status">
      <h2>{title}</h2>
      {children}
    </div>
  );
}

export function Failure({ failure, onRetry }: { failure: AskFailed; onRetry: () => void }) {
  const t = useWords();
  return (
    <div class="notice notice-failure" role="alert">
      <h2>
        <Icon name="warning" /> {failure.unreachable ? t("notice.unreachable") : failure.status === 404 ? t("notice.missing") : t("notice.refused")}
      </h2>
      <p>{failure.unreachable ? t("notice.unreachableHelp") : failure.message}</p>
      <button type="button" class="button" onClick={onRetry}>
        {t("notice.retry")}
      </button>
    </div>
  );
}

export function LostBanner({ failure, onRetry }: { failure: AskFailed | null; onRetry: () => void }) {
  const t = useWords();
  return (
    <div class="banner banner-failing" role="alert" data-banner="lost" title={failure?.message}>
      <Icon name="warning" />
      <span>
        <b>{t("notice.unreachable")}</b> {t("notice.unreachableHelp")}
      </span>
      <button type="button" class="button button-small" onClick={onRetry}>
        {t("notice.retry")}
      </button>
    </div>
  );
}

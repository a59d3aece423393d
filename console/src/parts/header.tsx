// The line on top: name, pages, state of the configuration, state of the connection, the reader's choices.

import { useEffect, useState } from "preact/hooks";
import { useWords } from "../i18n/index.ts";
import { since } from "../format.ts";
import { goTo, PAGES } from "../state/address.ts";
import { useLive } from "../state/feed_context.tsx";
import { Link, useLocation } from "../state/location.tsx";
import { change, useDark, useSettings } from "../state/settings.ts";
import { Icon } from "./icons.tsx";

export function Header({ onHelp }: { onHelp: () => void }) {
  const t = useWords();
  const { address } = useLocation();
  const { language } = useSettings();
  const dark = useDark();
  return (
    <header class="header">
      <Link to={goTo(address, "topology")} class="brand" aria-label={t("app.home")}>
        <svg width="24" height="24" viewBox="0 0 32 32" aria-hidden="true">
          <path class="brand-gate" d="M7 26V7M25 26V7" />
          <path class="brand-tide" d="M7 13c5-5 7 5 12 0 2.500-2.500 4.500-2 6 0M7 20c5-5 7 5 12 0 2.500-2.500 4.500-2 6 0" />
        </svg>
        <span>Tidegate</span>
      </Link>
      <nav aria-label={t("app.pages")}>
        {PAGES.map((page) => (
          <Link key={page} to={goTo(address, page)} aria-current={page === address.page ? "page" : undefined} data-page={page}>
            {t(`page.${page}`)}
          </Link>
        ))}
      </nav>
      <ConfigChip />
      <LinkChip />
      <div class="header-choices">
        <button type="button" class="text-button" data-language={language} lang={language === "en" ? "zh-Hans" : "en"} aria-label={t("language.switch")} onClick={() => change({ language: language === "en" ? "zh" : "en" })}>
          {language === "en" ? "中文" : "English"}
        </button>
        <button type="button" class="icon-button" data-theme-switch aria-label={dark ? t("theme.toLight") : t("theme.toDark")} title={dark ? t("theme.toLight") : t("theme.toDark")} onClick={() => change({ theme: dark ? "light" : "dark" })}>
          <Icon name={dark ? "sun" : "moon"} />
        </button>
        <button type="button" class="icon-button" aria-label={t("help.title")} title={`${t("help.title")} (?)`} onClick={onHelp}>
          <b aria-hidden="true">?</b>
        </button>
      </div>
    </header>
  );
}

// Whether what stands in the files is what the proxies are given.
function ConfigChip() {
  const t = useWords();
  const { address } = useLocation();
  const { data } = useLive().status;
  if (!data) return null;
  const rejected = data.config.state === "rejected";
  return (
    <Link to={goTo(address, "policies")} class={`chip ${rejected ? "chip-failing" : ""}`} data-config={data.config.state} title={data.config.directory}>
      {rejected && <Icon name="warning" size={14} />}
      {rejected ? t("config.rejected") : t("config.current", { generation: data.generation })}
    </Link>
  );
}

function LinkChip() {
  const t = useWords();
  const { link, at, paused, pause } = useLive();
  const now = useNow();
  const age = at === null ? "" : t("link.age", { age: since(new Date(at).toISOString(), now) });
  return (
    <button type="button" class={`chip chip-link link-${link}`} data-link={link} aria-pressed={paused} onClick={() => pause(!paused)} title={`${paused ? t("link.resume") : t("link.pause")} (P) · ${age}`}>
      <span class="dot" aria-hidden="true" />
      <span>{t(`link.${link}`)}</span>
      <Icon name={paused ? "play" : "pause"} size={12} />
    </button>
  );
}

export function useNow(): number {
  const [now, set] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => set(Date.now()), 1_000);
    return () => clearInterval(timer);
  }, []);
  return now;
}

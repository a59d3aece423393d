// The frame around every page: where one is, how the mesh is, and what the reader chose.

import { useEffect, useState } from "preact/hooks";
import { useWords } from "./i18n/index.ts";
import { Help } from "./parts/help.tsx";
import { Header } from "./parts/header.tsx";
import { LostBanner } from "./parts/notices.tsx";
import { PoliciesPage } from "./policies/page.tsx";
import { ProxiesPage } from "./proxies/page.tsx";
import { goTo, PAGES, type Page } from "./state/address.ts";
import { useLive } from "./state/feed_context.tsx";
import { useKeys } from "./state/keys.ts";
import { useLocation } from "./state/location.tsx";
import { change, useDark } from "./state/settings.ts";
import { TopologyPage } from "./topology/page.tsx";
import { TracesPage } from "./traces/page.tsx";
import { WeightsPage } from "./weights/page.tsx";

const CONTENT: Record<Page, () => preact.JSX.Element> = {
  topology: TopologyPage,
  traces: TracesPage,
  proxies: ProxiesPage,
  policies: PoliciesPage,
  weights: WeightsPage,
};

export function App() {
  const { address, go } = useLocation();
  const live = useLive();
  const dark = useDark();
  const t = useWords();
  const [help, showHelp] = useState(false);
  const Content = CONTENT[address.page];

  useEffect(() => {
    document.title = `${t(`page.${address.page}`)} · Tidegate`;
  }, [address.page, t]);
  useKeys({
    "?": () => showHelp(true),
    t: () => change({ theme: dark ? "light" : "dark" }),
    p: () => live.pause(!live.paused),
    ...Object.fromEntries(PAGES.map((page, at) => [String(at + 1), () => go(goTo(address, page))])),
  });

  return (
    <div class="shell">
      <a class="skip" href="#main">
        {t("app.skip")}
      </a>
      <Header onHelp={() => showHelp(true)} />
      {live.link === "lost" && <LostBanner failure={live.topology.failure} onRetry={live.retry} />}
      <main id="main" tabIndex={-1} class={`page page-${address.page}`}>
        <Content />
      </main>
      {help && <Help onClose={() => showHelp(false)} />}
    </div>
  );
}

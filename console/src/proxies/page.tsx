// Which proxy holds which configuration: for each type what was sent and what was acknowledged, and why one refused it. Those in
// trouble come first.

import type { Answers, Health, Proxy } from "../api/model.ts";
import { CLI } from "../cli.ts";
import { since, span } from "../format.ts";
import { useWords } from "../i18n/index.ts";
import { TextField } from "../parts/choice.tsx";
import { Command } from "../parts/command.tsx";
import { HealthMark } from "../parts/health.tsx";
import { useNow } from "../parts/header.tsx";
import { Empty, Failure, Loading } from "../parts/notices.tsx";
import { useLive } from "../state/feed_context.tsx";
import { useKeys } from "../state/keys.ts";
import { useLocation } from "../state/location.tsx";
import { fleet, healthOfAnswers, healthOfProxy, trouble } from "./fleet.ts";

export function ProxiesPage() {
  const t = useWords();
  const live = useLive();
  const { address, set } = useLocation();
  const { data, failure } = live.status;
  useKeys({ "/": () => document.querySelector<HTMLInputElement>("input[name=proxy]")?.focus() });

  if (!data) return failure ? <Failure failure={failure} onRetry={live.retry} /> : <Loading />;
  if (data.proxies.length === 0) return <Empty title={t("proxies.none")}><p>{t("proxies.noneHelp")}</p><Command line="tidegate-proxy --xds 127.0.0.1:15010 --node NAME.NAMESPACE --admin 127.0.0.1:15000" /></Empty>;
  const { types, counts } = fleet(data.proxies);
  const shown = data.proxies
    .filter((proxy) => `${proxy.node} ${proxy.workload ?? ""} ${proxy.address}`.toLowerCase().includes(address.proxy.toLowerCase()))
    .filter((proxy) => address.namespaces.length === 0 || address.namespaces.some((namespace) => proxy.workload?.startsWith(`${namespace}/`)))
    .sort((a, b) => trouble(b) - trouble(a) || a.node.localeCompare(b.node));
  return (
    <>
      <div class="toolbar">
        <TextField label={t("filter.find")} name="proxy" value={address.proxy} onInput={(proxy) => set({ proxy })} />
        <p class="counts" data-counts>
          {(["healthy", "degraded", "failing"] as const).map((health) => (
            <span key={health}>
              <HealthMark health={health} word={false} /> <b>{counts[health]}</b> {t(`proxies.${health}`)}
            </span>
          ))}
          <span class="quiet">{t("proxies.generation", { n: data.generation })}</span>
        </p>
      </div>
      <div class="scroll">
        <ProxyTable proxies={shown} types={types} />
        <div class="page-command">
          <Command line={CLI.status()} />
        </div>
      </div>
    </>
  );
}

function ProxyTable({ proxies, types }: { proxies: Proxy[]; types: string[] }) {
  const t = useWords();
  const now = useNow();
  return (
    <table class="table proxies" data-proxies={proxies.length}>
      <caption class="unseen">{t("page.proxies")}</caption>
      <thead>
        <tr>
          <th scope="col">{t("proxies.proxy")}</th>
          <th scope="col">{t("proxies.connected")}</th>
          {types.map((type) => (
            <th scope="col" key={type} title={t("proxies.typeHelp")}>
              {type}
            </th>
          ))}
          <th scope="col" class="numeric">
            {t("proxies.settled")}
          </th>
        </tr>
      </thead>
      {proxies.map((proxy) => (
        <tbody key={proxy.node + proxy.address} data-proxy={proxy.node} data-health={healthOfProxy(proxy)}>
          <tr>
            <th scope="row">
              <HealthMark health={healthOfProxy(proxy)} word={false} /> {proxy.node}
              <span class="quiet">
                {" "}
                {t(`proxyKind.${proxy.kind}`)} · {proxy.mode} · <span class="mono">{proxy.address}</span>
              </span>
            </th>
            <td title={proxy.connected_since}>{since(proxy.connected_since, now)}</td>
            {types.map((type) => (
              <td key={type}>
                <TypeCell answers={proxy.types[type]} />
              </td>
            ))}
            <td class="numeric">
              {proxy.settled_generation}
              <span class="quiet"> / {proxy.generation}</span>
            </td>
          </tr>
          {Object.entries(proxy.types).map(([type, answers]) =>
            answers.nack ? (
              <tr key={type} class="nack" data-nack={type}>
                <td colSpan={types.length + 3}>
                  <b>{t("proxies.nack", { type, age: span(answers.nack.age_ms / 1000) })}</b> <span class="mono">{answers.nack.message}</span>
                </td>
              </tr>
            ) : null,
          )}
        </tbody>
      ))}
    </table>
  );
}

function TypeCell({ answers }: { answers: Answers | undefined }) {
  const t = useWords();
  if (!answers) return <span class="quiet">–</span>;
  const health: Health = healthOfAnswers(answers);
  return (
    <span class={`sync tone-${health}`} data-state={answers.state}>
      <HealthMark health={health} word={false} /> {t(`sync.${answers.state}`)}{" "}
      {answers.state !== "NOT_SENT" && (
        <span class="quiet" title={t("proxies.typeHelp")}>
          {answers.sent_generation ?? "–"}/{answers.acked_generation ?? "–"}
        </span>
      )}
    </span>
  );
}

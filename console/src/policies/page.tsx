// What was asked for in files, whether it is in force, and what there is to say about it.

import { CLI } from "../cli.ts";
import type { Policies, Policy } from "../api/model.ts";
import { useWords } from "../i18n/index.ts";
import { Command } from "../parts/command.tsx";
import { Icon } from "../parts/icons.tsx";
import { Empty, Failure, Loading } from "../parts/notices.tsx";
import { useLive, useRead } from "../state/feed_context.tsx";
import { useKeys } from "../state/keys.ts";
import { Link, useLocation } from "../state/location.tsx";
import { usePolled } from "../state/polled.ts";
import { FileView } from "./file_view.tsx";
import { Sentence } from "./sentence.tsx";
import { PolicyState } from "./policy_state.tsx";

const EVERY_SECONDS = 4; // What became of an object at the proxies, and files where there is no live stream that tells of them.

export const policyId = (policy: Pick<Policy, "kind" | "namespace" | "name">) => `${policy.kind}/${policy.namespace}/${policy.name}`;

export function PoliciesPage() {
  const t = useWords();
  const { address, set } = useLocation();
  const { data, failure, retry } = usePolled<Policies>("/api/v1/policies", EVERY_SECONDS, useRead());
  const directory = useLive().status.data?.config.directory ?? "";
  useKeys({ Escape: () => address.file && set({ file: "", policy: "" }, "push") });

  if (failure && !data) return <Failure failure={failure} onRetry={retry} />;
  if (!data) return <Loading />;
  if (data.policies.length === 0 && data.files.length === 0) return <Empty title={t("policies.none")}><p>{t("policies.noneHelp")}</p></Empty>;
  const chosen = data.policies.find((policy) => policyId(policy) === address.policy);
  return (
    <div class={`columns ${address.file ? "columns-open" : ""}`}>
      <div class="scroll">
        {data.in_force === false && (
          <div class="banner banner-failing" role="alert" data-banner="rejected">
            <Icon name="warning" /> {t("policies.rejected")}
          </div>
        )}
        {data.findings?.map((finding, at) => <Sentence key={at} finding={finding} />)}
        <PolicyTable policies={data.policies} />
        <FileList files={data.files} />
        <div class="page-command">
          <Command line={chosen ? CLI.object(chosen) : directory ? CLI.check({ directory }) : CLI.status()} />
        </div>
      </div>
      {address.file && <FileView key={address.file} path={address.file} policy={chosen ?? null} />}
    </div>
  );
}

const RANK = { failing: 0, degraded: 1, note: 2 } as const;

function PolicyTable({ policies }: { policies: Policy[] }) {
  const t = useWords();
  const { address } = useLocation();
  const wanted = policies.filter((policy) => address.namespaces.length === 0 || address.namespaces.includes(policy.namespace));
  const trouble = (policy: Policy) => Math.min(RANK.note, ...policy.findings.map((finding) => (finding.severity === "error" ? RANK.failing : finding.severity === "warning" ? RANK.degraded : RANK.note)));
  const sorted = [...wanted].sort((a, b) => trouble(a) - trouble(b) || policyId(a).localeCompare(policyId(b)));
  return (
    <table class="table policies" data-policies={sorted.length}>
      <caption class="unseen">{t("page.policies")}</caption>
      <thead>
        <tr>
          <th scope="col">{t("policies.object")}</th>
          <th scope="col">{t("policies.status")}</th>
          <th scope="col">{t("policies.findings")}</th>
          <th scope="col">{t("policies.file")}</th>
        </tr>
      </thead>
      <tbody>
        {sorted.map((policy) => (
          <tr key={policyId(policy)} data-policy={policyId(policy)} data-selected={policyId(policy) === address.policy}>
            <th scope="row">
              <Link to={{ ...address, file: policy.file, policy: policyId(policy) }}>
                <span class="quiet">{policy.kind}</span> {policy.namespace && <span class="quiet">{policy.namespace}/</span>}
                <b>{policy.name}</b>
              </Link>
            </th>
            <td>
              <PolicyState policy={policy} />
            </td>
            <td>{policy.findings.length > 0 ? policy.findings.map((finding) => finding.message).join(" · ") : <span class="quiet">–</span>}</td>
            <td class="mono quiet">
              {policy.file}:{policy.line}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function FileList({ files }: { files: Policies["files"] }) {
  const t = useWords();
  const { address } = useLocation();
  return (
    <section class="files">
      <h2>{t("policies.files")}</h2>
      <ul>
        {files.map((file) => (
          <li key={file.path}>
            <Link to={{ ...address, file: file.path, policy: "" }} class="chip" data-file={file.path} aria-current={address.file === file.path ? "true" : undefined}>
              {file.in_force === false && <Icon name="warning" size={13} />}
              <span class="mono">{file.path}</span>
              {file.findings > 0 && <span class="badge">{file.findings}</span>}
            </Link>
          </li>
        ))}
      </ul>
    </section>
  );
}

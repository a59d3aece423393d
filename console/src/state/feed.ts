// The one live connection of the page: topology, splits and status as they change.
//
// # Why one
// A browser opens six connections to a server over HTTP/1.1, for all tabs together. So there is one stream for each page that
// is looked at, none for tabs in the background, and every part of the page reads from it.
//
// # What happens without a stream
// The same answers are asked for every few seconds, and the stream is tried again. A part that one server does not have
// leaves the others alone.

import { AskFailed, ask, query } from "../api/client.ts";
import type { Splits, Status, Topology } from "../api/model.ts";

const POLL_SECONDS = 2; // The stream's own pace.
const LOST_POLL_SECONDS = 3; // A control plane that starts again is seen within this.
const REOPEN_SECONDS = 15; // A server that refuses streams (too many, or too old) is asked again, but not in a hurry.

export interface Question {
  window: string;
  type: string;
  namespaces: string[];
}

export type LinkState = "connecting" | "live" | "polling" | "paused" | "lost";

export interface Answer<T> {
  data: T | null;
  failure: AskFailed | null;
}

export interface FeedState {
  link: LinkState;
  topology: Answer<Topology>;
  splits: Answer<Splits>;
  status: Answer<Status>;
  // When something last arrived, in the browser's time.
  at: number | null;
}

type Part = "topology" | "splits" | "status";

export class Feed {
  state: FeedState = {
    link: "connecting",
    topology: { data: null, failure: null },
    splits: { data: null, failure: null },
    status: { data: null, failure: null },
    at: null,
  };
  private listeners = new Set<() => void>();
  private question: Question | null = null;
  private stream: EventSource | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private reopenAt = 0;
  private asking: AbortController | null = null;
  // Another number after each close: what was begun before then begins nothing more.
  private round = 0;
  private paused = false;
  private hidden = false;

  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }

  // Another question drops the answer to the old one, so that no picture is shown under a wrong heading.
  ask(question: Question): void {
    const changed = JSON.stringify(question) !== JSON.stringify(this.question);
    if (!changed) return;
    this.question = question;
    this.update({ topology: { data: null, failure: null } });
    this.restart(true);
  }

  pause(paused: boolean): void {
    if (paused === this.paused) return;
    this.paused = paused;
    this.restart(false);
  }

  hide(hidden: boolean): void {
    if (hidden === this.hidden) return;
    this.hidden = hidden;
    this.restart(false);
  }

  // Asks now, whatever the timers say.
  retry(): void {
    this.restart(true);
  }

  close(): void {
    this.round += 1;
    this.stream?.close();
    this.stream = null;
    this.asking?.abort();
    clearTimeout(this.timer);
  }

  private restart(askOnce: boolean): void {
    this.close();
    if (!this.question) return;
    if (this.paused) {
      this.update({ link: "paused" });
      // A question asked while paused is still answered, once.
      if (askOnce) void this.poll();
      return;
    }
    if (this.hidden) return;
    this.update({ link: "connecting" });
    this.open();
    this.pollOn();
  }

  private pollOn(): void {
    const round = this.round;
    void this.poll().finally(() => {
      if (round === this.round) this.schedule();
    });
  }

  private open(): void {
    const stream = new EventSource(query("/api/v1/stream", { ...this.parameters() }));
    this.stream = stream;
    this.reopenAt = Date.now() + REOPEN_SECONDS * 1000;
    stream.onopen = () => this.update({ link: "live" });
    stream.onerror = () => {
      if (this.stream === stream && this.state.link === "live") this.update({ link: "connecting" });
    };
    for (const part of ["topology", "splits", "status"] as const) {
      stream.addEventListener(part, (event) => {
        if (this.stream === stream) this.take(part, (event as MessageEvent<string>).data);
      });
    }
  }

  private take(part: Part, text: string): void {
    try {
      this.update({ link: "live", at: Date.now(), [part]: { data: JSON.parse(text), failure: null } });
    } catch {
      // A torn event: the next one comes in two seconds.
    }
  }

  private schedule(): void {
    if (this.paused || this.hidden) return;
    clearTimeout(this.timer);
    const wait = this.state.link === "lost" ? LOST_POLL_SECONDS : POLL_SECONDS;
    this.timer = setTimeout(() => {
      const open = this.stream?.readyState === EventSource.OPEN;
      if (this.stream?.readyState === EventSource.CLOSED && Date.now() >= this.reopenAt) this.open();
      if (open) this.schedule();
      else this.pollOn();
    }, wait * 1000);
  }

  private async poll(): Promise<void> {
    this.asking?.abort();
    const asking = new AbortController();
    this.asking = asking;
    const one = async <T>(part: Part, path: string): Promise<AskFailed | null> => {
      try {
        const data = await ask<T>(path, asking.signal);
        if (!asking.signal.aborted) this.update({ at: Date.now(), [part]: { data, failure: null } });
        return null;
      } catch (cause) {
        if (asking.signal.aborted) return null;
        const failure = cause instanceof AskFailed ? cause : new AskFailed(String(cause), null);
        this.update({ [part]: { data: this.state[part].data, failure } });
        return failure;
      }
    };
    const failures = await Promise.all([
      one("topology", query("/api/v1/topology", this.parameters())),
      one("splits", "/api/v1/splits"),
      one("status", "/api/v1/status"),
    ]);
    if (asking.signal.aborted || this.paused || this.stream?.readyState === EventSource.OPEN) return;
    this.update({ link: failures.every((failure) => failure?.unreachable) ? "lost" : "polling" });
  }

  private parameters(): Record<string, string> {
    const { window, type, namespaces } = this.question ?? { window: "1m", type: "versionedApp", namespaces: [] };
    return { window, type, namespace: namespaces.join(",") };
  }

  private update(part: Partial<FeedState>): void {
    this.state = { ...this.state, ...part };
    for (const listener of this.listeners) listener();
  }
}

// An answer that is asked for once, or again and again while somebody looks.

import { useCallback, useEffect, useState } from "preact/hooks";
import { AskFailed, ask } from "../api/client.ts";

const RETRY_SECONDS = 3; // After a failure; somebody who starts the control plane again should not have to press a key.

export interface Polled<T> {
  data: T | null;
  failure: AskFailed | null;
  loading: boolean;
  retry(): void;
}

// `path` null asks nothing. What was known stays while it is asked again, and goes when something else is asked. When `news` differs it
// is asked at once, whatever the seconds say.
export function usePolled<T>(path: string | null, everySeconds?: number, news?: string): Polled<T> {
  const [state, set] = useState<{ path: string | null; data: T | null; failure: AskFailed | null }>({ path, data: null, failure: null });
  const [round, again] = useState(0);

  useEffect(() => {
    if (path === null) return undefined;
    const asking = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const turn = async () => {
      let wait = everySeconds;
      try {
        const data = await ask<T>(path, asking.signal);
        set({ path, data, failure: null });
      } catch (cause) {
        if (asking.signal.aborted) return;
        const failure = cause instanceof AskFailed ? cause : new AskFailed(String(cause), null);
        set((old) => ({ path, data: old.path === path ? old.data : null, failure }));
        if (failure.unreachable) wait = RETRY_SECONDS;
      }
      if (wait !== undefined && !asking.signal.aborted) timer = setTimeout(() => void turn(), wait * 1000);
    };
    void turn();
    return () => {
      asking.abort();
      clearTimeout(timer);
    };
  }, [path, everySeconds, news, round]);

  const current = state.path === path ? state : { data: null, failure: null };
  const retry = useCallback(() => again((n) => n + 1), []);
  return { data: current.data, failure: current.failure, loading: path !== null && !current.data && !current.failure, retry };
}

// Gives the page's one feed to whoever reads from it, with the question that the address asks.

import { createContext, type ComponentChildren } from "preact";
import { useContext, useEffect, useMemo, useState } from "preact/hooks";
import { Feed, type FeedState } from "./feed.ts";
import { useLocation } from "./location.tsx";

export interface Live extends FeedState {
  paused: boolean;
  pause(paused: boolean): void;
  retry(): void;
}

const Context = createContext<Live | null>(null);

export function FeedProvider({ children }: { children: ComponentChildren }) {
  const { address } = useLocation();
  const feed = useMemo(() => new Feed(), []);
  const [state, show] = useState(feed.state);
  const [paused, setPaused] = useState(false);

  useEffect(() => {
    const stop = feed.subscribe(() => show(feed.state));
    const visibility = () => feed.hide(document.hidden);
    document.addEventListener("visibilitychange", visibility);
    return () => {
      stop();
      document.removeEventListener("visibilitychange", visibility);
      feed.close();
    };
  }, [feed]);

  const namespaces = address.namespaces.join(",");
  useEffect(() => {
    feed.ask({ window: address.window, type: address.type, namespaces: address.namespaces });
  }, [feed, address.window, address.type, namespaces]);
  useEffect(() => feed.pause(paused), [feed, paused]);

  const live = useMemo(() => ({ ...state, paused, pause: setPaused, retry: () => feed.retry() }), [state, paused, feed]);
  return <Context.Provider value={live}>{children}</Context.Provider>;
}

// Another text whenever the control plane has read the files anew.
export function useRead(): string {
  const status = useLive().status.data;
  return status ? `${status.generation} ${status.config.state} ${status.config.since}` : "";
}

export function useLive(): Live {
  const value = useContext(Context);
  if (!value) throw new Error("useLive stands outside FeedProvider");
  return value;
}

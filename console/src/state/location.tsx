// The address as state: components read it, change it, and the browser's own buttons work.

import { createContext, type ComponentChildren } from "preact";
import { useCallback, useContext, useEffect, useMemo, useState } from "preact/hooks";
import { format, parse, type Address } from "./address.ts";

export interface Location {
  address: Address;
  // A step that the browser's back button undoes.
  go(address: Address): void;
  // A choice within the page. Typing replaces, so that "back" does not undo single letters.
  set(change: Partial<Address>, how?: "push" | "replace"): void;
}

const Context = createContext<Location | null>(null);

export function LocationProvider({ children }: { children: ComponentChildren }) {
  const [address, show] = useState(() => parse(location.pathname, location.search));

  useEffect(() => {
    const listener = () => show(parse(location.pathname, location.search));
    addEventListener("popstate", listener);
    return () => removeEventListener("popstate", listener);
  }, []);

  const go = useCallback((next: Address, how: "push" | "replace" = "push") => {
    const url = format(next);
    if (url !== location.pathname + location.search) {
      if (how === "push") history.pushState(null, "", url);
      else history.replaceState(null, "", url);
    }
    show(next);
  }, []);
  const set = useCallback(
    (change: Partial<Address>, how: "push" | "replace" = "replace") => go({ ...parse(location.pathname, location.search), ...change }, how),
    [go],
  );
  const value = useMemo(() => ({ address, go, set }), [address, go, set]);
  return <Context.Provider value={value}>{children}</Context.Provider>;
}

export function useLocation(): Location {
  const value = useContext(Context);
  if (!value) throw new Error("useLocation stands outside LocationProvider");
  return value;
}

interface LinkProps {
  to: Address;
  children: ComponentChildren;
  key?: string;
  class?: string;
  title?: string;
  "aria-label"?: string;
  "aria-current"?: "page" | "true";
  [data: `data-${string}`]: unknown;
}

// A real link: it can be copied, and opened in another tab.
export function Link({ to, children, ...rest }: LinkProps) {
  const { go } = useLocation();
  return (
    <a
      {...rest}
      href={format(to)}
      onClick={(event: MouseEvent) => {
        if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
        event.preventDefault();
        go(to);
      }}
    >
      {children}
    </a>
  );
}


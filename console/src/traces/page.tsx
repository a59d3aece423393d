// Traces: which there are, or one of them.

import { useLocation } from "../state/location.tsx";
import { TraceList } from "./list.tsx";
import { TraceView } from "./view.tsx";

export function TracesPage() {
  const { address } = useLocation();
  return address.item ? <TraceView id={address.item} /> : <TraceList />;
}

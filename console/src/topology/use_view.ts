// The reader's hold on the picture: wheel, drag, pinch, keys. Moves are written straight to the drawing, because a render for
// each pixel of a drag would be slower than the hand.
//
// The picture fits itself to the window only until somebody takes hold of it; then it stays until they ask.

import { useCallback, useEffect, useLayoutEffect, useRef } from "preact/hooks";
import type { RefObject } from "preact";
import type { Box } from "../graph/geometry.ts";
import type { Point } from "../graph/layout.ts";
import { fit, pan, reveal, zoom, type Size, type View } from "../graph/viewport.ts";

const FAR = 0.5; // Below this, letters of a label are smaller than five pixels.
const DRAG_PIXELS = 4; // A press that moves less is a click.
const REVEAL_MARGIN = 110;

export interface Hold {
  frame: RefObject<HTMLDivElement | null>;
  view: RefObject<View>;
  fit(): void;
  zoomBy(factor: number): void;
  reveal(point: Point, covered: number): void;
  dragged(): boolean;
}

export function useView(box: Box | null, version: number): Hold {
  const frame = useRef<HTMLDivElement | null>(null);
  const view = useRef<View>({ scale: 1, x: 0, y: 0 });
  const held = useRef(false);
  const dragging = useRef(false);
  const current = useRef(box);
  current.current = box;

  const show = useCallback((next: View) => {
    view.current = next;
    const element = frame.current;
    if (!element) return;
    const transform = `translate(${next.x} ${next.y}) scale(${next.scale})`;
    for (const layer of element.querySelectorAll("[data-moves]")) layer.setAttribute("transform", transform);
    element.dataset["zoom"] = next.scale < FAR ? "far" : "near";
    element.dataset["held"] = String(held.current);
  }, []);
  const size = (): Size => ({ width: frame.current?.clientWidth ?? 0, height: frame.current?.clientHeight ?? 0 });
  const fitNow = useCallback(() => {
    held.current = false;
    show(fit(current.current, size()));
  }, [show]);
  const zoomAt = useCallback(
    (factor: number, point?: Point) => {
      held.current = true;
      const { width, height } = size();
      show(zoom(view.current, factor, point ?? { x: width / 2, y: height / 2 }));
    },
    [show],
  );

  useLayoutEffect(() => {
    if (!held.current) show(fit(current.current, size()));
  }, [version, box === null, show]);
  // Layers that a render has made anew know nothing of the view yet.
  useLayoutEffect(() => show(view.current));
  useEffect(() => {
    const element = frame.current;
    if (!element) return undefined;
    let { width, height } = size();
    const watcher = new ResizeObserver(() => {
      const now = size();
      // It also calls once for nothing, when it begins.
      if (now.width === width && now.height === height) return;
      ({ width, height } = now);
      if (!held.current) show(fit(current.current, now));
    });
    watcher.observe(element);
    const stop = listen(element, {
      wheel: (factor, point) => zoomAt(factor, point),
      drag: (dx, dy) => {
        held.current = true;
        show(pan(view.current, dx, dy));
      },
      pressed: (far) => (dragging.current = far),
    });
    return () => {
      watcher.disconnect();
      stop();
    };
    // Without a box there is no drawing, and so nothing to listen to.
  }, [show, zoomAt, box === null]);

  return {
    frame,
    view,
    fit: fitNow,
    zoomBy: (factor) => zoomAt(factor),
    reveal: (point, covered) => {
      const { width, height } = size();
      const next = reveal(view.current, point, { width: Math.max(width - covered, 200), height }, REVEAL_MARGIN);
      if (next.x !== view.current.x || next.y !== view.current.y) show(next);
    },
    dragged: () => dragging.current,
  };
}

interface Hands {
  wheel(factor: number, point: Point): void;
  drag(dx: number, dy: number): void;
  pressed(far: boolean): void;
}

function listen(element: HTMLElement, hands: Hands): () => void {
  const fingers = new Map<number, Point>();
  let start: Point | null = null;
  const local = (event: MouseEvent): Point => {
    const { left, top } = element.getBoundingClientRect();
    return { x: event.clientX - left, y: event.clientY - top };
  };
  const wheel = (event: WheelEvent) => {
    event.preventDefault();
    const pixels = event.deltaMode === 1 ? event.deltaY * 16 : event.deltaY;
    hands.wheel(Math.exp(-pixels * (event.ctrlKey ? 0.01 : 0.0015)), local(event));
  };
  const down = (event: PointerEvent) => {
    if (event.button !== 0) return;
    fingers.set(event.pointerId, local(event));
    start = local(event);
    hands.pressed(false);
  };
  const move = (event: PointerEvent) => {
    const before = fingers.get(event.pointerId);
    if (!before || !start) return;
    const now = local(event);
    const others = [...fingers].filter(([id]) => id !== event.pointerId).map(([, point]) => point);
    fingers.set(event.pointerId, now);
    if (Math.hypot(now.x - start.x, now.y - start.y) > DRAG_PIXELS) {
      hands.pressed(true);
      // From here on it is a drag, also when the pointer leaves the picture.
      if (!element.hasPointerCapture(event.pointerId)) element.setPointerCapture(event.pointerId);
    }
    const other = others[0];
    if (other) {
      const apart = (point: Point) => Math.hypot(point.x - other.x, point.y - other.y) || 1;
      hands.wheel(apart(now) / apart(before), { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 });
    } else if (element.hasPointerCapture(event.pointerId)) {
      hands.drag(now.x - before.x, now.y - before.y);
    }
  };
  const up = (event: PointerEvent) => {
    fingers.delete(event.pointerId);
    if (fingers.size === 0) start = null;
  };
  element.addEventListener("wheel", wheel, { passive: false });
  element.addEventListener("pointerdown", down);
  element.addEventListener("pointermove", move);
  element.addEventListener("pointerup", up);
  element.addEventListener("pointercancel", up);
  return () => {
    element.removeEventListener("wheel", wheel);
    element.removeEventListener("pointerdown", down);
    element.removeEventListener("pointermove", move);
    element.removeEventListener("pointerup", up);
    element.removeEventListener("pointercancel", up);
  };
}

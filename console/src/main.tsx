// Where the console begins: styles, the reader's choices, the page.

import "uplot/dist/uPlot.min.css";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/shell.css";
import "./styles/topology.css";
import "./styles/panel.css";
import "./styles/traces.css";
import "./styles/objects.css";
import { render } from "preact";
import { App } from "./app.tsx";
import { FeedProvider } from "./state/feed_context.tsx";
import { LocationProvider } from "./state/location.tsx";
import { apply } from "./state/settings.ts";

apply();
const root = document.getElementById("console");
if (root) {
  render(
    <LocationProvider>
      <FeedProvider>
        <App />
      </FeedProvider>
    </LocationProvider>,
    root,
  );
}

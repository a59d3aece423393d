// A control plane that is made of invented answers: serves console/dist as the real one does (same base path, same CSP) and
// the API's JSON, so that the console can be developed and tested without a mesh.
//
//     node e2e/fixture.mjs [bookinfo|large|empty] [PORT]

import { createServer } from "node:http";
import { existsSync, readFileSync, statSync } from "node:fs";
import { dirname, extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { bookinfo } from "./fixture/bookinfo.mjs";
import { large } from "./fixture/large.mjs";
import { topology, series } from "./fixture/traffic.mjs";
import { files, policies, splits, status } from "./fixture/objects.mjs";
import { operations, services, trace, traces } from "./fixture/traces.mjs";

const dist = join(dirname(fileURLToPath(import.meta.url)), "../dist");
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".map": "application/json" };
const MESHES = { bookinfo, large, empty: () => ({ nodes: [], edges: [] }) };

// `failing` true: every question of the API is cut off, as if the control plane were gone. `streams` false: no live stream.
export async function startFixture({ mesh = "bookinfo", port = 0, streams = true } = {}) {
  const shape = MESHES[mesh]();
  const state = { shape, mesh, failing: false, streams, open: new Set(), asked: [] };
  const server = createServer((request, response) => {
    const url = new URL(request.url, "http://fixture");
    state.asked.push(url.pathname + url.search);
    if (url.pathname.startsWith("/api/")) api(state, url, request, response);
    else page(url, response);
  });
  await new Promise((ready) => server.listen(port, "127.0.0.1", ready));
  return {
    url: `http://127.0.0.1:${server.address().port}/console/`,
    state,
    // Ends the streams too, so that a control plane can go and come back.
    fail(failing) {
      state.failing = failing;
      if (failing) for (const stream of state.open) stream.destroy();
    },
    close: () => {
      for (const stream of state.open) stream.destroy();
      server.closeAllConnections();
      return new Promise((done) => server.close(done));
    },
  };
}

function page(url, response) {
  if (url.pathname === "/") return void response.writeHead(307, { location: "/console/" }).end();
  const name = normalize(url.pathname.replace(/^\/console\//, "")).replace(/^(\.\.\/)+/, "");
  let file = join(dist, name);
  if (!existsSync(file) || statSync(file).isDirectory()) file = join(dist, "index.html");
  response
    .writeHead(200, { "content-type": TYPES[extname(file)] ?? "application/octet-stream", "content-security-policy": "default-src 'self'", "cache-control": "no-cache" })
    .end(readFileSync(file));
}

function api(state, url, request, response) {
  if (state.failing) return void request.socket.destroy();
  if (url.pathname === "/api/v1/stream") return stream(state, url, response);
  const answer = answerTo(state, url);
  const body = JSON.stringify(answer ?? { error: `${url.pathname} is not here` });
  response.writeHead(answer === null ? 404 : 200, { "content-type": "application/json" }).end(body);
}

function answerTo(state, url) {
  const ask = (name) => url.searchParams.get(name) ?? "";
  const { pathname } = url;
  if (pathname === "/api/v1/topology") return topology(state.shape, ask);
  if (pathname === "/api/v1/topology/series") return series(state.shape, ask);
  if (pathname === "/api/v1/splits") return splits(state.mesh);
  if (pathname === "/api/v1/status") return status(state.mesh);
  if (pathname === "/api/v1/policies") return policies(state.mesh);
  if (pathname === "/api/v1/files") return files(ask("path"));
  if (pathname === "/api/services") return services();
  if (pathname === "/api/traces") return traces(url.searchParams);
  const operation = /^\/api\/services\/([^/]+)\/operations$/.exec(pathname);
  if (operation) return operations(decodeURIComponent(operation[1]));
  const one = /^\/api\/traces\/([^/]+)$/.exec(pathname);
  return one ? trace(decodeURIComponent(one[1])) : null;
}

function stream(state, url, response) {
  if (!state.streams) return void response.writeHead(503, { "content-type": "application/json" }).end('{"error":"too many streams"}');
  const ask = (name) => url.searchParams.get(name) ?? "";
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
  const send = (event, data) => response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
  const all = () => send("topology", topology(state.shape, ask));
  send("status", status(state.mesh));
  send("splits", splits(state.mesh));
  all();
  const timer = setInterval(all, 2_000);
  state.open.add(response);
  response.on("close", () => {
    clearInterval(timer);
    state.open.delete(response);
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [mesh = "bookinfo", port = "15080"] = process.argv.slice(2);
  const { url } = await startFixture({ mesh, port: Number(port) });
  console.log(`${mesh} at ${url}`);
}

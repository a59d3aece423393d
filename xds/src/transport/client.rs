//! Keeps a stream to a control plane open.
//!
//! One task owns the state machine and the connection. It never waits for its consumer in a way that matters to the
//! server: events go through a bounded queue, of which each type uses at most one place until it is concluded.
//!
//! # Why every choice has an order
//! What is ready at the same moment is taken in a fixed order, so that the same events give the same run and a simulation can
//! be repeated. Nothing that stands first can be ready for ever: commands and events are finite, they answer what was received.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codec::Streaming;
use tonic::transport::{Channel, Endpoint};

use super::codec::ClientCodec;
use super::{DELTA_PATH, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, STATE_OF_THE_WORLD_PATH, random};
use crate::ads::client::{BackOff, Client, Output};
pub use crate::ads::client::{ClientEvent, Received, Subscription, Update};
use crate::ads::wire::{Request, Response};
use crate::ads::{Mode, Node};
use crate::name::ResourceType;

/// A control plane that does not accept within this is tried again later.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Size of one response. A state-of-the-world response repeats everything: 100 000 endpoints are some 10 MiB.
pub const RESPONSE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Receive window of the stream: one response of ordinary size in one go.
const WINDOW_BYTES: u32 = 1024 * 1024;
/// Events that wait for the consumer: an update per type, and connection changes between.
const EVENTS_MAX: usize = 16;
/// Requests that wait for the connection. Each answers a response or follows a command of the consumer.
const REQUESTS_MAX: usize = 64;

/// What a client needs to know.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// `host:port`, plaintext.
    pub server: String,
    /// Who we are.
    pub node: Node,
    /// Which variant to speak.
    pub mode: Mode,
    /// Type, name and version of what is held already, e.g. from disk.
    pub held: Vec<(ResourceType, Arc<str>, Arc<str>)>,
}

/// What a client has of the world besides the clock. Tests put a script in its place.
pub trait Network: Clone + Send + Sync + 'static {
    /// Opens a connection to the endpoint's address, by its settings.
    fn dial(&self, endpoint: Endpoint) -> impl Future<Output = Result<Channel, tonic::transport::Error>> + Send;

    /// A number in `[0, 1)`, which spreads reconnects.
    fn random(&self) -> f64;
}

/// The real one.
#[derive(Clone, Copy, Debug)]
pub struct Tcp;

impl Network for Tcp {
    async fn dial(&self, endpoint: Endpoint) -> Result<Channel, tonic::transport::Error> {
        endpoint.connect().await
    }

    fn random(&self) -> f64 {
        random()
    }
}

/// Talks to the client's task, which ends when this is dropped.
#[derive(Debug)]
pub struct ClientHandle {
    /// Unbounded because the consumer must not wait; it sends one command per update or change of its own mind.
    commands: mpsc::UnboundedSender<Command>,
}

#[derive(Debug)]
enum Command {
    Subscribe(ResourceType, Subscription),
    Conclude(ResourceType, Arc<str>, Vec<(Arc<str>, String)>),
    AskAgain(ResourceType, Arc<str>),
}

impl ClientHandle {
    /// Replaces the subscription of a type.
    pub fn subscribe(&self, resource_type: ResourceType, what: Subscription) {
        self.command(Command::Subscribe(resource_type, what));
    }

    /// Answers an update: with nothing rejected it is an ACK, else a NACK that names each (resource name, reason).
    /// Resources that did not decode are rejected in any case.
    pub fn conclude(&self, resource_type: ResourceType, nonce: Arc<str>, rejected: Vec<(Arc<str>, String)>) {
        self.command(Command::Conclude(resource_type, nonce, rejected));
    }

    /// Asks for a resource that was rejected: what was missing for it is there now.
    pub fn ask_again(&self, resource_type: ResourceType, name: Arc<str>) {
        self.command(Command::AskAgain(resource_type, name));
    }

    fn command(&self, command: Command) {
        // The task outlives the handle unless its runtime is gone; then nobody listens, and nothing is lost.
        if self.commands.send(command).is_err() {
            tracing::debug!("the xDS client's task is gone");
        }
    }
}

/// Starts the client's task on the current runtime. Nothing is connected before something is subscribed to.
pub fn connect(config: ClientConfig) -> (ClientHandle, mpsc::Receiver<ClientEvent>) {
    connect_through(Tcp, config)
}

/// The same over another network.
pub fn connect_through(network: impl Network, config: ClientConfig) -> (ClientHandle, mpsc::Receiver<ClientEvent>) {
    // The consumer must never wait for the network. It says a handful of things per event, and events are bounded.
    let (commands, received) = mpsc::unbounded_channel();
    let (events, consumed) = mpsc::channel(EVENTS_MAX);
    let machine = Client::new(config.mode, &config.node, config.held);
    let task = Task { network, machine, mode: config.mode, commands: received, events, waiting: VecDeque::new() };
    // Owned by the handle: the task ends when the command channel closes.
    tokio::spawn(task.run(config.server));
    (ClientHandle { commands }, consumed)
}

struct Task<N> {
    network: N,
    machine: Client,
    mode: Mode,
    commands: mpsc::UnboundedReceiver<Command>,
    events: mpsc::Sender<ClientEvent>,
    /// Events for which the queue had no room yet.
    waiting: VecDeque<ClientEvent>,
}

/// Why a connection ended.
enum End {
    /// The handle or the consumer is gone.
    Dropped,
    /// To be tried again.
    Lost { reason: String },
}

impl<N: Network> Task<N> {
    async fn run(mut self, server: String) {
        let mut back_off = BackOff::default();
        // Until something is wanted there is nothing to say, and a server would close the silent stream.
        if !self.next_command(&mut Vec::new()).await {
            return;
        }
        loop {
            let End::Lost { reason } = self.converse(&server, &mut back_off).await else { return };
            tracing::info!(%server, %reason, "no connection to the control plane");
            self.machine.on_close();
            self.waiting.push_back(ClientEvent::Disconnected { reason });
            let until = tokio::time::Instant::now() + back_off.pause(self.network.random());
            if !self.idle_until(until).await {
                return;
            }
        }
    }

    /// One connection, from dialling to its end.
    async fn converse(&mut self, server: &str, back_off: &mut BackOff) -> End {
        let (requests, outgoing) = mpsc::channel(REQUESTS_MAX);
        let opening = open(self.network.clone(), server.to_owned(), self.mode, outgoing);
        tokio::pin!(opening);
        let mut out = Vec::new();
        // Some servers send their headers only with the first response: what is wanted must be said before.
        self.machine.on_open(&mut out);
        let mut responses = loop {
            if let Err(end) = self.act(&mut out, &requests).await {
                return end;
            }
            tokio::select! {
                biased;
                alive = self.next_command(&mut out) => if !alive { return End::Dropped },
                opened = &mut opening => match opened {
                    Ok(responses) => break responses,
                    Err(reason) => return End::Lost { reason },
                },
            }
        };
        self.waiting.push_back(ClientEvent::Connected);
        loop {
            if let Err(end) = self.act(&mut out, &requests).await {
                return end;
            }
            let has_room = self.waiting.is_empty();
            tokio::select! {
                biased;
                alive = self.next_command(&mut out) => if !alive { return End::Dropped },
                response = responses.next(), if has_room => match response {
                    Some(Ok(response)) => {
                        back_off.reset();
                        self.machine.on_response(response, &mut out);
                    }
                    Some(Err(status)) => return End::Lost { reason: format!("{:?}: {}", status.code(), status.message()) },
                    None => return End::Lost { reason: "the server ended the stream".to_owned() },
                },
            }
        }
    }

    /// Takes one command or hands one event to the consumer, then returns: with an event gone there may be room to read
    /// the next response, which only the caller can know. `false`: nobody is there any more.
    async fn next_command(&mut self, out: &mut Vec<Output>) -> bool {
        tokio::select! {
            biased;
            command = self.commands.recv() => match command {
                None => false,
                Some(Command::Subscribe(resource_type, what)) => {
                    self.machine.subscribe(resource_type, what, out);
                    true
                }
                Some(Command::Conclude(resource_type, nonce, rejected)) => {
                    self.machine.conclude(resource_type, &nonce, rejected, out);
                    true
                }
                Some(Command::AskAgain(resource_type, name)) => {
                    self.machine.ask_again(resource_type, &name, out);
                    true
                }
            },
            place = self.events.reserve(), if !self.waiting.is_empty() => match place {
                Ok(place) => {
                    if let Some(event) = self.waiting.pop_front() {
                        place.send(event);
                    }
                    true
                }
                Err(_) => false,
            },
        }
    }

    /// Between two connections: takes commands until the time has come.
    async fn idle_until(&mut self, until: tokio::time::Instant) -> bool {
        let mut out = Vec::new();
        loop {
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(until) => return true,
                alive = self.next_command(&mut out) => {
                    if !alive {
                        return false;
                    }
                    // Nothing is sent on a closed stream; updates that were queued may surface, though.
                    self.waiting.extend(out.drain(..).filter_map(|output| match output {
                        Output::Event(event) => Some(event),
                        Output::Send(_) | Output::Reset { .. } => None,
                    }));
                }
            }
        }
    }

    /// Carries out what the machine said.
    async fn act(&mut self, out: &mut Vec<Output>, requests: &mpsc::Sender<Request>) -> Result<(), End> {
        for output in out.drain(..) {
            match output {
                Output::Event(event) => self.waiting.push_back(event),
                Output::Reset { reason } => return Err(End::Lost { reason }),
                Output::Send(request) => {
                    // A server that takes no requests for this long hangs, however well it answers pings.
                    let sent = tokio::time::timeout(KEEPALIVE_INTERVAL, requests.send(request)).await;
                    let lost = |reason: &str| Err(End::Lost { reason: reason.to_owned() });
                    match sent {
                        Ok(Ok(())) => {}
                        // The connection is being torn down; its end says why, unless it never comes.
                        Ok(Err(_)) => return lost("the connection was closed"),
                        Err(_) => return lost("the server takes no requests"),
                    }
                }
            }
        }
        Ok(())
    }
}

/// Dials and opens the stream.
async fn open(
    network: impl Network,
    server: String,
    mode: Mode,
    requests: mpsc::Receiver<Request>,
) -> Result<Streaming<Response>, String> {
    let endpoint = Endpoint::from_shared(format!("http://{server}"))
        .map_err(|error| format!("{server:?} is not HOST:PORT: {error}"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES);
    let channel = network.dial(endpoint).await.map_err(|error| with_causes(&error))?;
    let mut grpc = Grpc::new(channel).max_decoding_message_size(RESPONSE_BYTES_MAX);
    grpc.ready().await.map_err(|error| with_causes(&error))?;
    let path = http::uri::PathAndQuery::from_static(match mode {
        Mode::Delta => DELTA_PATH,
        Mode::StateOfTheWorld => STATE_OF_THE_WORLD_PATH,
    });
    let request = tonic::Request::new(ReceiverStream::new(requests));
    let response = grpc.streaming(request, path, ClientCodec(mode)).await;
    Ok(response.map_err(|status| format!("{:?}: {}", status.code(), status.message()))?.into_inner())
}

/// An error with the errors below it: "transport error" alone helps nobody.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

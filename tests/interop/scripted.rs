//! A control plane inside the test: it serves what the test says, good or bad, and records what each client answers.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidegate_xds::ads::server::{ResourceSet, StreamEvent};
use tidegate_xds::ads::{Mode, Node};
use tidegate_xds::name::ResourceType;
use tidegate_xds::transport::server::{Control, Refusal, Session, serve};
use tokio::net::TcpSocket;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::harness::wait;

/// From a push to every client's answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// An orderly end waits for its clients, but not forever.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// Connections that wait to be accepted; a handful of clients reconnect at once.
const BACKLOG: u32 = 16;

/// The server.
pub(crate) struct Scripted {
    /// Where clients connect.
    pub(crate) address: SocketAddr,
    resources: watch::Sender<Arc<ResourceSet>>,
    events: Events,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

/// What the client said, in order.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<StreamEvent>>>);

impl Events {
    fn lock(&self) -> MutexGuard<'_, Vec<StreamEvent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Opener {
    resources: watch::Receiver<Arc<ResourceSet>>,
    events: Events,
}

impl Control for Opener {
    fn open(&self, _node: &Node, _mode: Mode, _peer: SocketAddr) -> Result<Session, Refusal> {
        let events = self.events.clone();
        let observer = Box::new(move |event| events.lock().push(event));
        Ok(Session { resources: self.resources.clone(), observer })
    }
}

impl Scripted {
    /// Starts it with `first`.
    pub(crate) fn start(address: SocketAddr, first: ResourceSet) -> Self {
        let mut server =
            Self { address, resources: watch::Sender::new(Arc::new(first)), events: Events::default(), running: None };
        server.resume();
        server
    }

    fn resume(&mut self) {
        let socket = TcpSocket::new_v4().expect("there are sockets");
        // The connections of the server before this one linger on the same port.
        socket.set_reuseaddr(true).expect("an option every system has");
        socket.bind(self.address).unwrap_or_else(|e| panic!("control plane on {}: {e}", self.address));
        let listener = socket.listen(BACKLOG).expect("a bound socket listens");
        let opener = Opener { resources: self.resources.subscribe(), events: self.events.clone() };
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let shutdown = async {
                stopped.await.ok();
            };
            serve(listener, Arc::new(opener), shutdown).await.expect("the control plane in the test serves");
        });
        self.running = Some((stop, task));
    }

    /// Ends every stream, and with it everything the server knew of its clients.
    pub(crate) async fn stop(&mut self) {
        let (stop, task) = self.running.take().expect("it runs");
        drop(stop);
        let ended = tokio::time::timeout(STOP_LIMIT, task).await.expect("the server ends when it is told to");
        ended.expect("the server does not panic");
    }

    /// A server without memory takes its place.
    pub(crate) fn start_again(&mut self) {
        self.events.lock().clear();
        self.resume();
    }

    /// Replaces everything it serves.
    pub(crate) fn publish(&self, next: ResourceSet) {
        self.resources.send_replace(Arc::new(next));
    }

    /// Waits until the client has answered everything of `generation`.
    pub(crate) async fn settled(&self, generation: u64) {
        let is_it = |e: &StreamEvent| matches!(e, StreamEvent::Settled { generation: g, .. } if *g == generation);
        wait::until(&format!("generation {generation} is answered"), ANSWER_LIMIT, || async {
            self.events.lock().iter().any(is_it)
        })
        .await;
    }

    /// Waits until the client refuses a resource of this type; its reason.
    pub(crate) async fn refusal(&self, wanted: ResourceType) -> String {
        let reason = |event: &StreamEvent| match event {
            StreamEvent::Nacked { resource_type, message, .. } if *resource_type == wanted => Some(message.to_string()),
            _ => None,
        };
        wait::until(&format!("the {wanted} resource is refused"), ANSWER_LIMIT, || async {
            self.events.lock().iter().any(|e| reason(e).is_some())
        })
        .await;
        self.events.lock().iter().rev().find_map(reason).expect("it was there a moment ago")
    }

    /// Why something was refused last.
    pub(crate) fn last_refusal(&self) -> String {
        let reason = |event: &StreamEvent| match event {
            StreamEvent::Nacked { message, .. } => Some(message.to_string()),
            _ => None,
        };
        self.events.lock().iter().rev().find_map(reason).unwrap_or_default()
    }

    /// How many refusals there were.
    pub(crate) fn refusals(&self) -> usize {
        self.events.lock().iter().filter(|e| matches!(e, StreamEvent::Nacked { .. })).count()
    }

    /// How many resources were sent.
    pub(crate) fn sent(&self) -> usize {
        let events = self.events.lock();
        let sent = events.iter().map(|e| if let StreamEvent::Sent { resources, .. } = e { *resources } else { 0 });
        sent.sum()
    }
}

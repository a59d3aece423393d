//! Faults that are injected on purpose: the dice, the count of requests under one, and how an abort is answered.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use tidegate_report::ResponseFlag;
use tidegate_traffic::fault::{ABORT_BODY, Abort, CompiledFault, Dice, FaultPlan};

use crate::clock;
use crate::config::registry::ListenerState;
use crate::http::call::Call;
use crate::http::head::Request;
use crate::http::rejection::Rejection;

/// A request under a fault, counted until dropped.
#[derive(Debug)]
pub(crate) struct ActiveFault(Arc<ListenerState>);

impl ActiveFault {
    fn enter(listener: &Arc<ListenerState>) -> Self {
        listener.active_faults.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(listener))
    }
}

impl Drop for ActiveFault {
    fn drop(&mut self) {
        self.0.active_faults.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What happens to a request to this cluster.
pub(crate) fn decide(
    call: &Call<'_>,
    fault: &CompiledFault,
    request: &Request<'_>,
    cluster: &str,
) -> Option<(FaultPlan, ActiveFault)> {
    if !fault.concerns(request, cluster) {
        return None;
    }
    let random = || call.worker.random();
    let dice = Dice { delay: random(), abort: random(), bandwidth: random() };
    let state = &call.listener.state;
    let since = clock::wall().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let plan = fault.decide(request, cluster, dice, since, state.active_faults.load(Ordering::Relaxed));
    if plan.delay.is_some() {
        call.flag(ResponseFlag::DelayInjected);
    }
    (!plan.is_empty()).then(|| (plan, ActiveFault::enter(state)))
}

/// The answer to an aborted request; `None`: there is none, the caller sees a reset.
pub(crate) fn rejection(abort: Abort) -> Option<Rejection> {
    let (status, grpc) = match abort {
        Abort::Http(status) => (status, None),
        Abort::Grpc(status) => (200, Some(status)),
        Abort::Reset => return None,
    };
    Some(Rejection {
        status,
        flag: ResponseFlag::FaultInjected,
        also: None,
        details: "fault_filter_abort",
        text: ABORT_BODY,
        text_after_retry: None,
        close: false,
        grpc,
        kind: Some("fault"),
    })
}

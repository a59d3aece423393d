//! The corridor: every turn that a request can take, in one place.
//!
//! What is called from here either decides or does. Decisions are the router's and the balancer's; the doing is in
//! [`super::forward`] and [`super::answer`].

use bytes::Bytes;

use super::answer;
use super::call::{Call, Ending};
use super::exchange::{Caller, Reply};
use super::forward::{Attempt, attempt};
use super::rejection::Rejection;
use crate::balance::{self, Admitted};
use crate::filter::{self, Verdict};
use crate::router::attempts::{Next, Record};
use crate::router::{self, Decision};

/// Serves one request.
pub(crate) async fn serve<C: Caller, R: Reply>(call: &Call<'_>, caller: &mut C, reply: &mut R) -> Ending {
    match filter::run(&call.chain.filters) {
        Verdict::Continue => {}
    }
    let plan = match router::decide(call) {
        Decision::Forward(plan) => plan,
        Decision::Answer { route, status, location, body } => {
            return answer::local(call, caller, reply, route, status, location, Bytes::copy_from_slice(&body)).await;
        }
        Decision::Reject(rejection) => return answer::reject(call, caller, reply, rejection).await,
    };
    let Some(_admitted) = Admitted::enter(plan.cluster) else {
        return answer::reject(call, caller, reply, Rejection::OVERFLOW).await;
    };
    let mut record = Record::default();
    loop {
        let Some(index) = balance::choose(plan.cluster, record.tried(), call.worker) else {
            return answer::reject(call, caller, reply, Rejection::NO_ENDPOINT).await;
        };
        record.count += 1;
        let attempted = Attempt { plan: &plan, index, count: record.count, may_reuse: record.may_reuse() };
        match attempt(call, caller, reply, &attempted).await {
            Ok(ending) => return ending,
            Err(failed) => match record.after(&failed, call.request.method()) {
                Next::Again => plan.cluster.state.cells.of(call.worker.index).retries.increment(),
                Next::GiveUp(Some(rejection)) => return answer::reject(call, caller, reply, rejection).await,
                Next::GiveUp(None) => return answer::gone(call),
            },
        }
    }
}

//! The corridor: every turn that a request can take, in one place.
//!
//! What is called from here either decides or does. Decisions are the router's, the filters' and the balancer's; the doing
//! is in [`super::forward`] and [`super::answer`].

use super::answer;
use super::call::{Call, Ending};
use super::exchange::{Caller, Reply, pause};
use super::forward::Attempt;
use super::rejection::Rejection;
use super::replay::Replay;
use crate::balance::{self, Wish};
use crate::filter::{self, Passed, Stop};
use crate::mirror;
use crate::pressure::Step;
use crate::router::attempts::{Next, Record};
use crate::router::{self, Decision};
use crate::telemetry::{access_log, edges};
use crate::wire::body::Source as _;

/// Serves one request.
pub(crate) async fn serve<C: Caller, R: Reply>(call: &Call<'_>, caller: &mut C, reply: &mut R) -> Ending {
    let decision = router::decide(call);
    let ending = follow(call, caller, reply, &decision).await;
    call.outcome.received.set(caller.source().passed());
    edges::record(call, &decision);
    access_log::record(call, &decision);
    call.trace.finish(call, &decision, ending);
    ending
}

/// Takes a request all the way.
async fn follow<C: Caller, R: Reply>(
    call: &Call<'_>,
    caller: &mut C,
    reply: &mut R,
    decision: &Decision<'_>,
) -> Ending {
    let view = call.view();
    let (overrides, behind) = (decision.overrides(), decision.behind());
    let mut passed = Passed::new(call, decision.subject(&view));
    if call.worker.shared.registry.pressure.is_at(Step::Shedding) {
        return answer::reject(call, caller, reply, Rejection::OVERLOAD, behind, &passed).await;
    }
    if let Err(stop) = filter::run(call, &overrides, &mut passed, caller, reply).await {
        return match stop {
            Stop::Preflight(preflight) => Box::pin(answer::preflight(call, caller, reply, preflight)).await,
            Stop::Reject(rejection) => answer::reject(call, caller, reply, rejection, behind, &passed).await,
            Stop::Reset => answer::reset(call, reply),
            Stop::Trouble(trouble) => match Rejection::of(&trouble) {
                Some(rejection) => answer::reject(call, caller, reply, rejection, behind, &passed).await,
                None => answer::gone(call),
            },
        };
    }
    let plan = match decision {
        Decision::Forward(plan) => plan,
        Decision::Answer(made) => return Box::pin(answer::local(call, caller, reply, &passed, made)).await,
        Decision::Reject(rejection, _) => {
            return answer::reject(call, caller, reply, *rejection, behind, &passed).await;
        }
    };
    let _admitted = match balance::admit(plan.cluster, call.worker) {
        Ok(admitted) => admitted,
        Err(rejection) => return answer::reject(call, caller, reply, rejection, behind, &passed).await,
    };
    let mut record = Record::new(call.worker, plan, &view);
    let mut caller = Replay::new(caller, record.keeps_body());
    mirror::copy(call, plan, &mut caller);
    loop {
        let wish = Wish { tried: record.tried(), hash: plan.hashed.hash, session: passed.session };
        let index = match balance::choose(plan.cluster, wish, call.worker) {
            Ok(index) => index,
            Err(rejection) => return answer::reject(call, &mut caller, reply, rejection, behind, &passed).await,
        };
        record.count += 1;
        call.attempt(record.count, index, plan.cluster.states.get(index).map(|endpoint| endpoint.address));
        call.trace.attempt(call, record.count);
        let attempted = match Attempt::begin(call, plan, index, &passed, &record, &caller) {
            Ok(attempt) => attempt.run(&mut caller, reply, &mut record).await,
            Err(failed) => Err(failed),
        };
        let failed = match attempted {
            Ok(ending) => return ending,
            Err(failed) => failed,
        };
        call.outcome.failed(&failed.trouble);
        let rejection = match record.after(&failed) {
            Next::Again(length) => {
                plan.cluster.state.cells.of(call.worker.index).retries.increment();
                call.trace.again(call, decision, &failed.trouble);
                caller.rewind();
                match pause(&mut caller, reply, call.alarm, length).await {
                    Ok(()) => continue,
                    Err(trouble) => Rejection::of(&trouble),
                }
            }
            Next::Reset => return answer::reset(call, reply),
            Next::GiveUp(rejection) => rejection,
        };
        return match rejection {
            Some(rejection) => answer::reject(call, &mut caller, reply, rejection, behind, &passed).await,
            None => answer::gone(call),
        };
    }
}

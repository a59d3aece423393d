//! What requests and reviews write about an endpoint at the same time.

use tidegate_traffic::outlier::Reason;

use crate::real::num::NonZeroU32;
use crate::real::sync::Arc;
use crate::{explore, together};

#[rustfmt::skip]
#[path = "../../../proxy/traffic/src/outlier/endpoint.rs"]
mod endpoint;

use endpoint::EndpointOutlier;

fn shared() -> Arc<EndpointOutlier> {
    Arc::new(EndpointOutlier::default())
}

fn enter(endpoint: &Arc<EndpointOutlier>) -> impl FnOnce() -> bool + use<> {
    let endpoint = Arc::clone(endpoint);
    move || endpoint.enter()
}

/// Of three requests to an endpoint that is back, one is the probe.
pub fn one_request_is_the_probe() {
    explore(|| {
        let endpoint = shared();
        endpoint.half_open();

        let probes = together(enter(&endpoint), enter(&endpoint), enter(&endpoint));

        assert_eq!(probes.iter().filter(|probe| **probe).count(), 1);
        assert!(endpoint.is_probing() && !endpoint.may_serve());
    });
}

/// A probe whose caller went away makes room for another, for one only, and none is under way that nobody sends.
pub fn an_abandoned_probe_makes_room_for_one() {
    explore(|| {
        let endpoint = shared();
        endpoint.half_open();
        assert!(endpoint.enter());
        let abandoned = Arc::clone(&endpoint);
        let abandon = move || {
            abandoned.abandon_probe();
            false
        };

        let probes = together(abandon, enter(&endpoint), enter(&endpoint));

        let probes = probes.iter().filter(|probe| **probe).count();
        assert!(probes <= 1);
        assert_eq!(endpoint.is_probing(), probes == 1);
    });
}

/// The limit is reached by one of those that reach it, so that one ejects.
pub fn one_failure_reaches_the_limit() {
    explore(|| {
        let endpoint = shared();
        let fail = |endpoint: &Arc<EndpointOutlier>| {
            let endpoint = Arc::clone(endpoint);
            move || endpoint.failures.reaches(NonZeroU32::new(2))
        };

        let reached = together(fail(&endpoint), fail(&endpoint), fail(&endpoint));

        assert_eq!(reached.iter().filter(|reached| **reached).count(), 1);
    });
}

/// A review between outcomes loses none of them and counts none twice.
pub fn outcomes_are_counted_once() {
    explore(|| {
        let endpoint = shared();
        let count = |endpoint: &Arc<EndpointOutlier>, success: bool| {
            let endpoint = Arc::clone(endpoint);
            move || {
                endpoint.external.count(success);
                (0, 0)
            }
        };

        let reviewed = together(count(&endpoint, true), count(&endpoint, false), || endpoint.external.take());

        let (total, successes) = reviewed[2];
        let (later, _) = endpoint.external.take();
        assert!(successes <= total);
        assert_eq!(total + later, 2);
    });
}

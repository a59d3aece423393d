//! Who is concerned, with which dice, and how fast bytes flow.

use proptest::prelude::*;
use tidegate_xds::resource::filter::{FaultAbort, FaultBandwidth, FaultDelay};
use tidegate_xds::resource::matcher::{Fraction, HeaderCondition, HeaderMatcher};

use super::*;
use crate::testing::Request;

const ALL: Fraction = Fraction { numerator: 100, denominator: 100 };
const DICE: Dice = Dice { delay: 0, abort: 0, bandwidth: 0 };

fn percent(numerator: u32) -> Fraction {
    Fraction { numerator, denominator: 100 }
}

fn delay(fixed: Option<u64>, percentage: Fraction) -> Option<FaultDelay> {
    Some(FaultDelay { fixed: fixed.map(Duration::from_millis), percentage })
}

fn abort(with: FaultAnswer, percentage: Fraction) -> Option<FaultAbort> {
    Some(FaultAbort { with, percentage })
}

fn bandwidth(kib_per_second: Option<u64>) -> Option<FaultBandwidth> {
    Some(FaultBandwidth { kib_per_second, percentage: ALL })
}

fn compile(fault: &Fault) -> CompiledFault {
    CompiledFault::compile(fault).unwrap()
}

fn plan(fault: &Fault, request: &Request) -> FaultPlan {
    compile(fault).decide(request, "reviews", DICE, 0, 0)
}

#[test]
fn delay_and_abort_have_dice_of_their_own() {
    let fault = compile(&Fault {
        delay: delay(Some(50), percent(10)),
        abort: abort(FaultAnswer::Http(503), percent(20)),
        ..Fault::default()
    });
    let with = |delay, abort| {
        let plan = fault.decide(&Request::get("/"), "c", Dice { delay, abort, bandwidth: 0 }, 0, 0);
        (plan.delay.is_some(), plan.abort)
    };

    assert_eq!(with(9, 19), (true, Some(Abort::Http(503))));
    assert_eq!(with(9, 20), (true, None));
    assert_eq!(with(10, 19), (false, Some(Abort::Http(503))));
    assert_eq!(with(10, 20), (false, None));
}

#[test]
fn an_aborted_request_has_no_answer_to_slow_down() {
    let both = Fault { abort: abort(FaultAnswer::Reset, ALL), bandwidth: bandwidth(Some(8)), ..Fault::default() };

    assert_eq!(plan(&both, &Request::get("/")), FaultPlan { abort: Some(Abort::Reset), ..FaultPlan::default() });
}

#[test]
fn a_fault_ends_at_its_second() {
    let fault = compile(&Fault {
        abort: abort(FaultAnswer::Grpc(14), ALL),
        expires_at_unix_s: Some(1_000),
        ..Fault::default()
    });
    let at = |now| fault.decide(&Request::get("/"), "c", DICE, now, 0).abort;

    assert_eq!(at(999), Some(Abort::Grpc(14)));
    assert_eq!(at(1_000), None);
}

#[test]
fn no_more_requests_than_allowed_are_under_a_fault_at_once() {
    let fault = Fault { delay: delay(Some(1), ALL), active_max: Some(2), ..Fault::default() };
    let is_hit = |active| !compile(&fault).decide(&Request::get("/"), "c", DICE, 0, active).is_empty();

    assert!(is_hit(1));
    assert!(!is_hit(2));
}

#[test]
fn only_the_requests_that_are_described_are_concerned() {
    let beta = HeaderMatcher {
        name: "x-beta".into(),
        condition: HeaderCondition::Present(true),
        invert: false,
        missing_as_empty: false,
    };
    let hit = |change: fn(&mut Fault), request: &Request, cluster: &str| {
        let mut fault = Fault { abort: abort(FaultAnswer::Http(500), ALL), ..Fault::default() };
        change(&mut fault);
        if fault.active_max == Some(7) {
            fault.headers = vec![beta.clone()];
        }
        !compile(&fault).decide(request, cluster, DICE, 0, 0).is_empty()
    };
    let plain = Request::get("/");

    assert!(hit(|f| f.active_max = Some(7), &Request::get("/").with("x-beta", "1"), "c"));
    assert!(!hit(|f| f.active_max = Some(7), &plain, "c"));
    assert!(hit(|f| f.upstream_cluster = Some("c".into()), &plain, "c"));
    assert!(!hit(|f| f.upstream_cluster = Some("c".into()), &plain, "d"));
    let nodes: fn(&mut Fault) = |f| f.downstream_nodes = vec!["n1".into(), "n2".into()];
    assert!(hit(nodes, &Request::get("/").with("x-envoy-downstream-service-node", "n2"), "c"));
    assert!(!hit(nodes, &Request::get("/").with("x-envoy-downstream-service-node", "n3"), "c"));
    assert!(!hit(nodes, &plain, "c"));
}

#[test]
fn a_caller_may_choose_its_fault_only_where_configuration_says_so() {
    let asking = Request::get("/").with(DELAY_HEADER, "70").with(ABORT_HEADER, "418").with(THROUGHPUT_HEADER, "9");
    let by_header = |with| Fault { delay: delay(None, ALL), abort: abort(with, ALL), ..Fault::default() };
    let slow = Fault { bandwidth: bandwidth(None), ..Fault::default() };

    let asked = plan(&by_header(FaultAnswer::Header), &asking);
    assert_eq!((asked.delay, asked.abort), (Some(Duration::from_millis(70)), Some(Abort::Http(418))));
    assert_eq!(plan(&slow, &asking).bandwidth, Some(Bandwidth { kib_per_second: 9 }));
    assert!(plan(&by_header(FaultAnswer::Header), &Request::get("/")).is_empty());
    let fixed = Fault { delay: delay(Some(5), ALL), ..by_header(FaultAnswer::Http(500)) };
    let unasked = plan(&fixed, &asking);
    assert_eq!((unasked.delay, unasked.abort), (Some(Duration::from_millis(5)), Some(Abort::Http(500))));
}

#[test]
fn numbers_that_make_no_sense_ask_for_nothing() {
    let fault = Fault {
        delay: delay(None, ALL),
        abort: abort(FaultAnswer::Header, ALL),
        bandwidth: bandwidth(None),
        ..Fault::default()
    };

    for bad in ["", "x", "-1", "0", "1.5", "99999999999999999999999"] {
        let asking = Request::get("/").with(DELAY_HEADER, bad).with(ABORT_HEADER, bad).with(THROUGHPUT_HEADER, bad);
        assert!(plan(&fault, &asking).is_empty(), "{bad:?}");
    }
    for status in ["199", "600", "70000"] {
        let asking = Request::get("/").with(ABORT_HEADER, status).with(ABORT_GRPC_HEADER, "7");
        assert_eq!(plan(&fault, &asking).abort, Some(Abort::Grpc(7)), "{status}");
    }
}

#[test]
fn a_callers_share_can_only_be_smaller_than_the_configured_one() {
    let fault = compile(&Fault { abort: abort(FaultAnswer::Header, percent(40)), ..Fault::default() });
    let hits = |asked: &str| {
        let request = Request::get("/").with(ABORT_HEADER, "500").with(ABORT_SHARE_HEADER, asked);
        (0..100).filter(|draw| !fault.decide(&request, "c", Dice { abort: *draw, ..DICE }, 0, 0).is_empty()).count()
    };

    assert_eq!([hits("10"), hits("0"), hits("90"), hits("x")], [10, 0, 40, 40]);
}

#[test]
fn a_speed_of_zero_is_refused_because_it_never_ends() {
    let error = CompiledFault::compile(&Fault { bandwidth: bandwidth(Some(0)), ..Fault::default() }).unwrap_err();

    assert_eq!(error.path, "response_rate_limit.fixed_limit.limit_kbps");
}

#[test]
fn a_slow_answer_flows_in_small_pieces_and_arrives_on_time() {
    let slow = Bandwidth { kib_per_second: 100 };

    assert_eq!(slow.bytes_allowed(Duration::ZERO), 100 * 1024 * 63 / 1_000);
    // A second's worth is through after a second, give or take a piece.
    let after_a_second = slow.bytes_allowed(Duration::from_secs(1));
    assert!((100 * 1024..=107 * 1024).contains(&after_a_second), "{after_a_second}");
    let due = slow.due(1_000 * 1024);
    assert!((Duration::from_millis(9_900)..=Duration::from_secs(10)).contains(&due), "{due:?}");
}

proptest! {
    #[test]
    fn when_bytes_are_due_they_are_allowed_and_a_piece_earlier_they_are_not(
        kib_per_second in 1_u64..10_000_000,
        bytes in 1_u64..10_000_000_000,
    ) {
        let slow = Bandwidth { kib_per_second };

        let due = slow.due(bytes);

        prop_assert!(slow.bytes_allowed(due + Duration::from_nanos(1)) + 1 >= bytes);
        if due > PACE {
            prop_assert!(slow.bytes_allowed(due - PACE) <= bytes);
        }
    }

    #[test]
    fn no_number_makes_the_pace_panic(kib_per_second in any::<u64>(), bytes in any::<u64>(), nanos in any::<u64>()) {
        let any = Bandwidth { kib_per_second };

        prop_assert!(any.bytes_allowed(Duration::from_nanos(nanos)) > 0);
        any.due(bytes);
    }
}

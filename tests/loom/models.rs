//! Each model in every interleaving; what it shows is said where it is written.

macro_rules! models {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            tidegate_loom::$name();
        })*
    };
}

models![
    a_larger_lease_loses_no_token,
    a_limit_is_never_exceeded_and_every_place_comes_back,
    an_abandoned_probe_makes_room_for_one,
    an_edge_that_is_let_go_of_has_been_told,
    a_smaller_lease_gives_out_no_more_than_the_larger_one,
    a_token_is_taken_once,
    a_waiter_and_a_place_that_comes_free_do_not_miss_each_other,
    a_wake_that_nobody_takes_is_passed_on,
    every_endpoint_has_a_connection_and_every_place_comes_back,
    every_turn_is_taken_once,
    one_failure_reaches_the_limit,
    one_request_is_the_probe,
    outcomes_are_counted_once,
    tokens_that_flow_in_are_taken_once,
    usage_is_reported_once,
    what_is_told_last_is_all_that_was_counted,
    what_several_workers_count_adds_up,
];

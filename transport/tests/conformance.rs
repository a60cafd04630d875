//! What every network has to give a transport: each claim is held on the simulated network, in
//! paused time, and on real UDP on loopback, in real time.
//!
//! A claim waits for what it can observe and never for time to pass; a fault that is to last does
//! so by the world's clock.

mod conformance {
    pub(crate) mod bulk;
    pub(crate) mod delivery;
    pub(crate) mod flow;
    pub(crate) mod outcomes;
    pub(crate) mod refusals;
    pub(crate) mod world;
}

/// One test for each claim and network.
macro_rules! held_on_every_network {
    ($($area:ident::$claim:ident,)*) => {
        mod simulated {
            use crate::conformance::{bulk, delivery, flow, outcomes, refusals, world};
            $(#[test] fn $claim() { world::hold(world::Kind::Simulated, $area::$claim); })*
        }
        mod loopback {
            use crate::conformance::{bulk, delivery, flow, outcomes, refusals, world};
            $(#[test] fn $claim() { world::hold(world::Kind::Loopback, $area::$claim); })*
        }
    };
}

held_on_every_network! {
    delivery::messages_arrive_in_order_on_every_lane,
    delivery::cuts_of_any_length_lose_and_repeat_nothing,
    delivery::a_session_goes_on_with_the_next_connection,
    delivery::when_both_dial_one_connection_is_kept_and_nothing_is_lost,
    delivery::a_busy_sender_loses_nothing_when_its_connection_is_replaced,
    delivery::a_flapping_connection_loses_and_repeats_nothing,
    delivery::a_way_that_is_cut_in_one_direction_loses_nothing,
    delivery::a_connection_that_one_side_has_given_up_loses_nothing,
    delivery::frames_up_to_the_limit_arrive_and_longer_ones_are_refused,
    delivery::a_long_frame_outlives_its_connection,
    delivery::five_nodes_reach_each_other,
    outcomes::a_restarted_peer_ends_the_session_and_each_unsettled_message_is_told_once,
    outcomes::rejections_reach_the_sender_with_their_reason,
    outcomes::a_receiver_that_settles_nothing_stops_its_sender_at_each_bound,
    outcomes::answers_pass_while_messages_may_not,
    outcomes::an_answer_settles_what_it_answers,
    outcomes::packets_pass_beside_the_lanes,
    outcomes::a_ping_is_answered_by_whoever_is_linked,
    outcomes::close_waits_until_all_is_settled,
    outcomes::close_ends_at_its_deadline_and_tells_what_is_open,
    flow::a_full_target_stalls_others_only_once_the_session_is_full,
    flow::a_peer_that_stops_reading_costs_its_sender_no_more_than_was_configured,
    flow::nothing_that_was_accepted_is_rejected_for_fullness,
    flow::a_paused_target_holds_up_its_own_senders_only,
    flow::a_pause_outlives_its_connection,
    bulk::long_messages_keep_their_place_and_hold_up_no_other_target,
    bulk::a_long_message_goes_on_where_it_was_cut,
    bulk::a_long_message_that_is_given_up_ends_with_its_reason,
    bulk::many_that_are_given_up_at_once_hold_up_nothing,
    bulk::more_long_messages_than_streams_all_arrive,
    bulk::a_long_answer_settles_its_question_only_as_a_whole,
    refusals::another_cluster_is_refused,
    refusals::another_authority_is_refused,
    refusals::settings_that_differ_are_refused_by_field,
    refusals::another_node_than_the_one_dialled_is_refused,
    refusals::an_incarnation_that_is_over_is_refused,
}

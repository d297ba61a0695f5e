//! The catalogue of damages: what is done to a store, and the finding that has to come of it.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::unnecessary_wraps,
    reason = "each test file compiles this module and uses a part of it"
)]

mod files;
mod graph;
pub mod store;
mod values;

use store::Damaged;

use neo4j_backup_core::check::Rule;
use neo4j_format::store::StoreFile;

/// A finding that has to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    pub rule: Rule,
    pub file: String,
    pub record: Option<u64>,
}

/// One damage; `None` where the store's format does not have what is damaged.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    pub damage: fn(&Damaged) -> Option<Expected>,
}

fn at(rule: Rule, kind: StoreFile, record: u64) -> Option<Expected> {
    Some(Expected {
        rule,
        file: kind.name().to_owned(),
        record: Some(record),
    })
}

fn of(rule: Rule, file: impl Into<String>) -> Option<Expected> {
    Some(Expected {
        rule,
        file: file.into(),
        record: None,
    })
}

macro_rules! cases {
    ($($module:ident::$name:ident,)*) => {
        /// All of them.
        pub const CASES: &[Case] = &[$(Case { name: stringify!($name), damage: $module::$name },)*];
    };
}

cases! {
    graph::node_points_to_a_deleted_relationship,
    graph::node_points_behind_the_relationships,
    graph::node_points_to_a_relationship_of_others,
    graph::node_points_into_its_chain_as_the_start,
    graph::node_points_into_its_chain_as_the_end,
    graph::start_node_is_deleted,
    graph::end_node_is_deleted,
    graph::node_forgets_its_relationships_as_the_start,
    graph::node_forgets_its_relationships_as_the_end,
    graph::node_skips_its_first_relationship_as_the_start,
    graph::node_skips_its_first_relationship_as_the_end,
    graph::type_is_deleted,
    graph::type_never_was,
    graph::start_node_is_none,
    graph::end_node_is_none,
    graph::previous_at_the_start_is_deleted,
    graph::previous_at_the_end_is_deleted,
    graph::next_at_the_start_is_deleted,
    graph::next_at_the_end_is_deleted,
    graph::previous_at_the_start_is_a_stranger,
    graph::previous_at_the_end_is_a_stranger,
    graph::next_at_the_start_is_a_stranger,
    graph::next_at_the_end_is_a_stranger,
    graph::previous_at_the_start_does_not_know_it,
    graph::previous_at_the_end_does_not_know_it,
    graph::next_at_the_start_does_not_know_it,
    graph::next_at_the_end_does_not_know_it,
    graph::halves_of_a_loop_differ,
    graph::relationships_form_a_ring,
    graph::one_relationship_is_a_ring,
    graph::node_points_to_a_deleted_property,
    graph::relationship_points_to_a_deleted_property,
    graph::graph_points_to_a_deleted_property,
    graph::node_points_into_a_property_chain,
    graph::two_nodes_share_properties,
    graph::node_and_relationship_share_properties,
    graph::node_forgets_its_properties,
    graph::previous_property_is_deleted,
    graph::next_property_is_deleted,
    graph::previous_property_does_not_know_it,
    graph::next_property_does_not_know_it,
    graph::properties_form_a_ring,
    values::key_is_deleted,
    values::key_never_was,
    values::key_comes_twice_in_a_chain,
    values::type_of_a_property_does_not_exist,
    values::type_behind_the_blocks_does_not_exist,
    values::value_of_a_property_is_illegal,
    values::string_block_is_deleted,
    values::array_block_is_deleted,
    values::string_lies_behind_the_file,
    values::string_is_empty,
    values::array_is_empty,
    values::two_properties_share_a_string,
    values::two_properties_share_an_array,
    values::block_claims_too_much,
    values::block_holds_nothing,
    values::block_is_its_own_next,
    values::next_block_is_deleted,
    values::next_block_holds_nothing,
    values::full_block_is_shortened,
    values::previous_block_is_another,
    values::block_is_forgotten,
    values::rest_of_a_string_is_forgotten,
    values::blocks_form_a_ring,
    values::text_is_cut_in_a_character,
    values::array_has_another_element_type,
    values::array_is_cut,
    values::name_of_a_type_is_cut_in_a_character,
    values::name_of_a_type_is_deleted,
    values::name_of_a_key_is_deleted,
    values::name_is_empty,
    values::two_keys_share_a_name,
    values::in_use_byte_of_a_type,
    values::in_use_byte_of_a_key,
    values::in_use_byte_of_a_block,
    files::header_record_is_not_in_use,
    files::header_is_cut,
    files::store_version_differs,
    files::store_is_missing,
    files::trailer_is_misaligned,
    files::trailer_is_of_the_other_version,
    files::trailer_is_gone,
    files::file_ends_within_a_record,
    files::block_size_is_zero,
    files::block_size_of_names_is_another,
    files::id_file_is_missing,
    files::id_file_is_sticky,
    files::id_file_is_cut,
    files::high_id_is_too_low,
    files::high_id_of_the_header_is_too_low,
    files::free_id_is_in_use,
    files::free_id_is_too_high,
    files::free_id_comes_twice,
    files::marker_is_damaged,
    files::active_log_is_missing,
    files::active_log_has_half_a_header,
    files::log_was_not_recovered,
    files::log_is_damaged,
    files::log_is_cut,
    files::log_has_another_version,
    files::logs_have_a_gap,
    files::log_is_ahead_of_the_store,
    files::version_of_the_next_log_is_taken,
    files::transaction_log_is_missing,
    files::name_of_the_transaction_log_is_missing,
    files::lucene_store_is_cut,
    files::index_config_is_damaged,
    files::index_config_is_missing,
}

//! Nodes, relationships and property chains.

use super::{
    Expected, at,
    store::{Damaged, Links, id},
};
use neo4j_backup_core::check::Rule;
use neo4j_format::store::{
    StoreFile,
    record::{Node, Pointer, RecordId, Relationship},
};

/// Source or target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Start,
    End,
}

fn node_at(side: Side, relationship: &Relationship) -> u64 {
    match side {
        Side::Start => relationship.first_node.unwrap().0,
        Side::End => relationship.second_node.unwrap().0,
    }
}

/// A relationship on whose side (no loop) this holds for its node, its chain there and its place in that.
fn find(store: &Damaged, side: Side, fits: impl Fn(&[u64], usize) -> bool) -> (u64, u64, Vec<u64>, usize) {
    let all = store.relationships().into_iter();
    let mut found = all.filter(|(_, r)| r.first_node != r.second_node).map(|(id, r)| {
        let node = node_at(side, &r);
        let chain = store.chain(node);
        let place = chain.iter().position(|other| *other == id).unwrap();
        (id, node, chain, place)
    });
    found.find(|(_, _, chain, place)| fits(chain, *place)).unwrap()
}

fn clear(store: &Damaged, kind: StoreFile, id: u64) {
    store.write(kind, id, 0, &[0]);
}

fn point_node(store: &Damaged, node: u64, relationship: Pointer) {
    let before = store.node(node);
    store.set_node(
        node,
        Node {
            first_relationship: relationship,
            ..before
        },
    );
}

fn point_property(store: &Damaged, node: u64, property: Pointer) {
    let before = store.node(node);
    store.set_node(
        node,
        Node {
            first_property: property,
            ..before
        },
    );
}

fn some_node(store: &Damaged) -> u64 {
    let all = store.nodes().into_iter();
    let mut chained = all.filter(|(_, node)| node.first_relationship.is_some());
    chained.next().unwrap().0
}

pub(super) fn node_points_to_a_deleted_relationship(store: &Damaged) -> Option<Expected> {
    let node = some_node(store);
    point_node(store, node, id(store.unused(StoreFile::Relationship)));
    at(Rule::RelationshipNotInUse, StoreFile::Node, node)
}

pub(super) fn node_points_behind_the_relationships(store: &Damaged) -> Option<Expected> {
    let node = some_node(store);
    point_node(store, node, id(0x5_0000_0000));
    at(Rule::RelationshipNotInUse, StoreFile::Node, node)
}

pub(super) fn node_points_to_a_relationship_of_others(store: &Damaged) -> Option<Expected> {
    let node = some_node(store);
    let all = store.relationships().into_iter();
    let mut strangers = all.filter(|(_, r)| r.first_node != id(node) && r.second_node != id(node));
    point_node(store, node, id(strangers.next().unwrap().0));
    at(Rule::RelationshipForOtherNode, StoreFile::Node, node)
}

fn node_points_into_its_chain(store: &Damaged, side: Side, rule: Rule) -> Option<Expected> {
    let (found, node, ..) = find(store, side, |_, place| place > 0);
    point_node(store, node, id(found));
    at(rule, StoreFile::Node, node)
}

pub(super) fn node_points_into_its_chain_as_the_start(store: &Damaged) -> Option<Expected> {
    node_points_into_its_chain(store, Side::Start, Rule::RelationshipNotFirstInSourceChain)
}

pub(super) fn node_points_into_its_chain_as_the_end(store: &Damaged) -> Option<Expected> {
    node_points_into_its_chain(store, Side::End, Rule::RelationshipNotFirstInTargetChain)
}

pub(super) fn start_node_is_deleted(store: &Damaged) -> Option<Expected> {
    let (found, node, ..) = find(store, Side::Start, |_, _| true);
    clear(store, StoreFile::Node, node);
    at(Rule::SourceNodeNotInUse, StoreFile::Relationship, found)
}

pub(super) fn end_node_is_deleted(store: &Damaged) -> Option<Expected> {
    let (found, node, ..) = find(store, Side::End, |_, _| true);
    clear(store, StoreFile::Node, node);
    at(Rule::TargetNodeNotInUse, StoreFile::Relationship, found)
}

pub(super) fn node_forgets_its_relationships_as_the_start(store: &Damaged) -> Option<Expected> {
    let (found, node, ..) = find(store, Side::Start, |_, place| place > 0);
    point_node(store, node, None);
    at(Rule::SourceNodeHasNoRelationships, StoreFile::Relationship, found)
}

pub(super) fn node_forgets_its_relationships_as_the_end(store: &Damaged) -> Option<Expected> {
    let (found, node, ..) = find(store, Side::End, |_, place| place > 0);
    point_node(store, node, None);
    at(Rule::TargetNodeHasNoRelationships, StoreFile::Relationship, found)
}

fn node_skips_its_first(store: &Damaged, side: Side, rule: Rule) -> Option<Expected> {
    let (found, node, chain, _) = find(store, side, |chain, place| place == 0 && chain.len() > 1);
    point_node(store, node, id(chain[1]));
    at(rule, StoreFile::Relationship, found)
}

pub(super) fn node_skips_its_first_relationship_as_the_start(store: &Damaged) -> Option<Expected> {
    node_skips_its_first(store, Side::Start, Rule::SourceNodeDoesNotReferenceBack)
}

pub(super) fn node_skips_its_first_relationship_as_the_end(store: &Damaged) -> Option<Expected> {
    node_skips_its_first(store, Side::End, Rule::TargetNodeDoesNotReferenceBack)
}

pub(super) fn type_is_deleted(store: &Damaged) -> Option<Expected> {
    let (found, relationship) = store.relationships()[0];
    clear(store, StoreFile::RelationshipType, u64::from(relationship.type_id));
    at(Rule::LabelNotInUse, StoreFile::Relationship, found)
}

pub(super) fn type_never_was(store: &Damaged) -> Option<Expected> {
    let (found, relationship) = store.relationships()[0];
    store.set_relationship(
        found,
        Relationship {
            type_id: 0xFFFF,
            ..relationship
        },
    );
    at(Rule::LabelNotInUse, StoreFile::Relationship, found)
}

pub(super) fn start_node_is_none(store: &Damaged) -> Option<Expected> {
    let (found, relationship) = store.relationships()[0];
    store.set_relationship(
        found,
        Relationship {
            first_node: None,
            ..relationship
        },
    );
    at(Rule::IllegalSourceNode, StoreFile::Relationship, found)
}

pub(super) fn end_node_is_none(store: &Damaged) -> Option<Expected> {
    let (found, relationship) = store.relationships()[0];
    store.set_relationship(
        found,
        Relationship {
            second_node: None,
            ..relationship
        },
    );
    at(Rule::IllegalTargetNode, StoreFile::Relationship, found)
}

/// Changes the neighbours of a relationship whose chain has at least three and whose place in it is neither end.
fn middle(store: &Damaged, side: Side, rule: Rule, change: impl Fn(Links, &[u64], usize) -> Links) -> Option<Expected> {
    let (found, node, chain, place) = find(store, side, |chain, place| {
        chain.len() > 2 && place > 0 && place + 1 < chain.len()
    });
    let before = store.end(found, node);
    store.set_end(found, node, change(before, &chain, place));
    at(rule, StoreFile::Relationship, found)
}

fn previous(to: Pointer) -> impl Fn(Links, &[u64], usize) -> Links {
    move |links, _, _| Links { previous: to, ..links }
}

fn next(to: Pointer) -> impl Fn(Links, &[u64], usize) -> Links {
    move |links, _, _| Links { next: to, ..links }
}

pub(super) fn previous_at_the_start_is_deleted(store: &Damaged) -> Option<Expected> {
    let gone = id(store.unused(StoreFile::Relationship));
    middle(store, Side::Start, Rule::SourcePrevNotInUse, previous(gone))
}

pub(super) fn previous_at_the_end_is_deleted(store: &Damaged) -> Option<Expected> {
    let gone = id(store.unused(StoreFile::Relationship));
    middle(store, Side::End, Rule::TargetPrevNotInUse, previous(gone))
}

pub(super) fn next_at_the_start_is_deleted(store: &Damaged) -> Option<Expected> {
    let gone = id(store.unused(StoreFile::Relationship));
    middle(store, Side::Start, Rule::SourceNextNotInUse, next(gone))
}

pub(super) fn next_at_the_end_is_deleted(store: &Damaged) -> Option<Expected> {
    let gone = id(store.unused(StoreFile::Relationship));
    middle(store, Side::End, Rule::TargetNextNotInUse, next(gone))
}

fn stranger(store: &Damaged, side: Side, rule: Rule, is_next: bool) -> Option<Expected> {
    let (_, node, ..) = find(store, side, |chain, place| {
        chain.len() > 2 && place > 0 && place + 1 < chain.len()
    });
    let all = store.relationships().into_iter();
    let mut strangers = all.filter(|(_, r)| r.first_node != id(node) && r.second_node != id(node));
    let stranger = id(strangers.next().unwrap().0);
    middle(store, side, rule, move |links, _, _| {
        if is_next {
            Links {
                next: stranger,
                ..links
            }
        } else {
            Links {
                previous: stranger,
                ..links
            }
        }
    })
}

pub(super) fn previous_at_the_start_is_a_stranger(store: &Damaged) -> Option<Expected> {
    stranger(store, Side::Start, Rule::SourcePrevReferencesOtherNodes, false)
}

pub(super) fn previous_at_the_end_is_a_stranger(store: &Damaged) -> Option<Expected> {
    stranger(store, Side::End, Rule::TargetPrevReferencesOtherNodes, false)
}

pub(super) fn next_at_the_start_is_a_stranger(store: &Damaged) -> Option<Expected> {
    stranger(store, Side::Start, Rule::SourceNextReferencesOtherNodes, true)
}

pub(super) fn next_at_the_end_is_a_stranger(store: &Damaged) -> Option<Expected> {
    stranger(store, Side::End, Rule::TargetNextReferencesOtherNodes, true)
}

/// The last of a chain has no next one, so it does not know whoever calls it its previous one.
fn to_the_last(links: Links, chain: &[u64], _: usize) -> Links {
    Links {
        previous: id(*chain.last().unwrap()),
        ..links
    }
}

fn to_the_first(links: Links, chain: &[u64], _: usize) -> Links {
    Links {
        next: id(chain[0]),
        ..links
    }
}

pub(super) fn previous_at_the_start_does_not_know_it(store: &Damaged) -> Option<Expected> {
    middle(store, Side::Start, Rule::SourcePrevDoesNotReferenceBack, to_the_last)
}

pub(super) fn previous_at_the_end_does_not_know_it(store: &Damaged) -> Option<Expected> {
    middle(store, Side::End, Rule::TargetPrevDoesNotReferenceBack, to_the_last)
}

pub(super) fn next_at_the_start_does_not_know_it(store: &Damaged) -> Option<Expected> {
    middle(store, Side::Start, Rule::SourceNextDoesNotReferenceBack, to_the_first)
}

pub(super) fn next_at_the_end_does_not_know_it(store: &Damaged) -> Option<Expected> {
    middle(store, Side::End, Rule::TargetNextDoesNotReferenceBack, to_the_first)
}

pub(super) fn halves_of_a_loop_differ(store: &Damaged) -> Option<Expected> {
    let mut newest_first = store.relationships().into_iter().rev();
    let (found, relationship) = newest_first.find(|(_, r)| r.first_node == r.second_node)?;
    store.set_relationship(
        found,
        Relationship {
            second_next: id(found),
            ..relationship
        },
    );
    at(Rule::LoopPointersDiffer, StoreFile::Relationship, found)
}

pub(super) fn relationships_form_a_ring(store: &Damaged) -> Option<Expected> {
    let (_, node, chain, _) = find(store, Side::Start, |chain, _| chain.len() > 2);
    let (first, last) = (chain[1], *chain.last().unwrap());
    store.set_end(
        chain[0],
        node,
        Links {
            next: None,
            ..store.end(chain[0], node)
        },
    );
    store.set_end(
        first,
        node,
        Links {
            previous: id(last),
            ..store.end(first, node)
        },
    );
    store.set_end(
        last,
        node,
        Links {
            next: id(first),
            ..store.end(last, node)
        },
    );
    // the ring is found at the lowest upper end of a link that leads upward
    let ring = &chain[1..];
    let labels = (0..ring.len()).filter(|i| ring[(i + ring.len() - 1) % ring.len()] <= ring[*i]);
    let lowest = labels.map(|i| ring[i]).min().unwrap();
    at(Rule::RelationshipCycle, StoreFile::Relationship, lowest)
}

pub(super) fn one_relationship_is_a_ring(store: &Damaged) -> Option<Expected> {
    let (_, node, chain, _) = find(store, Side::Start, |chain, _| chain.len() > 1);
    let last = *chain.last().unwrap();
    let before = chain[chain.len() - 2];
    store.set_end(
        before,
        node,
        Links {
            next: None,
            ..store.end(before, node)
        },
    );
    store.set_end(
        last,
        node,
        Links {
            previous: id(last),
            next: id(last),
        },
    );
    at(Rule::RelationshipCycle, StoreFile::Relationship, last)
}

fn owner(store: &Damaged, length: usize) -> (u64, Vec<u64>) {
    let all = store.nodes().into_iter();
    let mut chains = all.filter_map(|(node, found)| {
        let RecordId(first) = found.first_property?;
        let mut chain = vec![first];
        while let Some(RecordId(next)) = store.links(*chain.last().unwrap()).next {
            chain.push(next);
        }
        Some((node, chain))
    });
    chains.find(|(_, chain)| chain.len() >= length).unwrap()
}

pub(super) fn node_points_to_a_deleted_property(store: &Damaged) -> Option<Expected> {
    let (node, chain) = owner(store, 1);
    store.delete_property(chain[0]);
    at(Rule::PropertyNotInUse, StoreFile::Node, node)
}

pub(super) fn relationship_points_to_a_deleted_property(store: &Damaged) -> Option<Expected> {
    let (found, relationship) = store.relationships()[0];
    store.set_relationship(
        found,
        Relationship {
            first_property: id(store.unused(StoreFile::Property)),
            ..relationship
        },
    );
    at(Rule::PropertyNotInUse, StoreFile::Relationship, found)
}

pub(super) fn graph_points_to_a_deleted_property(store: &Damaged) -> Option<Expected> {
    if store.format == neo4j_format::store::StoreFormat::Legacy {
        return None;
    }
    let unused = store.unused(StoreFile::Property);
    store.poke("neostore", 46, &unused.to_be_bytes());
    at(Rule::PropertyNotInUse, StoreFile::Neostore, 5)
}

pub(super) fn node_points_into_a_property_chain(store: &Damaged) -> Option<Expected> {
    let (node, chain) = owner(store, 2);
    point_property(store, node, id(chain[1]));
    at(Rule::PropertyNotFirstInChain, StoreFile::Node, node)
}

pub(super) fn two_nodes_share_properties(store: &Damaged) -> Option<Expected> {
    let (node, chain) = owner(store, 1);
    let all = store.nodes().into_iter();
    let other = all.map(|(id, _)| id).find(|other| *other != node).unwrap();
    point_property(store, other, id(chain[0]));
    at(Rule::MultipleOwners, StoreFile::Property, chain[0])
}

pub(super) fn node_and_relationship_share_properties(store: &Damaged) -> Option<Expected> {
    let (_, chain) = owner(store, 1);
    let (found, relationship) = store.relationships()[0];
    store.set_relationship(
        found,
        Relationship {
            first_property: id(chain[0]),
            ..relationship
        },
    );
    at(Rule::MultipleOwners, StoreFile::Property, chain[0])
}

pub(super) fn node_forgets_its_properties(store: &Damaged) -> Option<Expected> {
    let (node, chain) = owner(store, 1);
    point_property(store, node, None);
    at(Rule::OrphanPropertyChain, StoreFile::Property, chain[0])
}

pub(super) fn previous_property_is_deleted(store: &Damaged) -> Option<Expected> {
    let (_, chain) = owner(store, 2);
    store.delete_property(chain[0]);
    at(Rule::PrevNotInUse, StoreFile::Property, chain[1])
}

pub(super) fn next_property_is_deleted(store: &Damaged) -> Option<Expected> {
    let (_, chain) = owner(store, 2);
    store.delete_property(chain[1]);
    at(Rule::NextNotInUse, StoreFile::Property, chain[0])
}

pub(super) fn previous_property_does_not_know_it(store: &Damaged) -> Option<Expected> {
    let (_, chain) = owner(store, 2);
    store.set_links(
        chain[0],
        Links {
            next: None,
            ..store.links(chain[0])
        },
    );
    at(Rule::PreviousDoesNotReferenceBack, StoreFile::Property, chain[1])
}

pub(super) fn next_property_does_not_know_it(store: &Damaged) -> Option<Expected> {
    let (_, chain) = owner(store, 2);
    store.set_links(
        chain[1],
        Links {
            previous: None,
            ..store.links(chain[1])
        },
    );
    at(Rule::NextDoesNotReferenceBack, StoreFile::Property, chain[0])
}

pub(super) fn properties_form_a_ring(store: &Damaged) -> Option<Expected> {
    let (node, chain) = owner(store, 2);
    let (first, last) = (chain[0], *chain.last().unwrap());
    store.set_links(
        first,
        Links {
            previous: id(last),
            ..store.links(first)
        },
    );
    store.set_links(
        last,
        Links {
            next: id(first),
            ..store.links(last)
        },
    );
    point_property(store, node, None);
    at(Rule::PropertyCycle, StoreFile::Property, *chain.iter().min().unwrap())
}

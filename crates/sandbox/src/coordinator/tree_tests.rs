//! The tree as clients and members use it.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::{
    message::{Answer, Connect, Event, Operation, Refused},
    tree::Tree,
    watches::ConnectionId,
    wire,
};

fn tree_with_client() -> (Tree, ConnectionId, i64, mpsc::Receiver<Vec<u8>>) {
    let mut tree = Tree::new();
    let (outbox, inbox) = mpsc::channel(16);
    let connect = Connect {
        timeout: 5000,
        session: 0,
        knows_read_only: false,
    };
    let (connection, session, timeout) = tree.connect(connect, outbox);
    assert_eq!(timeout, Duration::from_secs(5));
    (tree, connection, session, inbox)
}

#[test]
fn children_are_numbered_and_ephemeral_ones_go_with_their_session() {
    let mut tree = Tree::new();
    let session = tree.open_session();
    tree.create("/a", Vec::new(), 0, false).unwrap();
    assert_eq!(tree.create("/a/x_", vec![1], session, true).unwrap(), "/a/x_0000000000");
    tree.create("/a/y", Vec::new(), 0, false).unwrap();
    assert_eq!(tree.create("/a/x_", vec![1], session, true).unwrap(), "/a/x_0000000002");
    assert_eq!(tree.create("/a/y", Vec::new(), 0, false), Err(Refused::NodeExists));
    assert_eq!(tree.create("/b/c", Vec::new(), 0, false), Err(Refused::NoNode));
    assert_eq!(
        tree.create("/a/x_0000000000/z", Vec::new(), 0, false),
        Err(Refused::NoChildrenForEphemerals)
    );
    assert_eq!(tree.delete("/a", -1), Err(Refused::NotEmpty));
    tree.close_session(session);
    assert_eq!(tree.children("/a").unwrap().0, ["y"]);
    assert_eq!(tree.children("/").unwrap().0, ["a"]);
}

#[test]
fn data_are_set_only_at_the_version_that_is_expected() {
    let mut tree = Tree::new();
    tree.create("/a", vec![1], 0, false).unwrap();
    let stat = tree.set_data("/a", vec![2, 3], 0).unwrap();
    assert_eq!((stat.version, stat.data_length), (1, 2));
    assert_eq!(tree.set_data("/a", vec![4], 0), Err(Refused::BadVersion));
    assert_eq!(tree.set_data("/a", vec![4], -1).unwrap().version, 2);
    assert_eq!(tree.set_data("/b", vec![4], -1), Err(Refused::NoNode));
}

#[test]
fn a_watch_is_told_once_and_before_the_next_reply() {
    let (mut tree, connection, session, mut inbox) = tree_with_client();
    let exists = Operation::Exists {
        path: "/a".to_owned(),
        watch: true,
    };
    assert!(tree.serve(connection, session, 1, exists));
    inbox.try_recv().unwrap();
    tree.create("/a", Vec::new(), 0, false).unwrap();
    tree.set_data("/a", vec![1], -1).unwrap();
    assert!(tree.serve(connection, session, 2, Operation::Ping));
    assert_eq!(inbox.try_recv().unwrap(), wire::event(Event::Created, "/a"));
    assert_eq!(inbox.try_recv().unwrap(), wire::reply(2, 2, &Ok(Answer::Nothing)));
    inbox.try_recv().unwrap_err();
}

#[test]
fn watches_taken_up_again_tell_what_was_missed() {
    let (mut tree, connection, session, mut inbox) = tree_with_client();
    tree.create("/a", Vec::new(), 0, false).unwrap();
    let seen = tree.changes();
    tree.create("/b", Vec::new(), 0, false).unwrap();
    let watches = Operation::SetWatches {
        seen,
        data: vec!["/a".to_owned(), "/gone".to_owned()],
        exists: vec!["/b".to_owned()],
        children: vec!["/".to_owned()],
    };
    assert!(tree.serve(connection, session, -8, watches));
    for (event, path) in [
        (Event::Deleted, "/gone"),
        (Event::Created, "/b"),
        (Event::ChildrenChanged, "/"),
    ] {
        assert_eq!(inbox.try_recv().unwrap(), wire::event(event, path));
    }
    inbox.try_recv().unwrap();
    tree.set_data("/a", vec![1], -1).unwrap();
    assert_eq!(inbox.try_recv().unwrap(), wire::event(Event::DataChanged, "/a"));
}

#[test]
fn silent_sessions_expire_and_cannot_be_taken_up() {
    let (mut tree, _, session, _inbox) = tree_with_client();
    tree.create("/a", Vec::new(), session, false).unwrap();
    tree.expire(Instant::now() + Duration::from_secs(4));
    assert!(tree.get_data("/a").is_ok());
    tree.expire(Instant::now() + Duration::from_secs(6));
    assert_eq!(tree.get_data("/a"), Err(Refused::NoNode));
    let again = Connect {
        timeout: 5000,
        session,
        knows_read_only: false,
    };
    let (_, found, timeout) = tree.connect(again, mpsc::channel(1).0);
    assert_eq!((found, timeout), (0, Duration::ZERO));
}

//! One coordinator: listens, takes clients in, and can be put into the conditions in which clients meet real ones.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use neo4j_format::width::to_usize;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::{Mutex, mpsc, watch},
    task::JoinHandle,
};

use super::{Shared, lock, message::Connect, wire};

/// Messages that may wait for a client.
const OUTBOX: usize = 1024;

/// How long a client may take for its first message.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a client meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It serves.
    Serving,
    /// It takes connections and never answers.
    Silent,
    /// It closes connections, and says why when asked with `srvr`.
    WithoutQuorum,
    /// Nobody listens.
    Down,
}

/// A running coordinator; it ends when it is dropped.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    tree: Shared,
    condition: watch::Sender<Condition>,
    /// Empty while nobody listens.
    listening: Mutex<Option<JoinHandle<()>>>,
}

impl Server {
    pub(super) async fn start(address: SocketAddr, tree: Shared) -> io::Result<Server> {
        let listener = TcpListener::bind(address).await?;
        let server = Server {
            address: listener.local_addr()?,
            tree,
            condition: watch::Sender::new(Condition::Serving),
            listening: Mutex::default(),
        };
        *server.listening.lock().await = Some(server.listen(listener));
        Ok(server)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn condition(&self) -> Condition {
        *self.condition.borrow()
    }

    /// Connections of another condition are cut, but for those that fall silent.
    pub(super) async fn set_condition(&self, condition: Condition) -> io::Result<()> {
        let mut listens = self.listening.lock().await;
        self.condition.send_replace(condition);
        if condition == Condition::Down {
            if let Some(listening) = listens.take() {
                listening.abort();
                // the port is free once the task is gone
                let _ = listening.await;
            }
        } else if listens.is_none() {
            *listens = Some(self.listen(TcpListener::bind(self.address).await?));
        }
        Ok(())
    }

    fn listen(&self, listener: TcpListener) -> JoinHandle<()> {
        let (tree, condition) = (Arc::clone(&self.tree), self.condition.clone());
        tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let (tree, condition) = (Arc::clone(&tree), condition.subscribe());
                        tokio::spawn(async move {
                            // how a client ends is its own business
                            let _ = meet(stream, tree, condition).await;
                        });
                    }
                    Err(error) => {
                        tracing::debug!("a coordinator cannot accept: {error}");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            }
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.condition.send_replace(Condition::Down);
        if let Some(listening) = self.listening.get_mut() {
            listening.abort();
        }
    }
}

/// One connection, until it ends or the condition of the server ends it.
async fn meet(stream: TcpStream, tree: Shared, mut condition: watch::Receiver<Condition>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut from, to) = stream.into_split();
    let mut first = [0; 4];
    tokio::select! {
        read = tokio::time::timeout(PATIENCE, from.read_exact(&mut first)) => drop(read??),
        _ = condition.wait_for(|now| *now == Condition::Down) => return Ok(()),
    }
    let now = *condition.borrow();
    if now == Condition::Silent {
        let _ = condition.wait_for(|now| *now != Condition::Silent).await;
        return Ok(());
    }
    if let Ok(word @ (b"srvr" | b"stat" | b"ruok")) = <&[u8; 4]>::try_from(&first[..]) {
        return four_letters(word, now, &tree, to).await;
    }
    if now == Condition::WithoutQuorum {
        return Ok(());
    }
    let body = read_body(&mut from, u32::from_be_bytes(first)).await?;
    let Some(connect) = Connect::decode(&body) else {
        return Ok(());
    };
    let (outbox, inbox) = mpsc::channel(OUTBOX);
    let (connection, session, timeout) = lock(&tree).connect(connect, outbox);
    let milliseconds = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let writing = tokio::spawn(write(
        to,
        connect.answer(session, milliseconds),
        inbox,
        condition.clone(),
    ));
    if session != 0 {
        let serving = serve(&mut from, &tree, connection, session);
        let still = condition.wait_for(|now| *now != Condition::Serving);
        tokio::select! {
            served = serving => drop(served),
            _ = still => {}
        }
        if *condition.borrow() == Condition::Silent {
            let _ = condition.wait_for(|now| *now != Condition::Silent).await;
        }
    }
    lock(&tree).disconnect(connection);
    let _ = writing.await;
    Ok(())
}

async fn serve(from: &mut OwnedReadHalf, tree: &Shared, connection: u64, session: i64) -> io::Result<()> {
    loop {
        let length = from.read_u32().await?;
        let body = read_body(from, length).await?;
        let Some((xid, operation)) = wire::request(&body) else {
            return Ok(());
        };
        if !lock(tree).serve(connection, session, xid, operation) {
            return Ok(());
        }
    }
}

/// Sends what is in the outbox until it is closed; nothing while the server is silent.
async fn write(
    mut to: OwnedWriteHalf,
    first: Vec<u8>,
    mut inbox: mpsc::Receiver<Vec<u8>>,
    mut condition: watch::Receiver<Condition>,
) -> io::Result<()> {
    let mut message = Some(first);
    while let Some(body) = message {
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        if condition.wait_for(|now| *now != Condition::Silent).await.is_err() {
            break;
        }
        to.write_all(&[&length.to_be_bytes()[..], &body].concat()).await?;
        message = inbox.recv().await;
    }
    to.shutdown().await
}

async fn read_body(from: &mut OwnedReadHalf, length: u32) -> io::Result<Vec<u8>> {
    if length > wire::MESSAGE_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut body = vec![0; to_usize(u64::from(length))];
    from.read_exact(&mut body).await?;
    Ok(body)
}

/// What an operator types into `nc`.
async fn four_letters(word: &[u8; 4], now: Condition, tree: &Shared, mut to: OwnedWriteHalf) -> io::Result<()> {
    let text = if now == Condition::WithoutQuorum {
        "This ZooKeeper instance is not currently serving requests\n".to_owned()
    } else if word == b"ruok" {
        "imok".to_owned()
    } else {
        let (changes, size) = {
            let tree = lock(tree);
            (tree.changes(), tree.size())
        };
        format!(
            "Zookeeper version: 3.4.0-sandbox\nOutstanding: 0\nZxid: {changes:#x}\nMode: standalone\nNode count: {size}\n"
        )
    };
    to.write_all(text.as_bytes()).await?;
    to.shutdown().await
}

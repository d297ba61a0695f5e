//! Real `ZooKeeper` servers on loopback: single ones and ensembles, of the version that Neo4j shipped with and of a
//! present one.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{Release, peers_dir, process};

/// Where Debian's package `libzookeeper-java` puts its own and what it needs.
const DEBIAN_JARS: &str = "/usr/share/java";

/// For starting; an ensemble elects within a second or two, on a busy machine in more.
const LIMIT: Duration = Duration::from_mins(1);

/// A version of `ZooKeeper`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZooKeeper {
    /// 3.3.2, from the libraries of a release.
    Shipped,
    /// 3.8, from Debian.
    Debian,
}

impl ZooKeeper {
    /// Whether it can run here; says loudly what is missing, which is a failure under `CI=true`.
    #[must_use]
    pub fn require(self) -> bool {
        if self == Self::Shipped || Path::new(DEBIAN_JARS).join("zookeeper.jar").exists() {
            return true;
        }
        super::skip("Debian's package libzookeeper-java");
        false
    }

    fn class_path(self) -> String {
        match self {
            Self::Shipped => {
                let lib = peers_dir().join(Release::V1_8.name()).join("lib");
                format!("{0}/zookeeper-3.3.2.jar:{0}/log4j-1.2.16.jar", lib.display())
            }
            Self::Debian => format!("{DEBIAN_JARS}/*"),
        }
    }
}

/// What a server does that sees too few of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithoutQuorum {
    /// It serves nobody, as it does unless it is told otherwise.
    Closes,
    /// It shows what it remembers; 3.5 and later with `readonlymode.enabled`.
    ServesReadOnly,
}

/// One server.
#[derive(Debug)]
pub struct Coordinator {
    version: ZooKeeper,
    without_quorum: WithoutQuorum,
    dir: PathBuf,
    port: u16,
    child: Child,
}

/// An ensemble of ours; killed when dropped.
#[derive(Debug)]
pub struct Coordinators {
    pub servers: Vec<Coordinator>,
}

impl Coordinators {
    /// Starts `count` servers below `dir` and waits until all of them serve.
    pub fn start(version: ZooKeeper, count: usize, dir: &Path) -> Self {
        Self::start_as(version, WithoutQuorum::Closes, count, dir)
    }

    /// The same, of servers that do this without a quorum.
    pub fn start_as(version: ZooKeeper, without_quorum: WithoutQuorum, count: usize, dir: &Path) -> Self {
        let ports = free_ports(3 * count);
        let servers = (0..count)
            .map(|index| {
                let dir = dir.join(format!("zk{}", index + 1));
                configure(version, &dir, index, &ports, count);
                Coordinator {
                    version,
                    without_quorum,
                    child: launch(version, without_quorum, &dir),
                    dir,
                    port: ports[index],
                }
            })
            .collect();
        let all = Self { servers };
        for server in &all.servers {
            server.wait_until_serving();
        }
        all
    }

    /// `host:port`, by commas.
    pub fn hosts(&self) -> String {
        let hosts: Vec<String> = self.servers.iter().map(Coordinator::host).collect();
        hosts.join(",")
    }

    /// The source URI of a cluster that uses them.
    pub fn uri(&self) -> String {
        format!("ha://{}", self.hosts())
    }
}

impl Coordinator {
    /// Its address.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where clients connect.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Process id, for faults from outside.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it without a warning.
    pub fn kill(&mut self) {
        process::end(&mut self.child);
    }

    /// Starts it again after it was killed; does not wait.
    pub fn restart(&mut self) {
        self.kill();
        self.child = launch(self.version, self.without_quorum, &self.dir);
    }

    /// What it says of itself, e.g. `leader`, `follower`, `standalone`; `None` while it does not serve.
    pub fn mode(&self) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        stream.write_all(b"srvr").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let mode = answer.lines().find_map(|line| line.strip_prefix("Mode: "))?;
        Some(mode.to_owned())
    }

    /// Waits until it serves.
    pub fn wait_until_serving(&self) {
        let start = Instant::now();
        while self.mode().is_none() {
            assert!(
                start.elapsed() < LIMIT,
                "ZooKeeper on port {} does not serve:\n{}",
                self.port,
                fs::read_to_string(self.dir.join("log")).unwrap_or_default()
            );
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        process::end(&mut self.child);
    }
}

/// A port that is free now: for a listener of our own, or for nobody.
pub fn free_port() -> u16 {
    free_ports(1)[0]
}

/// Ports that are free now: all are taken at once, so that they differ.
pub fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners
        .iter()
        .map(|listener| listener.local_addr().unwrap().port())
        .collect()
}

/// `ports`: one for clients of each server, then one for followers and one for elections of each.
fn configure(version: ZooKeeper, dir: &Path, index: usize, ports: &[u16], count: usize) {
    fs::create_dir_all(dir.join("data")).unwrap();
    let mut config = format!(
        "tickTime=500\ninitLimit=20\nsyncLimit=10\ndataDir={}\nclientPort={}\nmaxClientCnxns=0\n",
        dir.join("data").display(),
        ports[index]
    );
    if version == ZooKeeper::Debian {
        config += "admin.enableServer=false\nclientPortAddress=127.0.0.1\n";
    }
    if count > 1 {
        for server in 0..count {
            let (follow, elect) = (ports[count + 2 * server], ports[count + 2 * server + 1]);
            writeln!(config, "server.{}=127.0.0.1:{follow}:{elect}", server + 1).unwrap();
        }
        fs::write(dir.join("data/myid"), (index + 1).to_string()).unwrap();
    }
    fs::write(dir.join("zoo.cfg"), config).unwrap();
}

fn launch(version: ZooKeeper, without_quorum: WithoutQuorum, dir: &Path) -> Child {
    let log = File::options().create(true).append(true).open(dir.join("log")).unwrap();
    Command::new("java")
        .args(["-Xmx64m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"])
        .arg(format!(
            "-Dreadonlymode.enabled={}",
            without_quorum == WithoutQuorum::ServesReadOnly
        ))
        .args(["-cp", &version.class_path()])
        .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
        .arg(dir.join("zoo.cfg"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

//! Consistent, bootable backups of running Neo4j 1.3 – 1.9 Enterprise databases, over the network and without a JVM.
//!
//! Every call below blocks its thread until it is done, brings its own runtime, and works from any thread; `cancel` ends
//! it early, and [`Cancel::limited`] limits its time. What happens meanwhile goes to a [`progress::Progress`].
//!
//! # Back up a server, or bring a backup up to date
//!
//! ```
//! use neo4j_backup_core::{Backup, Cancel, Mode, progress::Quiet, source::uri::Source};
//!
//! # mod common { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/common/database.rs")); }
//! # let work = common::database();
//! # let server = neo4j_backup_core::Serve::new(work.path().join("database")).listen("127.0.0.1", 0..=0).start()?;
//! # let (uri, target) = (server.source().to_string(), work.path().join("backup"));
//! let source = Source::parse(&uri)?; // such as single://192.168.1.34
//! let backup = Backup::new(source, &target).mode(Mode::Auto).fallback_full(true);
//! let outcome = backup.run(&Quiet, &Cancel::default())?;
//! assert_eq!(outcome.verdict, neo4j_backup_core::outcome::Verdict::Good);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # See what a backup would do
//!
//! ```
//! use neo4j_backup_core::{Backup, Cancel, Mode, manifest::BackupKind, progress::Quiet, source::uri::Source};
//!
//! # mod common { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/common/database.rs")); }
//! # let work = common::database();
//! # let server = neo4j_backup_core::Serve::new(work.path().join("database")).listen("127.0.0.1", 0..=0).start()?;
//! # let (uri, target) = (server.source().to_string(), work.path().join("backup"));
//! let backup = Backup::new(Source::parse(&uri)?, &target).mode(Mode::Auto);
//! let found = backup.preflight(&Quiet, &Cancel::default())?; // writes nothing
//! assert_eq!((found.mode, found.replaces), (BackupKind::Full, false));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Back up a cluster
//!
//! The members are asked in turn until one has given the backup; the outcome, or the failure, says who was asked.
//!
//! ```no_run
//! use neo4j_backup_core::{Backup, Cancel, ClusterOptions, progress::Quiet};
//! use neo4j_backup_core::source::{discovery::Preference, uri::Source};
//!
//! let source = Source::parse("ha://192.168.1.15:2181,192.168.1.16:2181")?;
//! let options = ClusterOptions { preference: Preference::Slave, ..ClusterOptions::default() };
//! let backup = Backup::new(source, "/mnt/backup/neo4j").overwrite(true).cluster(options);
//! match backup.run(&Quiet, &Cancel::default()) {
//!     Ok(outcome) => println!("{:?}", outcome.members),
//!     Err(failure) => println!("{failure}, exit code {}", failure.error.kind().exit_code()),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # See who would be asked
//!
//! ```no_run
//! use neo4j_backup_core::{Cancel, ClusterOptions, members, source::uri::Source};
//!
//! let source = Source::parse("ha://192.168.1.15:2181")?;
//! for candidate in members(&source, &ClusterOptions::default(), &Cancel::default())?.ranking.candidates {
//!     println!("member {} at {}", candidate.id, candidate.at);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Verify, check, inspect and adopt a directory
//!
//! ```
//! use neo4j_backup_core::{Cancel, adopt, check, check::CheckOptions, inspect, progress::Quiet, verify};
//! use neo4j_backup_core::verify::VerifyVerdict;
//!
//! # mod common { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/common/database.rs")); }
//! # let work = common::database();
//! # let dir = work.path().join("database");
//! let cancel = Cancel::default();
//! adopt(&dir, &Quiet, &cancel)?; // writes checksums for a copy that another tool made
//! assert_eq!(verify(&dir, &Quiet, &cancel)?.verdict, VerifyVerdict::Intact);
//! assert!(check(&dir, &CheckOptions::default(), &cancel)?.is_consistent());
//! assert!(inspect(&dir)?.first_start.refused.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # See whether there is a good and recent backup
//!
//! ```
//! use neo4j_backup_core::{Cancel, Status, adopt, progress::Quiet, status::{Level, Thresholds}};
//!
//! # mod common { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/common/database.rs")); }
//! # let work = common::database();
//! # let dir = work.path().join("database");
//! # adopt(&dir, &Quiet, &Cancel::default())?;
//! let found = Status::of_directory(&dir).find(&Cancel::default())?;
//! assert_eq!(found.judge(Thresholds::default()).level, Level::Ok);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Restore a backup into a data directory
//!
//! ```
//! use neo4j_backup_core::{Cancel, Restore, adopt, progress::Quiet};
//!
//! # mod common { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/common/database.rs")); }
//! # let work = common::database();
//! # let (backup, data) = (work.path().join("database"), work.path().join("graph.db"));
//! # adopt(&backup, &Quiet, &Cancel::default())?;
//! let outcome = Restore::new(&backup, &data).replace(true).run(&Quiet, &Cancel::default())?;
//! for line in outcome.first_start.into_iter().flat_map(|start| start.work) {
//!     println!("the first start {line}");
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Serve a directory as a backup source
//!
//! ```
//! use neo4j_backup_core::{Cancel, ErrorKind, Serve};
//!
//! # mod common { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/common/database.rs")); }
//! # let work = common::database();
//! # let dir = work.path().join("database");
//! # let cancel = Cancel::default();
//! # cancel.cancel(ErrorKind::Terminated);
//! let server = Serve::new(&dir).listen("127.0.0.1", 0..=0).start()?;
//! println!("{}", server.source());
//! server.run(&cancel)?; // until `cancel` is cancelled, for example by a signal handler
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Modules
//!
//! The modules are the steps of the data's way; `docs/architecture.md` leads from the command line to the published
//! directory in one page. [`source`] knows the peer and never the disk; [`target`] knows the disk and never a socket;
//! [`receive`] and [`replay`] stand between them; [`serve`](mod@serve) is the other side of the protocol.

pub mod adopt;
pub mod backup;
mod backup_files;
pub mod cancel;
pub mod check;
mod cluster_options;
pub mod consistency;
mod context;
pub mod diff;
pub mod drill;
pub mod error;
pub mod export;
mod file_system;
mod format_errors;
mod full;
mod incremental;
pub mod inspect;
pub mod journal;
pub mod manifest;
pub mod members;
pub mod outcome;
mod own_socket;
pub mod preflight;
pub mod progress;
pub mod receive;
mod replace;
pub mod replay;
pub mod repository;
pub mod restore;
mod retry;
mod run_id;
mod runtime;
pub mod serve;
pub mod server;
pub mod source;
pub mod stats;
pub mod status;
pub mod target;
mod verification;
pub mod verify;

#[cfg(test)]
#[path = "../../format/src/hex.rs"]
mod hex;

pub use adopt::adopt;
pub use backup::{Backup, BackupFailure, Mode};
pub use cancel::Cancel;
pub use cluster_options::ClusterOptions;
pub use diff::Diff;
pub use error::{Error, ErrorKind};
pub use export::Export;
pub use inspect::inspect;
pub use members::members;
pub use neo4j_format::DirHandle;
pub use outcome::BackupOutcome;
pub use preflight::Preflight;
pub use restore::{Restore, RestoreOutcome};
pub use server::{Serve, Server};
pub use stats::Stats;
pub use status::Status;
pub use verification::{check, verify};

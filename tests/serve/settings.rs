//! The settings of a backup service mean to `serve` what they mean to the releases: real servers are started with them,
//! and listen where the settings say by our reading. `tests/run full serve` runs all of it.

#![expect(clippy::unwrap_used, reason = "panicking is how tests report")]

use std::net::TcpStream;

use crate::support::{Backup, Options, Peer, Release, free_ports, require_peers};
use tempfile::TempDir;

use neo4j_backup_core::serve::{Enabled, Settings};

/// With one setting; `A` and `B` stand for free ports.
const FIRST: [&str; 4] = [
    "enable_online_backup=port=A",
    "enable_online_backup=port=A.7",
    "enable_online_backup=x=1,port=A",
    "enable_online_backup=false",
];

/// The default port may be taken by others, so each of these names one.
const SECOND: [&str; 7] = [
    "online_backup_port=A",
    "online_backup_enabled=TRUE online_backup_port=A",
    "enable_online_backup=port=A online_backup_enabled=false",
    "enable_online_backup=port=A online_backup_enabled=maybe",
    "enable_online_backup=port=A online_backup_port=B",
    "enable_online_backup=false online_backup_enabled=true online_backup_port=A",
    "enable_online_backup=false online_backup_enabled=false online_backup_port=A",
];

const THIRD: [&str; 8] = [
    "online_backup_server=127.0.0.1:A",
    "online_backup_server=:A online_backup_enabled=false",
    "online_backup_server=:A online_backup_port=B",
    "online_backup_server=:A enable_online_backup=port=B",
    "online_backup_server=:A enable_online_backup=false",
    "online_backup_port=A enable_online_backup=port=B",
    "online_backup_port=A online_backup_enabled=false",
    "enable_online_backup=port=A online_backup_enabled=false",
];

macro_rules! of_each_release {
    ($($name:ident: $release:ident $cases:ident),* $(,)?) => {$(
        #[test]
        #[ignore = "other releases; tests/run full"]
        fn $name() {
            settings_mean_the_same(Release::$release, &$cases);
        }
    )*};
}

of_each_release! {
    settings_of_1_3_mean_the_same: V1_3 FIRST,
    settings_of_1_4_2_mean_the_same: V1_4_2 FIRST,
    settings_of_1_5_mean_the_same: V1_5 FIRST,
    settings_of_1_6_1_mean_the_same: V1_6_1 FIRST,
    settings_of_1_7_2_mean_the_same: V1_7_2 SECOND,
    settings_of_1_8_mean_the_same: V1_8 SECOND,
    settings_of_1_9_9_mean_the_same: V1_9_9 THIRD,
}

fn settings_mean_the_same(release: Release, cases: &[&str]) {
    if !require_peers(release) {
        return;
    }
    let work = TempDir::new().unwrap();
    for (number, case) in cases.iter().enumerate() {
        let ports = free_ports(2);
        let ports = [("A", ports[0]), ("B", ports[1])];
        let settings: Vec<String> = case
            .split(' ')
            .map(|setting| {
                ports.iter().fold(setting.to_owned(), |text, (name, port)| {
                    text.replace(name, &port.to_string())
                })
            })
            .collect();
        let ours = Settings::read(
            Some(Settings::of_release(release.name()).unwrap()),
            &settings.join("\n"),
        );
        let options = Options {
            backup: Backup::Off,
            settings,
        };
        let peer = Peer::start(release, &work.path().join(number.to_string()), &options);
        for (name, port) in ports {
            let expected = matches!(&ours, Ok(Enabled::Yes { ports, .. }) if ports.contains(&port));
            let listens = TcpStream::connect(("127.0.0.1", port)).is_ok();
            assert_eq!(
                listens,
                expected,
                "neo4j {}, {case}: port {name}, {ours:?}",
                release.name()
            );
        }
        peer.quit();
    }
}

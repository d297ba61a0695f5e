//! `members`: who is in a cluster, how each member is doing, and who would be asked for a backup.

use std::{collections::BTreeMap, fmt::Write as _, process::ExitCode};

use serde::Serialize;
use tracing::level_filters::LevelFilter;

use crate::{
    args::{
        cluster::{self, ClusterArgs},
        environment,
        request::{Output, RequestError, given},
    },
    output::{
        report::{self, Failure},
        signals,
        streams::{self, printable},
        terminal::{Terminal, Verbosity},
    },
};
use neo4j_backup_core::{
    ClusterOptions, Error, ErrorKind,
    members::{ClusterMembers, members},
    source::{
        discovery::{Answer, Cluster, Last, Master, Member},
        uri::{HostPort, Source},
    },
};
use neo4j_format::ids::MemberId;

/// Whose members are wanted.
#[derive(Debug, clap::Args)]
pub(crate) struct MembersArgs {
    #[arg(
        long,
        help = "ZooKeeper servers of the cluster: ha://host[:2181],host[:2181][/chroot]",
        value_name = "URI",
        hide_env = true,
        env = "NEO4J_BACKUP_FROM"
    )]
    from: Option<String>,

    #[command(flatten)]
    of_cluster: ClusterArgs,
}

/// Everything that was found out.
#[derive(Debug, Serialize)]
struct MembersReport {
    cluster: Option<String>,
    root: String,
    store_id: String,
    master: Option<i32>,
    /// Whether the master is registered as such; if not, it is the one that the members would elect.
    master_announced: bool,
    members: Vec<MemberRow>,
    /// Best first.
    would_serve: Vec<i32>,
}

/// One member.
#[derive(Debug, Serialize)]
struct MemberRow {
    id: i32,
    role: &'static str,
    registration: &'static str,
    releases: String,
    address: Option<String>,
    backup_address: Option<String>,
    last_transaction: Option<i64>,
    reachable: bool,
    dialect: Option<&'static str>,
    store_id: Option<String>,
    answered_in_milliseconds: Option<f64>,
    /// Why it would not be asked for a backup.
    passed_over: Option<String>,
}

/// Looks and prints what is there.
pub(crate) fn run(args: &MembersArgs, output: Output, loudness: Verbosity, logs: LevelFilter) -> ExitCode {
    let terminal = Terminal::start(loudness, logs);
    let result = match request(args) {
        Ok((source, options)) => signals::cancelling(ErrorKind::Failed, |cancel| {
            members(&source, &options, cancel).map(|found| MembersReport::new(&found))
        }),
        Err(RequestError::Source(error)) => {
            let marked = streams::marked(&environment::origin_of_uri(error.uri()), error.uri(), &error.range());
            return report::refused(&Failure::marked(error.into(), marked), output);
        }
        // The library's hint names single://, which has no members.
        Err(RequestError::NoSource) => Err(Error::new(ErrorKind::Usage, RequestError::NoSource)
            .with_hint("for example -from ha://192.168.1.15:2181,192.168.1.16:2181")),
        Err(error) => Err(error.into()),
    };
    terminal.finish();
    report::command(
        "members",
        &result,
        output,
        MembersReport::text,
        MembersReport::exit_code,
    )
}

fn request(args: &MembersArgs) -> Result<(Source, ClusterOptions), RequestError> {
    let from = given(args.from.as_deref()).ok_or(RequestError::NoSource)?;
    let options = cluster::options(&args.of_cluster)?;
    match Source::parse(from)? {
        source @ Source::Ha { .. } => Ok((source, options)),
        Source::Single { .. } => Err(RequestError::Word {
            option: "from",
            text: from.to_owned(),
            expected: "a cluster is expected, for example ha://192.168.1.15:2181",
        }),
    }
}

impl MembersReport {
    fn new(found: &ClusterMembers) -> MembersReport {
        let ClusterMembers {
            cluster,
            answers,
            ranking,
            ..
        } = found;
        let reasons: BTreeMap<MemberId, String> = ranking
            .passed_over
            .iter()
            .map(|member| (member.id, printable(&member.reason.to_string())))
            .collect();
        let rows = cluster.members.iter().map(|member| {
            let reason = reasons.get(&member.id).cloned();
            MemberRow::new(cluster, member, answers.get(&member.id), reason)
        });
        MembersReport {
            cluster: cluster.name.as_deref().map(printable),
            root: cluster.root().to_string(),
            store_id: ranking.database.unwrap_or(cluster.store_id).to_string(),
            master: cluster.master.id().map(|id| id.0),
            master_announced: matches!(cluster.master, Master::Announced(_)),
            members: rows.collect(),
            would_serve: ranking.candidates.iter().map(|candidate| candidate.id.0).collect(),
        }
    }

    /// Monitoring has to see when no member is eligible.
    fn exit_code(&self) -> u8 {
        match self.would_serve.as_slice() {
            [] => ErrorKind::NoMember.exit_code(),
            _ => 0,
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let name = self.cluster.as_deref().unwrap_or("(its releases give it no name)");
        let master = match (self.master, self.master_announced) {
            (None, _) => "nobody is known to be".to_owned(),
            (Some(id), true) => format!("member {id}"),
            (Some(id), false) => format!("nobody has taken the role, member {id} would be elected"),
        };
        for (name, value) in [("cluster", name), ("store id", &self.store_id), ("master", &master)] {
            let _ = writeln!(text, "  {name:<10}{value}");
        }
        text.push('\n');
        text.push_str(&table(&self.members));
        text.push('\n');
        for row in &self.members {
            if let Some(reason) = &row.passed_over {
                let _ = writeln!(text, "  member {}: {reason}", row.id);
            }
        }
        let order: Vec<String> = self.would_serve.iter().map(|id| format!("member {id}")).collect();
        let _ = match order.as_slice() {
            [] => writeln!(text, "Nobody would serve"),
            _ => writeln!(text, "Would serve: {}", order.join(", then ")),
        };
        text
    }
}

impl MemberRow {
    fn new(cluster: &Cluster, member: &Member, answer: Option<&Answer>, passed_over: Option<String>) -> MemberRow {
        let service = member.service();
        let registered_at = service.and_then(|service| {
            let host = service.hosts.first()?.clone();
            Some(HostPort {
                host,
                port: service.port?,
            })
        });
        let mut row = MemberRow {
            id: member.id.0,
            role: cluster.role(member.id).name(),
            registration: member.registration.name(),
            releases: member.layout.to_string(),
            address: service.map(|service| printable(&service.address)),
            backup_address: registered_at.map(|at| at.to_string()),
            last_transaction: match member.last {
                Last::Live(last) => Some(last.0),
                _ => None,
            },
            reachable: false,
            dialect: None,
            store_id: None,
            answered_in_milliseconds: None,
            passed_over,
        };
        if let Some(Answer::Alive {
            at,
            dialect,
            store_id,
            last,
            took,
        }) = answer
        {
            row.reachable = true;
            row.backup_address = Some(at.to_string());
            row.dialect = Some(dialect.name());
            row.store_id = store_id.map(|id| id.to_string());
            row.last_transaction = last.map(|last| last.0).or(row.last_transaction);
            row.answered_in_milliseconds = Some((took.as_secs_f64() * 10_000.0).round() / 10.0);
        }
        row
    }

    fn cells(&self) -> [String; 8] {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        [
            self.id.to_string(),
            self.role.to_owned(),
            or_dash(&self.address),
            or_dash(&self.backup_address),
            or_dash(&self.last_transaction.map(|last| last.to_string())),
            self.registration.to_owned(),
            self.releases.clone(),
            match self.answered_in_milliseconds {
                Some(time) => format!("in {time} ms"),
                None => "no".to_owned(),
            },
        ]
    }
}

/// Columns as wide as they have to be.
fn table(rows: &[MemberRow]) -> String {
    let head = [
        "id",
        "role",
        "address",
        "backup",
        "last tx",
        "registered",
        "releases",
        "answers",
    ]
    .map(str::to_owned);
    let lines: Vec<[String; 8]> = [head].into_iter().chain(rows.iter().map(MemberRow::cells)).collect();
    let mut widths = [0; 8];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for line in lines {
        let cells: Vec<String> = line
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        let _ = writeln!(text, "  {}", cells.join("  ").trim_end());
    }
    text
}

//! A real cluster of 1.8 under a write load loses members and coordinators all the time, or they pause, while one backup
//! follows the other. Run by `tests/run full storms`; every failure of a backup has to have its reason among the faults.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "panicking is how tests report"
)]

use std::{
    collections::BTreeMap,
    env, fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::ledger::{Balance, answer};
use crate::stormy_cluster::{Fault, Lacking, RELEASE, Storm, say};
use crate::support::{ZooKeeper, original_tool, our_tool, require_peers};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_neo4j-backup");
/// Bookings that a cluster may lose with its master: what its slaves had not been sent or pulled yet.
const MAY_BE_LOST: u64 = 50;

/// A backup that has ended.
struct Ended {
    code: i32,
    json: Value,
    begun: Instant,
}

impl Ended {
    /// Transactions that the backup lacks by its own account.
    fn behind_master(&self) -> u64 {
        self.json["result"]["behind_master"].as_u64().unwrap_or_default()
    }
}

/// Takes a backup while the storm goes on.
fn back_up(storm: &mut Storm, mode: &str, target: &Path, options: &[&str]) -> Ended {
    let begun = Instant::now();
    let mut child = Command::new(PROGRAM)
        .args([mode, "-from", &storm.coordinators.uri(), "-to"])
        .arg(target)
        .args(["-verify=false", "-output", "json", "-timeout", "3m"])
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let code = wait(storm, &mut child);
    let mut stdout = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    Ended {
        code,
        json: serde_json::from_str(&stdout).unwrap(),
        begun,
    }
}

fn wait(storm: &mut Storm, child: &mut Child) -> i32 {
    loop {
        storm.blow();
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap();
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Boots a copy of what is at the target; the ledger has to balance in the graph, and every byte has to be what the
/// manifest says. The index may lack what the cluster lacks (`docs/formats/transaction-log.md` §10.4): `before` is what
/// members lacked when the backup began.
fn judge(storm: &mut Storm, target: &Path, before: &Lacking) -> Result<Balance, String> {
    let verified = our_tool(&["verify", target.to_str().unwrap()]);
    if !verified.success() {
        return Err(format!("verify: {:?} {}", verified.code, verified.stderr));
    }
    let copy = target.with_extension("copy");
    let _ = fs::remove_dir_all(&copy);
    crate::support::copy_dir(target, &copy);
    let balance =
        Balance::booted(RELEASE, &copy).ok_or_else(|| "the copy does not boot or balance, see above".to_owned())?;
    let lost: Vec<&str> = balance
        .lost()
        .into_iter()
        .filter(|pair| !storm.lost.contains(*pair))
        .collect();
    if lost.is_empty() {
        return Ok(balance);
    }
    let now = storm.lacking();
    let is_lacked = |pair: &&str| [before, &now].iter().any(|lacking| lacking.pairs.contains(*pair));
    let (lacked, unexplained): (Vec<&str>, Vec<&str>) = lost.into_iter().partition(is_lacked);
    storm.lost.extend(lacked.iter().map(|pair| (*pair).to_owned()));
    if !unexplained.is_empty() {
        // members differ for good
        if now.everybody || before.everybody {
            return Err(format!(
                "{}: of {unexplained:?} all members have entries",
                told(&balance)
            ));
        }
        say(&format!("    of {unexplained:?} not all members could be asked"));
    }
    Ok(balance)
}

fn told(balance: &Balance) -> String {
    format!(
        "{} pairs, {} not in the index, booking {}",
        balance.pairs,
        balance.unindexed.len(),
        balance.last
    )
}

/// Once nothing happens any more, copies that either tool takes of a member have what it has, its index included.
fn judge_the_calm(storm: &mut Storm, folder: &Path) -> Result<String, String> {
    storm.calm()?;
    for member in &mut storm.cluster.members {
        answer(member, "stop-ledger");
    }
    let settled = storm.settled()?;
    let copy = folder.join("calm");
    for (expected, member) in settled.iter().zip(&storm.cluster.members) {
        let (uri, to) = (member.uri(), copy.to_str().unwrap());
        let args = ["-full", "-from", &uri, "-to", to];
        for (tool, original) in [("ours", false), ("the original", true)] {
            let _ = fs::remove_dir_all(&copy);
            let taken = if original {
                original_tool(RELEASE, &args)
            } else {
                our_tool(&args)
            };
            let found = taken.success().then(|| Balance::booted(RELEASE, &copy)).flatten();
            if found.as_ref() != Some(expected) {
                return Err(format!("{uri} by {tool}: {found:?}, and the member has {expected:?}"));
            }
        }
    }
    Ok(format!(
        "in the end each member and its copies by both tools agree: {settled:?}"
    ))
}

/// Why a failed backup could not succeed, if there was a reason. `target` is what was there and stayed.
fn reason(
    storm: &mut Storm,
    ended: &Ended,
    last_success: Option<Instant>,
    target: Option<&Balance>,
) -> Option<&'static str> {
    let message = ended.json["error"]["message"].as_str().unwrap_or_default();
    let is_zookeeper = ended.json["error"]["kind"] == "no-zookeeper";
    let around = storm.faults_around(ended.begun);
    let is_coordinator = |fault: &Fault| {
        matches!(
            fault,
            Fault::CoordinatorKilled(_)
                | Fault::CoordinatorBack(_)
                | Fault::CoordinatorPaused(_)
                | Fault::CoordinatorResumed(_)
        )
    };
    match ended.code {
        12 if is_zookeeper && around.iter().any(is_coordinator) => Some("no quorum"),
        12 if storm.master_may_have_changed(ended.begun) => Some("members down"),
        13 if target.is_some_and(|had| storm.has_lost(&had.last)) => Some("transactions lost"),
        13 if message.contains("lucene-index") && target.is_some_and(|had| storm.index_has_lost(had)) => {
            Some("index transactions lost")
        }
        // a member that copied its store has none
        14 if last_success.is_some_and(|since| storm.master_may_have_changed(since)) => Some("older logs lost"),
        _ => None,
    }
}

fn number(variable: &str, default: u64) -> u64 {
    env::var(variable).map_or(default, |text| text.parse().unwrap())
}

#[derive(Default)]
struct Counts {
    outcomes: BTreeMap<String, u32>,
    takeovers: u32,
    failed_attempts: usize,
    wrong: Vec<String>,
}

impl Counts {
    fn count(&mut self, outcome: &str) {
        *self.outcomes.entry(outcome.to_owned()).or_default() += 1;
    }
}

#[test]
#[ignore = "takes half an hour; tests/run full"]
fn every_backup_in_a_storm_succeeds_or_has_a_reason_not_to() {
    if !require_peers(RELEASE) || !ZooKeeper::Debian.require() {
        return;
    }
    let (seed, minutes) = (number("STORM_SEED", 1), number("STORM_MINUTES", 30));
    say(&format!("STORM_SEED={seed} STORM_MINUTES={minutes}"));
    let folder = TempDir::new().unwrap();
    let mut storm = Storm::start(seed, folder.path());
    let mut choices = StdRng::seed_from_u64(seed ^ 1);
    let (target, mut counts) = (folder.path().join("backup"), Counts::default());
    let (end, mut last_success) = (Instant::now() + Duration::from_mins(minutes), None);
    while Instant::now() < end {
        let full = last_success.is_none() || choices.random_range(0..4) == 0;
        let prefer = ["master", "slave", "any"][choices.random_range(0..3)];
        let mode = if full { "-full" } else { "-incremental" };
        let (before, bookings) = (storm.lacking(), storm.bookings());
        let ended = back_up(&mut storm, mode, &target, &["-overwrite", "-ha-prefer", prefer]);
        let failed = ended.json["members"]["failed"].as_array().map_or(0, Vec::len);
        counts.failed_attempts += failed;
        let took = ended.begun.elapsed().as_secs_f64();
        let is_good = matches!(ended.code, 0 | 4);
        if is_good {
            last_success = Some(Instant::now());
            counts.takeovers += u32::from(failed > 0);
        }
        let judged = last_success.map(|_| judge(&mut storm, &target, &before));
        let balance = judged.as_ref().and_then(|judged| judged.as_ref().ok());
        let verdict = if is_good {
            "good"
        } else {
            reason(&mut storm, &ended, last_success, balance).unwrap_or("NO REASON")
        };
        let line = format!("{mode} {prefer}: exit {}, {verdict}", ended.code);
        say(&format!(
            "{line} ({took:.1} s, {failed} failed attempts) {}",
            ended.json["error"]["message"]
        ));
        counts.count(&format!("{mode} exit {} {verdict}", ended.code));
        if verdict == "NO REASON" {
            counts.wrong.push(format!(
                "{line}: {:#}\n{:?}",
                ended.json,
                storm.faults_around(ended.begun)
            ));
        }
        match judged {
            Some(Ok(balance)) if is_good && balance.bookings + MAY_BE_LOST + ended.behind_master() < bookings => {
                let short = format!(
                    "{line}: {bookings} bookings were made before it began: {}",
                    told(&balance)
                );
                say(&format!("    SHORT {short} {:#}", ended.json));
                counts.wrong.push(short);
            }
            Some(Ok(balance)) => say(&format!("    boots and balances: {}", told(&balance))),
            Some(Err(error)) => {
                say(&format!("    WRONG {error}"));
                counts.wrong.push(format!("{line}: {error}"));
            }
            None => {}
        }
        if matches!(ended.code, 13 | 14) && last_success.take().is_some() {
            // as an operator would who begins anew
            fs::remove_dir_all(&target).unwrap();
        }
        let pause = Instant::now() + Duration::from_secs(choices.random_range(0..5));
        while Instant::now() < pause {
            storm.blow();
            thread::sleep(Duration::from_millis(50));
        }
    }
    match judge_the_calm(&mut storm, folder.path()) {
        Ok(told) => say(&told),
        Err(error) => counts.wrong.push(error),
    }
    report(&storm, &counts, folder.path());
    assert!(counts.wrong.is_empty(), "{}", counts.wrong.join("\n"));
}

fn report(storm: &Storm, counts: &Counts, folder: &Path) {
    for (outcome, times) in &counts.outcomes {
        say(&format!("{times:>5} {outcome}"));
    }
    let count = |is: fn(&Fault) -> bool| storm.faults.iter().filter(|(_, fault)| is(fault)).count();
    say(&format!(
        "kills: {} of members, {} of coordinators; pauses: {} of members, {} of coordinators; {} attempts failed, {} \
         backups by a member that was not the first; {}",
        count(|fault| matches!(fault, Fault::MemberKilled(_))),
        count(|fault| matches!(fault, Fault::CoordinatorKilled(_))),
        count(|fault| matches!(fault, Fault::MemberPaused(_))),
        count(|fault| matches!(fault, Fault::CoordinatorPaused(_))),
        counts.failed_attempts,
        counts.takeovers,
        PathBuf::from(folder).display()
    ));
}
